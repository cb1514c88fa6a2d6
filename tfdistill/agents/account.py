"""What is left of a budget: counted by the team, so that nothing a policy says can pass it."""

from __future__ import annotations

from typing import Any

from tfdistill.agents.policy import Budget

__all__ = ["Account"]


class Account:
    """Counts what the requests of a batch spend together, and begins anew with the next batch.

    Args:
        budget: What a batch may cost; a batch is `budget.requests` requests in a row.

    Example:
        >>> account = Account(Budget(calls={"teacher": 1}, requests=2))
        >>> account.begin()
        >>> account.pay_call("teacher")
        >>> account.begin()
        >>> account.left()
        Budget(calls={'teacher': 0}, ms=None, requests=1)
        >>> account.begin()
        >>> account.left().calls
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
