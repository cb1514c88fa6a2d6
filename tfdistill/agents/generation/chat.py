"""A conversation with a generating agent: turns in, a stream of the answer out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfdistill.agents.generation.generator import Generator
from tfdistill.bundles.chat_format import chat_prompt

__all__ = ["Conversation"]

_ENDS = {"chatml": ("<|im_end|>",), "plain": ("\n",)}


class Conversation:
    """Remembers what was said and writes the next answer in the bundle's chat format.

    When the turns no longer fit into the context, the oldest are left out; the system message
    stays.

    Args:
        generator: The agent that answers.
        system: What it is told before all turns, or None.

    Attributes:
        messages: All turns so far, the answers included.
    """

    def __init__(self, generator: Generator, *, system: str | None = None) -> None:
        self._generator = generator
        self._system = [] if system is None else [{"role": "system", "content": system}]
        self.messages: list[dict[str, str]] = []

    def reply(self, text: str, **settings: Any) -> Iterator[str]:
        """Answers a turn piece by piece; the turn counts when the answer is complete.

        Args:
            text: What the user says.
            **settings: As for `Generator.stream`, without `stop`.

        Returns:
            An iterator of the answer's pieces.

        Raises:
            ValueError: If the turn alone, with the system message, is longer than the context, or
                holds a mark of the chat format.
        """
        turn = {"role": "user", "content": text}
        chat_format = self._generator.bundle.generation.chat_format
        earlier = list(self.messages)
        while True:
            prompt = chat_prompt([*self._system, *earlier, turn], chat_format=chat_format)
            try:
                pieces = self._generator.stream(prompt, stop=_ENDS[chat_format], **settings)
                break
            except ValueError:
                if not earlier:
                    raise
                del earlier[:2]
        answer = []
        for piece in pieces:
            answer.append(piece)
            yield piece
        self.messages += [turn, {"role": "assistant", "content": "".join(answer)}]
