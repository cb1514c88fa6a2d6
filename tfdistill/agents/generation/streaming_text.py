"""From tokens to text that is certain: whole characters and no half of a stop string."""

from __future__ import annotations

from collections.abc import Sequence

import tokenizers
from tokenizers.decoders import DecodeStream

__all__ = ["TextPieces", "check_stop", "held_back"]


def check_stop(stop: str | Sequence[str]) -> tuple[str, ...]:
    """Returns stop strings as a tuple, or refuses them.

    Args:
        stop: One text or several.

    Returns:
        The texts.

    Raises:
        TypeError: If one is not a str.
        ValueError: If one is empty.
    """
    texts = (stop,) if isinstance(stop, str) else tuple(stop)
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"`stop` must be a str or a list of str. Received: stop={stop!r}.")
        if not text:
            raise ValueError(
                "`stop` must hold no empty text, which would end everything at once. "
                f"Received: stop={stop!r}."
            )
    return texts


def held_back(text: str, stop: Sequence[str]) -> int:
    """Counts the characters at the end of a text that may become a stop string.

    Args:
        text: What was written and not yet given out; it holds no whole stop string.
        stop: Stop strings.

    Returns:
        Length of the longest end of `text` that a stop string begins with.

    Example:
        >>> held_back("the en", ["end.", "no"]), held_back("the", ["end."])
        (2, 1)
    """
    longest = 0
    for each in stop:
        for length in range(min(len(each) - 1, len(text)), longest, -1):
            if text.endswith(each[:length]):
                longest = length
                break
    return longest


class TextPieces:
    """Takes tokens and gives out text as soon as nothing can change it any more.

    Args:
        tokenizer: What the tokens belong to.
        stop: Texts that end the writing.

    Attributes:
        stopped: Whether a stop string was reached.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer, *, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._stop = tuple(stop)
        self._waiting = ""
        self.stopped = False

    def add(self, token: int) -> str:
        """Takes a token.

        Args:
            token: Its id.

        Returns:
            The text that is certain now; often that of this token, sometimes none.
        """
        self._waiting += self._stream.step(self._tokenizer, token) or ""
        ends = [self._waiting.find(each) for each in self._stop]
        found = [end for end in ends if end >= 0]
        if found:
            self.stopped = True
            piece, self._waiting = self._waiting[: min(found)], ""
            return piece
        keep = len(self._waiting) - held_back(self._waiting, self._stop)
        piece, self._waiting = self._waiting[:keep], self._waiting[keep:]
        return piece

    def rest(self) -> str:
        """Returns what was held back, when no token follows; half a character is left out."""
        piece, self._waiting = self._waiting, ""
        return piece
