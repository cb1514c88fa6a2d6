"""Generates text from slots: the label and the spans that a team has found become a sentence.

The language model continues a prompt that lists the frame, such as::

    PlayMusic; artist = miles davis; music item = album:

It was trained on such prompts, which `frame_prompt` writes, and the sentences behind them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from tfdistill.agents.generation.generator import Generator, WrittenText
from tfdistill.agents.team.member import Answer, Question

__all__ = ["SlotWriter", "frame_prompt", "slot_coverage"]


def frame_prompt(label: str, values: Iterable[tuple[str, str]]) -> str:
    """Writes a frame as the prompt of a language model.

    Args:
        label: The label, such as an intent.
        values: Name and value of each slot, in any order; they are listed as given.

    Returns:
        One line.

    Example:
        >>> frame_prompt("PlayMusic", [("artist", "miles davis"), ("music_item", "album")])
        'PlayMusic; artist = miles davis; music item = album:'
    """
    parts = [f"{name.replace('_', ' ')} = {' '.join(value.split())}" for name, value in values]
    return "; ".join([label, *parts]) + ":"


def slot_coverage(text: str, values: Iterable[str]) -> float:
    """Measures how much of a frame a text says: the share of the values that occur in it.

    Args:
        text: What was written.
        values: The values, compared as whole words, without regard to case and spacing. One that
            is asked for twice has to be there twice; a blank one does not count.

    Returns:
        In [0, 1]; 1 if there is no value to say.

    Example:
        >>> slot_coverage("Playing the Album by miles  davis", ["miles davis", "album", "blue"])
        0.6666666666666666
    """
    left = " ".join(text.lower().split())
    wanted = [" ".join(value.lower().split()) for value in values if value.strip()]
    found = 0
    # The longest first: a short value may be part of a long one.
    for value in sorted(wanted, key=len, reverse=True):
        left, count = re.subn(rf"(?<!\w){re.escape(value)}(?!\w)", "\0", left, count=1)
        found += count
    return found / len(wanted) if wanted else 1.0


class SlotWriter:
    """A slot-to-text generator in a team: writes a sentence with what other steps have found.

    It belongs to a step such as ``Step("confirmation", kind="text", reads={"intent": "label",
    "slots": "spans"}, each="parts")``. Its confidence is the `slot_coverage` of what it wrote: a
    sentence that leaves a value out can be passed on to a better writer by a threshold.

    Args:
        bundle: A language model's bundle. Its own settings say how many tokens it may write.
        label: The step whose label the sentence is about.
        spans: The step whose spans it has to say.
        name: The agent's name.
        tier: Its tier.
        threads: Threads for one call of the model.
        expected_ms: What one sentence takes, for a budget of milliseconds.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it is not a language model's bundle, or damaged.
    """

    kind = "text"

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        label: str,
        spans: str,
        name: str = "writer",
        tier: str = "small",
        threads: int = 1,
        expected_ms: float = 0.0,
    ) -> None:
        self._generator = Generator(bundle, threads=threads)
        self.expected_ms, self.needs = expected_ms, (label, spans)
        self.label, self.spans, self.name, self.tier = label, spans, name, tier

    def answer(self, question: Question) -> Answer:
        """Writes the sentence; what the model cannot read or write is raised."""
        text = question.text
        spans = [s for s in question.inputs[self.spans] if 0 <= s.start < s.end <= len(text)]
        values = [(span.label, text[span.start : span.end]) for span in spans]
        written = self._generator.answer(frame_prompt(question.inputs[self.label], values))
        if not isinstance(written, WrittenText):
            raise written
        sentence = written.text.strip()
        return Answer(sentence, slot_coverage(sentence, (value for _, value in values)))

    def __repr__(self) -> str:
        return f"SlotWriter({self.name!r}, {str(self._generator.path)!r})"
