"""Small models to distil into, and what brings a teacher's knowledge into their start."""

from tfdistill.students.blocks import EncoderBlock, MaskedMean, PositionEmbedding
from tfdistill.students.byte_bpe import cut_byte_bpe
from tfdistill.students.causal import causal_lm
from tfdistill.students.decoder import DecoderBlock
from tfdistill.students.encoder import any_length, text_encoder
from tfdistill.students.initialize import principal_components, start_embedding
from tfdistill.students.vocabulary import cut_vocabulary, encode

__all__ = [
    "DecoderBlock",
    "EncoderBlock",
    "MaskedMean",
    "PositionEmbedding",
    "any_length",
    "causal_lm",
    "cut_byte_bpe",
    "cut_vocabulary",
    "encode",
    "principal_components",
    "start_embedding",
    "text_encoder",
]
