"""Causal language models: load a teacher, let it write, distil it, measure the student.

===================================  ============================================================
`load_gguf`                          a GGUF file of the Llama family → `PretrainedLM`
`language_model`                     a KerasHub backbone → ids in, logits of the next token out
`pack_texts`, `prompted_rows`        texts → rows of ids; `next_tokens` → their labels
`write`, `Writer`                    lets a model write many rows during training
`on_policy_batches`                  batches that the student wrote; `generalized_loss` is GKD's
`score_language_model`               perplexity, agreement with the teacher, KL
===================================  ============================================================

The student is `tfdistill.students.causal_lm`, or the teacher cut by `tfdistill.structure`.
"""

from tfdistill.language.byte_pairs import gguf_tokenizer
from tfdistill.language.gguf_files import GGUFFile, read_gguf
from tfdistill.language.models import CausalParts, causal_parts, language_model
from tfdistill.language.on_policy import generalized_loss, on_policy_batches
from tfdistill.language.pretrained import PretrainedLM, load_gguf
from tfdistill.language.running_text import IGNORED, next_tokens, pack_texts, prompted_rows
from tfdistill.language.scores import LanguageScores, score_language_model
from tfdistill.language.writing import Writer, write

__all__ = [
    "CausalParts",
    "GGUFFile",
    "IGNORED",
    "LanguageScores",
    "PretrainedLM",
    "Writer",
    "causal_parts",
    "generalized_loss",
    "gguf_tokenizer",
    "language_model",
    "load_gguf",
    "next_tokens",
    "on_policy_batches",
    "pack_texts",
    "prompted_rows",
    "read_gguf",
    "score_language_model",
    "write",
]
