"""Small models to distil into, and what brings a teacher's knowledge into their start."""

from tfdistill.students.averaging import average_students, average_weights
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
from tfdistill.students.heads import (
    at_length,
    head_signatures,
    multi_head_encoder,
    token_tagger,
)
from tfdistill.students.initialize import principal_components, start_embedding, token_features
from tfdistill.students.multitask import DistilledLoss, pack_targets
from tfdistill.students.vocabulary import cut_vocabulary, encode, shared_rows

__all__ = [
    "DecoderBlock",
    "DistilledLoss",
    "EncoderBlock",
    "MaskedMax",
    "MaskedMean",
    "PositionEmbedding",
    "TokenLookup",
    "any_length",
    "at_length",
    "average_students",
    "average_weights",
    "causal_lm",
    "cut_byte_bpe",
    "cut_vocabulary",
    "encode",
    "head_signatures",
    "multi_head_encoder",
    "pack_targets",
    "principal_components",
    "shared_rows",
    "start_embedding",
    "text_encoder",
    "token_features",
    "token_tagger",
]
