"""Sizes of a text encoder for a number of kilobytes.

The words take what the layers leave. Widths grow with the budget in steps that were tried on 150
intents: a table of 4,250 rows of 64 with blocks of 80 in 480 KB, 5,300 rows of 96 with blocks of
160 in 1,100 KB; the others lie between, below and above them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tfdistill.arguments import check_int

__all__ = ["EncoderSizes", "encoder_sizes", "fitting_sizes"]

_GRAPH_BYTES = 40_000  # operations, names and scales of two blocks in a `.tflite` file
_FEWEST_ROWS, _ENOUGH_ROWS = 300, 3500
_TRIES = 5
# embedding_dim, hidden_dim, num_heads, intermediate_dim
_SHAPES = (
    (192, 320, 4, 640),
    (128, 224, 4, 448),
    (96, 160, 4, 320),
    (80, 112, 4, 192),
    (64, 80, 2, 128),
    (48, 64, 2, 96),
    (32, 48, 2, 64),
    (16, 32, 2, 48),
)


@dataclass(frozen=True)
class EncoderSizes:
    """Sizes that `text_encoder` takes, and the rows of its table for `shared_rows`.

    Attributes:
        num_rows: Rows of the token table.
        embedding_dim: Width of the table.
        hidden_dim: Width of the blocks.
        num_heads: Attention heads.
        intermediate_dim: Width of the feed-forward layer.
        num_layers: Number of blocks.
    """

    num_rows: int
    embedding_dim: int
    hidden_dim: int
    num_heads: int
    intermediate_dim: int
    num_layers: int = 2

    def parameters(self, *, sequence_length: int, num_classes: int) -> int:
        """Counts the weights of the encoder with two poolings.

        Args:
            sequence_length: Tokens of a text.
            num_classes: Number of logits.

        Example:
            >>> sizes = EncoderSizes(2, 3, 4, 2, 5, num_layers=1)
            >>> sizes.parameters(sequence_length=6, num_classes=7)
            258
        """
        hidden, inner = self.hidden_dim, self.intermediate_dim
        attention = 4 * (hidden * hidden + hidden)
        block = attention + 2 * hidden * inner + inner + hidden + 4 * hidden
        return (
            self.num_rows * self.embedding_dim
            + self.embedding_dim * hidden
            + sequence_length * hidden
            + 2 * hidden
            + self.num_layers * block
            + (2 * hidden + 1) * num_classes
        )


def encoder_sizes(
    *,
    max_kb: float,
    vocabulary_size: int,
    sequence_length: int,
    num_classes: int,
    bits: int = 8,
) -> EncoderSizes:
    """Chooses the widest encoder whose file is within a limit and still has rows for the words.

    The file has about `bits / 8` bytes for each weight, 2 for each id of the vocabulary (its row)
    and some for the graph. The widest shape is taken that leaves 3,500 rows, or one for each word;
    where none does, the narrowest one with as many rows as fit.

    Args:
        max_kb: Largest size of the `.tflite` file in KB of 1,024 bytes, above 0.
        vocabulary_size: Number of token ids, an int of at least 2.
        sequence_length: Tokens of a text, an int of at least 1.
        num_classes: Number of logits, an int of at least 1.
        bits: 4 or 8.

    Returns:
        The sizes.

    Raises:
        TypeError: If a size is not a number.
        ValueError: If a size is out of range, or no encoder is as small.

    Example:
        >>> encoder_sizes(max_kb=480, vocabulary_size=14_000, sequence_length=24, num_classes=150)
        EncoderSizes(num_rows=..., embedding_dim=64, hidden_dim=80, num_heads=2, ...)
    """
    check_int(vocabulary_size, argument="vocabulary_size", at_least=2)
    check_int(sequence_length, argument="sequence_length", at_least=1)
    check_int(num_classes, argument="num_classes", at_least=1)
    wanted = min(vocabulary_size, _ENOUGH_ROWS)
    fitting = []
    for embedding, hidden, heads, inner in _SHAPES:
        bare = EncoderSizes(0, embedding, hidden, heads, inner)
        weights = bare.parameters(sequence_length=sequence_length, num_classes=num_classes)
        left = 1024 * max_kb - _GRAPH_BYTES - 2 * vocabulary_size - weights * bits / 8
        rows = min(vocabulary_size, int(left / (embedding * bits / 8)))
        if rows >= wanted:
            return EncoderSizes(rows, embedding, hidden, heads, inner)
        fitting.append(EncoderSizes(rows, embedding, hidden, heads, inner))
    best = max(fitting, key=lambda sizes: sizes.num_rows)
    if best.num_rows < min(vocabulary_size, _FEWEST_ROWS):
        raise ValueError(
            f"`max_kb` must be enough for {num_classes} classes and {vocabulary_size} words. "
            f"Received: max_kb={max_kb!r}. Give more, or bits=4."
        )
    return best


def fitting_sizes(
    measure: Callable[[EncoderSizes], float],
    *,
    max_kb: float,
    vocabulary_size: int,
    sequence_length: int,
    num_classes: int,
    bits: int = 8,
) -> EncoderSizes:
    """Chooses sizes by `encoder_sizes` and takes rows off until a file is within the limit.

    Args:
        measure: Returns the KB of the file of such an encoder.
        max_kb: As in `encoder_sizes`.
        vocabulary_size: As in `encoder_sizes`.
        sequence_length: As in `encoder_sizes`.
        num_classes: As in `encoder_sizes`.
        bits: As in `encoder_sizes`.

    Returns:
        The sizes.

    Raises:
        ValueError: If no encoder is as small.

    Example:
        >>> sizes = fitting_sizes(lambda sizes: sizes.num_rows / 10, max_kb=480, bits=8,
        ...                       vocabulary_size=14_000, sequence_length=24, num_classes=150)
        >>> sizes.num_rows <= 4800
        True
    """
    limit = max_kb
    for _ in range(_TRIES):
        sizes = encoder_sizes(
            max_kb=limit,
            vocabulary_size=vocabulary_size,
            sequence_length=sequence_length,
            num_classes=num_classes,
            bits=bits,
        )
        found = measure(sizes)
        if found <= max_kb:
            return sizes
        limit -= found - max_kb + 1
    raise ValueError(
        f"`max_kb` must be enough for {num_classes} classes. Received: max_kb={max_kb!r}, and the "
        f"smallest file that was tried has {found:.0f} KB. Give more."
    )
