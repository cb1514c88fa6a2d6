"""A verifier: vetoes a label and spans that do not go together.

It knows, from training texts, which span labels occur with which label. An answer that breaks that
is wrong somewhere, though nobody noticed; the veto sends it to a better tier.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tfdistill.agents.team.member import Answer, Question

__all__ = ["Verifier", "compatible_labels"]


class Verifier:
    """Vetoes what does not go together.

    Args:
        compatible: For each label the labels of spans that go with it, see `compatible_labels`.
        label: The step whose label is checked.
        spans: The step whose spans are checked.
        name: The agent's name.
        tier: Its tier.

    Example:
        >>> verifier = Verifier({"GetWeather": ["city"]}, label="intent", spans="slots")
        >>> from tfdistill.agents import Question, Span
        >>> inputs = {"intent": "GetWeather", "slots": (Span(0, 4, "artist"),)}
        >>> verifier.answer(Question("verdict", "Rome", 0, inputs)).value
        ('intent', 'slots')
    """

    kind = "verdict"

    def __init__(
        self,
        compatible: Mapping[str, Sequence[str]],
        *,
        label: str,
        spans: str,
        name: str = "verifier",
        tier: str = "rule",
    ) -> None:
        self.compatible = {key: frozenset(values) for key, values in compatible.items()}
        self.label, self.spans, self.name, self.tier = label, spans, name, tier
        self.needs = (label, spans)

    def answer(self, question: Question) -> Answer:
        """Names both fields if they do not go together, and none if they do."""
        allowed = self.compatible.get(question.inputs[self.label], frozenset())
        fits = all(span.label in allowed for span in question.inputs[self.spans])
        return Answer(() if fits else (self.label, self.spans), 1.0)

    def __repr__(self) -> str:
        return f"Verifier({self.name!r}, {len(self.compatible)} labels)"


def compatible_labels(examples: Iterable[tuple[str, Iterable[str]]]) -> dict[str, list[str]]:
    """Collects which labels of spans occur with which label.

    Args:
        examples: For each training text its label and the labels of its spans.

    Returns:
        The labels of spans by label, sorted.

    Example:
        >>> compatible_labels([("Play", ["artist"]), ("Play", ["album"]), ("Rate", [])])
        {'Play': ['album', 'artist'], 'Rate': []}
    """
    found: dict[str, set[str]] = {}
    for label, spans in examples:
        found.setdefault(label, set()).update(spans)
    return {label: sorted(found[label]) for label in sorted(found)}
