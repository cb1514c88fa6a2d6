from .evaluation import (
    LanguageScores as LanguageScores,
    score_language_model as score_language_model,
)
from .gguf_model import PretrainedLM as PretrainedLM, load_gguf as load_gguf
from .gguf_reader import (
    GGUFFile as GGUFFile,
    gguf_tokenizer as gguf_tokenizer,
    read_gguf as read_gguf,
)
from .model import (
    CausalParts as CausalParts,
    causal_parts as causal_parts,
    language_model as language_model,
)
from .on_policy import generalized_loss as generalized_loss, on_policy_batches as on_policy_batches
from .packing import (
    IGNORED as IGNORED,
    next_tokens as next_tokens,
    pack_texts as pack_texts,
    prompted_rows as prompted_rows,
)
from .sampling_in_training import Sampler as Sampler, sample as sample
