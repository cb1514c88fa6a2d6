from .decoder_blocks import DecoderBlock as DecoderBlock
from .decoder_lm import causal_lm as causal_lm
from .encoder import any_length as any_length, text_encoder as text_encoder
from .encoder_blocks import (
    EncoderBlock as EncoderBlock,
    MaskedMax as MaskedMax,
    MaskedMean as MaskedMean,
    MaskedRootSum as MaskedRootSum,
    PositionEmbedding as PositionEmbedding,
    TokenLookup as TokenLookup,
    TokenPairs as TokenPairs,
)
from .initialization import (
    principal_components as principal_components,
    start_embedding as start_embedding,
    token_features as token_features,
)
from .multi_head import (
    at_length as at_length,
    head_signatures as head_signatures,
    multi_head_encoder as multi_head_encoder,
    token_tagger as token_tagger,
)
from .ngram_bag import (
    BagSize as BagSize,
    SumOfRows as SumOfRows,
    bag_of_words as bag_of_words,
    bag_of_words_for_size as bag_of_words_for_size,
)
from .sizes import (
    EncoderSizes as EncoderSizes,
    encoder_sizes as encoder_sizes,
    fitting_sizes as fitting_sizes,
)
from .text_rows import (
    encode as encode,
    encode_rows as encode_rows,
    mean_by_text as mean_by_text,
)
from .vocabulary import (
    cut_byte_bpe as cut_byte_bpe,
    cut_vocabulary as cut_vocabulary,
    shared_rows as shared_rows,
)
