"""How much work a run does: what follows from the effort, the texts and the size of the student.

A student learns from what it reads, so the work is counted in tokens and not in epochs: few short
texts are read many times in many variations, many long ones once or twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

__all__ = ["EFFORTS", "Plan", "plan_run"]


@dataclass(frozen=True)
class _Effort:
    """Limits of an effort.

    Attributes:
        fine_tune_tokens: Most tokens that the teacher is trained on; 0 trains a head alone.
        fine_tune_epochs: Most passes of that.
        copies: Most varied copies of a text.
        answer_tokens: Most tokens that the teacher answers.
        views: How often a student reads each text, in one variation or another.
        student_tokens: Most tokens that a student of 480 KB reads; larger ones fewer.
        longest: Most tokens of a text that are read.
    """

    fine_tune_tokens: int
    fine_tune_epochs: int
    copies: int
    answer_tokens: int
    views: int
    student_tokens: int
    longest: int


EFFORTS = {
    "quick": _Effort(0, 0, 3, 700_000, 21, 4_000_000, 64),
    "standard": _Effort(1_000_000, 4, 20, 3_600_000, 42, 12_000_000, 128),
    "thorough": _Effort(6_000_000, 6, 41, 12_000_000, 84, 60_000_000, 256),
}
# Assumed tokens a second on two cores: MiniLM trained, in 8 bits, and in float. For the estimate
# alone; nothing that is made depends on them.
TRAINED, ANSWERED, READ = 2_500, 12_000, 8_000
LEARNED = 50_000  # tokens a second of a student of 0.4 M weights while it trains
_FEWEST_COPIES_TOKENS = 3  # of a text that is worth varying


@dataclass(frozen=True)
class Plan:
    """The work of a run.

    Attributes:
        effort: Its name.
        sequence_length: Tokens of a text.
        fine_tune_epochs: Passes of the teacher's training; 0 trains a head on frozen features.
        copies: Varied copies of each text.
        passes: How often a student reads texts and copies, in all.
        reading_share: Expected share of the teacher's training that its frozen features take.
        seconds: A rough guess of the seconds of each part on two cores.
    """

    effort: str
    sequence_length: int
    fine_tune_epochs: int
    copies: int
    passes: int
    reading_share: float
    seconds: dict[str, float]

    @property
    def minutes(self) -> int:
        """Expected minutes of the whole run, at least 1."""
        return max(1, math.ceil(sum(self.seconds.values()) / 60))

    def without_training(self) -> Plan:
        """Returns the plan for a teacher that is used as it is."""
        seconds = {**self.seconds, "train the teacher": 10.0}
        return replace(self, fine_tune_epochs=0, reading_share=0.0, seconds=seconds)


def plan_run(
    effort: str,
    *,
    labelled_tokens: int,
    all_tokens: int,
    sequence_length: int,
    weights: int,
    most_copies: int | None = None,
) -> Plan:
    """Makes the plan of a run.

    Args:
        effort: "quick", "standard" or "thorough".
        labelled_tokens: Tokens of the training texts that have a label.
        all_tokens: Tokens of these and of the texts without one.
        sequence_length: Tokens of the longest text.
        weights: Number of weights of the student.
        most_copies: Most varied copies of a text, if not that of the effort.

    Returns:
        The plan.

    Raises:
        ValueError: If the effort is unknown.

    Example:
        >>> plan = plan_run("thorough", labelled_tokens=160_000, all_tokens=160_000,
        ...                 sequence_length=24, weights=375_000)
        >>> plan.copies, plan.passes, plan.fine_tune_epochs
        (41, 2, 6)
    """
    if effort not in EFFORTS:
        raise ValueError(f"`effort` must be one of {tuple(EFFORTS)}. Received: effort={effort!r}.")
    limits = EFFORTS[effort]
    length = min(sequence_length, limits.longest)
    epochs = min(limits.fine_tune_epochs, limits.fine_tune_tokens // max(1, labelled_tokens))
    if limits.fine_tune_epochs:
        epochs = max(1, epochs)
    copies = min(limits.copies, limits.answer_tokens // max(1, all_tokens) - 1)
    copies = max(0, copies if most_copies is None else min(copies, most_copies))
    read = all_tokens * (1 + copies)
    pace = LEARNED * min(2.0, 400_000 / max(1, weights))
    most = limits.student_tokens * pace / LEARNED
    passes = max(1, min(math.ceil(limits.views / (1 + copies)), int(most // max(1, read))))
    training = passes * read / pace
    teaching = labelled_tokens * (epochs / TRAINED + 1 / READ) + 20
    seconds = {
        "train the teacher": teaching,
        "compile the teacher": 30.0,
        "ask the teacher": read / ANSWERED,
        "train the student": training + 10,
        "train the control": training + 10,
        "train the bag of words": 15 + passes * read / (2 * LEARNED),
        "bag of words on the labels": 20.0,
        "export and measure": 60.0,
    }
    return Plan(effort, length, epochs, copies, passes, labelled_tokens / READ / teaching, seconds)
