"""Small models to distil into, and what brings a teacher's knowledge into their start."""

from tfdistill.students.encoder import (
    EncoderBlock,
    MaskedMean,
    PositionEmbedding,
    text_encoder,
)
from tfdistill.students.initialize import principal_components, start_embedding
from tfdistill.students.vocabulary import cut_vocabulary, encode

__all__ = [
    "EncoderBlock",
    "MaskedMean",
    "PositionEmbedding",
    "cut_vocabulary",
    "encode",
    "principal_components",
    "start_embedding",
    "text_encoder",
]
