"""Small models to distil into, and what brings a teacher's knowledge into their start."""

from tfdistill.students.blocks import (
    EncoderBlock,
    MaskedMax,
    MaskedMean,
    PositionEmbedding,
    TokenLookup,
)
from tfdistill.students.byte_bpe import cut_byte_bpe
from tfdistill.students.causal import causal_lm
from tfdistill.students.decoder import DecoderBlock
from tfdistill.students.encoder import any_length, text_encoder
from tfdistill.students.initialize import principal_components, start_embedding, token_features
from tfdistill.students.vocabulary import cut_vocabulary, encode, shared_rows

__all__ = [
    "DecoderBlock",
    "EncoderBlock",
    "MaskedMax",
    "MaskedMean",
    "PositionEmbedding",
    "TokenLookup",
    "any_length",
    "causal_lm",
    "cut_byte_bpe",
    "cut_vocabulary",
    "encode",
    "principal_components",
    "shared_rows",
    "start_embedding",
    "text_encoder",
    "token_features",
]
