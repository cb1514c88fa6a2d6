"""Incremental detokenization: whole characters only, and no part of a stop string."""

from __future__ import annotations

from collections.abc import Sequence

import tokenizers
from tokenizers.decoders import DecodeStream

__all__ = ["IncrementalDetokenizer", "check_stop", "partial_stop_match"]


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


def partial_stop_match(text: str, stop: Sequence[str]) -> int:
    """Measures the partial match of a stop string at the end of a text.

    Args:
        text: What was written and not yet given out; it holds no whole stop string.
        stop: Stop strings.

    Returns:
        Length of the longest end of `text` that a stop string begins with.

    Example:
        >>> partial_stop_match("the en", ["end.", "no"]), partial_stop_match("the", ["end."])
        (2, 1)
    """
    longest = 0
    for each in stop:
        for length in range(min(len(each) - 1, len(text)), longest, -1):
            if text.endswith(each[:length]):
                longest = length
                break
    return longest


class IncrementalDetokenizer:
    """Turns tokens into text one by one, as soon as no later token can change it.

    The end of the text that may still become a stop string waits for the next token.

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
        keep = len(self._waiting) - partial_stop_match(self._waiting, self._stop)
        piece, self._waiting = self._waiting[:keep], self._waiting[keep:]
        return piece

    def rest(self) -> str:
        """Returns the partial stop match when no token follows; half a character is left out."""
        piece, self._waiting = self._waiting, ""
        return piece
