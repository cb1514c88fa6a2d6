"""Small models to distil into, and what brings a teacher's knowledge into their start."""

from tfdistill.students.blocks import EncoderBlock, MaskedMean, PositionEmbedding
from tfdistill.students.decoder import DecoderBlock
from tfdistill.students.encoder import text_encoder
from tfdistill.students.initialize import principal_components, start_embedding
from tfdistill.students.vocabulary import cut_vocabulary, encode

__all__ = [
    "DecoderBlock",
    "EncoderBlock",
    "MaskedMean",
    "PositionEmbedding",
    "cut_vocabulary",
    "encode",
    "principal_components",
    "start_embedding",
    "text_encoder",
]
