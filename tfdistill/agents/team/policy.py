"""The policy of a team, which decides whether an answer is good enough, and its budget.

A policy sees all open fields of one level at once and picks one choice for each: "accept",
"ask:FIELD" (the same agent again, knowing a peer's answer), "escalate:TIER" or "abstain". The team
carries it out and tracks the budget, so no policy can overspend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tfdistill.agents.team.messages import Message
from tfdistill.arguments.numeric import check_int, check_number

__all__ = ["Budget", "BudgetTracker", "Policy", "ThresholdPolicy", "View"]


@dataclass(frozen=True, slots=True)
class View:
    """What a policy knows about one open field.

    Attributes:
        field: Its name, such as "intent[1]".
        message: Its latest answer.
        margin: How far ahead of the runner-up that answer is, in [0, 1].
        length: Characters of the text it is about.
        round: Rounds before this one.
        tiers_left: The better tiers that have not answered it yet, in order.
        choices: What may be chosen now.
        vetoed: Whether a verifier has refused the answer.
    """

    field: str
    message: Message
    margin: float
    length: int
    round: int
    tiers_left: tuple[str, ...]
    choices: tuple[str, ...]
    vetoed: bool


@dataclass(frozen=True, slots=True)
class Budget:
    """What one request, or a batch of requests in a row, may cost; the team never spends more.

    Each worker of a pool has a team of its own, and so a budget of its own for its own requests.

    Attributes:
        calls: The largest number of answers by tier, such as `{"teacher": 1}`; a tier that is not
            named has no limit.
        ms: Milliseconds of all agents together; None has no limit. An agent is asked only while
            some are left, and what it is known to take fits.
        requests: How many requests in a row share all this; then it begins anew.

    Raises:
        TypeError: If a number is not one.
        ValueError: If a number is negative, or `requests` is below 1.
    """

    calls: Mapping[str, int] = field(default_factory=dict)
    ms: float | None = None
    requests: int = 1

    def __post_init__(self) -> None:
        hint = "It is how many requests share the budget."
        check_int(self.requests, argument="requests", at_least=1, hint=hint)
        for tier, count in self.calls.items():
            hint = "Leave a tier out to have no limit."
            check_int(count, argument=f"calls[{tier!r}]", at_least=0, hint=hint)
        if self.ms is not None:
            check_number(self.ms, argument="ms", interval="[0, inf)", hint="None is no limit.")

    def check(self, members: Mapping[str, Sequence[Any]]) -> None:
        """Refuses a team that has not all tiers of `calls`: their limits would limit nothing.

        Args:
            members: The team's agents by step.

        Raises:
            ValueError: If no agent is of a tier that has a limit.
        """
        tiers = tuple(dict.fromkeys(member.tier for who in members.values() for member in who))
        if unknown := [tier for tier in self.calls if tier not in tiers]:
            raise ValueError(
                f"`budget` must limit tiers of the team, which are {tiers}. Received: "
                f"calls={dict(self.calls)!r}, and no agent is of the tier {unknown[0]!r}. A limit "
                "for it would leave the team without one."
            )


class Policy(Protocol):
    """Decides for all open fields of a level at once.

    A policy may also have `start(text)`, which is called before each request, and
    `check(members)`, which refuses a team that it does not know.
    """

    def decide(
        self, views: Sequence[View], *, board: Mapping[str, Message], budget: Budget
    ) -> Sequence[str]:
        """Picks one of `view.choices` for each view.

        Args:
            views: The open fields.
            board: The latest answer of every field, peers included.
            budget: What is left for this request and the `budget.requests - 1` after it.
        """


@dataclass(frozen=True)
class ThresholdPolicy:
    """Accepts what is sure enough, and otherwise takes the next better tier while there is one.

    Attributes:
        threshold: The least confidence that is accepted, in [0, 1], or one for each field by its
            name without the number (`{"intent": 0.9}`; a field that is not named is accepted).
        abstain_below: With no better tier left, an answer below this is dropped, in [0, 1].

    Raises:
        ValueError: If a number is out of range.
    """

    threshold: float | Mapping[str, float] = 0.9
    abstain_below: float = 0.0

    def __post_init__(self) -> None:
        given = self.threshold
        named = given if isinstance(given, Mapping) else {"threshold": given}
        for name, value in {**named, "abstain_below": self.abstain_below}.items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(
                    f"`{name}` must be a probability in [0, 1]. Received: {name}={value!r}."
                )

    def decide(
        self, views: Sequence[View], *, board: Mapping[str, Message], budget: Budget
    ) -> list[str]:
        """Picks one of `view.choices` for each view, from its confidence alone."""
        return [self._choose(view) for view in views]

    def _choose(self, view: View) -> str:
        least = self.threshold
        if isinstance(least, Mapping):
            least = least.get(view.field.partition("[")[0], 0.0)
        if view.message.confidence >= least and "accept" in view.choices:
            return "accept"
        for choice in view.choices:
            if choice.startswith("escalate:"):
                return choice
        too_low = view.message.confidence < self.abstain_below
        return "abstain" if too_low or "accept" not in view.choices else "accept"


class BudgetTracker:
    """Counts what the requests of a batch spend together, and begins anew with the next batch.

    The team counts, so that nothing a policy says can pass the budget.

    Args:
        budget: What a batch may cost; a batch is `budget.requests` requests in a row.

    Example:
        >>> tracker = BudgetTracker(Budget(calls={"teacher": 1}, requests=2))
        >>> tracker.begin()
        >>> tracker.pay_call("teacher")
        >>> tracker.begin()
        >>> tracker.left()
        Budget(calls={'teacher': 0}, ms=None, requests=1)
        >>> tracker.begin()
        >>> tracker.left().calls
        {'teacher': 1}
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._ahead = 0  # requests of the batch that are left, the present one included
        self._calls: dict[str, int] = {}
        self._ms: float | None = None

    def begin(self) -> None:
        """Begins a request; the first of a batch has the whole budget before it."""
        self._ahead -= 1
        if self._ahead < 1:
            self._ahead = self._budget.requests
            self._calls, self._ms = dict(self._budget.calls), self._budget.ms

    def left(self) -> Budget:
        """Returns what is left, and for how many requests, the present one included."""
        return Budget(calls=dict(self._calls), ms=self._ms, requests=self._ahead)

    def affords(self, member: Any) -> bool:
        """Says whether an agent may be asked now."""
        if self._calls.get(member.tier, 1) < 1:
            return False
        if self._ms is None:
            return True
        return self._ms > 0 and float(getattr(member, "expected_ms", 0.0)) <= self._ms

    def pay_call(self, tier: str) -> None:
        """Counts a call, before it is made: one that never comes back is paid for too."""
        if tier in self._calls:
            self._calls[tier] -= 1

    def pay_ms(self, cost_ms: float) -> None:
        """Counts what a call took."""
        if self._ms is not None:
            self._ms = max(self._ms - cost_ms, 0.0)

    def described(self) -> dict[str, Any]:
        """Returns what is left as plain JSON, for a trace."""
        left = self.left()
        shared = {} if left.requests == 1 else {"requests": left.requests}
        return {"calls": dict(left.calls), "ms": left.ms, **shared}
