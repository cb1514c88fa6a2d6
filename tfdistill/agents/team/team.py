"""A team: small agents that answer one request together, over a plan and within a budget.

    request ─▶ level 1 ─▶ level 2 ─▶ … ─▶ answer
                 │
                 └─ first tier answers every field; then rounds: the policy accepts, asks a peer's
                    opinion, escalates to a better tier, or abstains; a verifier may veto

All of it is on one blackboard per request, and all of it is in the trace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfdistill.agents.team.blackboard import Request
from tfdistill.agents.team.member import Caller, Member
from tfdistill.agents.team.messages import plain_value
from tfdistill.agents.team.plan import Plan, PlanError
from tfdistill.agents.team.policy import Budget, BudgetTracker, Policy, ThresholdPolicy
from tfdistill.agents.team.trace import Trace
from tfdistill.agents.tokenization.text_encoder import UnusableTextError, check_text, check_texts
from tfdistill.arguments.numeric import check_int

__all__ = ["Team", "TeamResult"]


@dataclass(frozen=True)
class TeamResult:
    """Is what a team made of one request.

    Attributes:
        values: The final value of each field, None where the team abstained; only the fields of
            the plan's result, "intent[0]" among them.
        abstained: The fields that have no answer.
        trace: How it came about.
    """

    values: Mapping[str, Any]
    abstained: tuple[str, ...]
    trace: Trace

    @property
    def cost_ms(self) -> float:
        """What all agents took together, in milliseconds."""
        return self.trace.cost_ms

    def to_json(self) -> dict[str, Any]:
        """Returns answer and trace as plain lists, dicts, numbers and strings."""
        return {
            "answer": {field: plain_value(value) for field, value in self.values.items()},
            "abstained": list(self.abstained),
            "cost_ms": self.cost_ms,
            "trace": self.trace.to_dict()["entries"],
        }


class Team:
    """Answers requests with several agents.

    A team, like an agent, is not safe to call from two threads at once: give each thread its own.

    Args:
        agents: For each step of the plan its agents, cheapest first; one `Member` stands for
            itself. No two agents of a team share a name.
        plan: What is computed from what.
        policy: Decides about each answer. None is `ThresholdPolicy()`.
        budget: What one request, or a batch of requests in a row, may cost. None has no limit.
        max_rounds: Rounds of decisions in one level, at least 1; what is open after them is
            accepted, or dropped if it was vetoed.
        max_characters: The longest request that is taken.
        time_limit_s: Seconds for one agent's answer; None waits for ever.
        path: The folder that the team was opened from.

    Attributes:
        plan: The plan.
        path: The folder, or None.
        budget_tracker: What is left of the budget.
        sample: A request to measure with, or None.

    Raises:
        PlanError: If a step has no agent, an agent's kind is not its step's, or an agent belongs
            to no step; the message draws the plan.
        ValueError: If two agents share a name, a number is out of range, the policy does not know
            the team, or the budget limits a tier that no agent has.

    Example:
        >>> from tfdistill.agents import Answer, Plan, Step
        >>> class Loud:
        ...     name, tier, kind = "loud", "rule", "label"
        ...     def answer(self, question):
        ...         return Answer("shout" if question.text.isupper() else "speech", 1.0)
        >>> plan = Plan(steps=(Step("tone", kind="label"),), result=("tone",))
        >>> result = Team(agents={"tone": Loud()}, plan=plan).answer("HELLO")
        >>> result.values
        {'tone': 'shout'}
        >>> result.trace.messages[0].by
        'loud'
    """

    def __init__(
        self,
        *,
        agents: Mapping[str, Member | Sequence[Member]],
        plan: Plan,
        policy: Policy | None = None,
        budget: Budget | None = None,
        max_rounds: int = 4,
        max_characters: int = 20_000,
        time_limit_s: float | None = None,
        path: Path | None = None,
    ) -> None:
        self.plan = plan
        self.path = path
        self.policy: Policy = ThresholdPolicy() if policy is None else policy
        self.budget = Budget() if budget is None else budget
        self.budget_tracker = BudgetTracker(self.budget)
        check_int(max_rounds, argument="max_rounds", at_least=1)
        check_int(max_characters, argument="max_characters", at_least=1)
        self.max_rounds = max_rounds
        self.max_characters = max_characters
        self.members: Mapping[str, tuple[Member, ...]] = {
            name: tuple(given) if isinstance(given, Sequence) else (given,)
            for name, given in agents.items()
        }
        _check_members(self.members, plan)
        self.budget.check(self.members)
        check = getattr(self.policy, "check", None)
        if check is not None:
            check(self.members)
        self._described = {
            "plan": plan.to_dict(),
            "agents": {
                name: [[m.name, m.tier, float(getattr(m, "expected_ms", 0.0))] for m in members]
                for name, members in self.members.items()
            },
            "max_rounds": max_rounds,
        }
        self.sample: str | None = None
        self._caller = Caller(time_limit_s)

    def answer(self, text: str) -> TeamResult | Exception:
        """Answers one request; what goes wrong with it is returned rather than raised.

        Args:
            text: The request.

        Returns:
            The result; or the error, if no agent could work with the text or the policy broke
            its rules.
        """
        try:
            check_text(text)
            if len(text) > self.max_characters:
                raise UnusableTextError(text, f"have at most {self.max_characters} characters")
            if not text.strip():
                raise UnusableTextError(text, "have a word")
            return self._answer(text)
        except Exception as error:  # it belongs to this request alone
            return error

    def predict(self, texts: Sequence[str]) -> list[TeamResult]:
        """Answers requests, in order.

        Raises:
            TypeError: If `texts` is not a list of str.
            ValueError: If it is empty or a text is not usable (`UnusableTextError`).
        """
        results = []
        for index, text in enumerate(check_texts(texts)):
            result = self.answer(text)
            if isinstance(result, UnusableTextError):
                raise result.named(f"texts[{index}]")
            if isinstance(result, Exception):
                raise result
            results.append(result)
        return results

    def sample_text(self) -> str | None:
        """Returns a request to measure with, if the team was saved with one."""
        return self.sample

    def run_blank(self) -> None:
        """Answers a request that no agent need understand, for what measures time; it is free."""
        kept, self.budget_tracker = self.budget_tracker, BudgetTracker(self.budget)
        try:
            self.answer(self.sample or "?")
        finally:
            self.budget_tracker = kept

    def with_policy(self, policy: Policy, *, budget: Budget | None = None) -> Team:
        """Returns a team of the same agents under another policy and budget."""
        other = Team(
            agents=self.members,
            plan=self.plan,
            policy=policy,
            budget=budget,
            max_rounds=self.max_rounds,
            max_characters=self.max_characters,
            time_limit_s=self._caller.limit_s,
            path=self.path,
        )
        other.sample = self.sample
        return other

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}: {len(who)}" for name, who in self.members.items())
        return f"Team({counts}, policy={type(self.policy).__name__})"

    def _answer(self, text: str) -> TeamResult:
        start = getattr(self.policy, "start", None)
        if start is not None:
            start(text)
        self.budget_tracker.begin()
        described = {**self._described, "budget": self.budget_tracker.described()}
        request = Request(
            text,
            plan=self.plan,
            members=self.members,
            policy=self.policy,
            budget=self.budget_tracker,
            max_rounds=self.max_rounds,
            caller=self._caller,
        )
        for level in self.plan.levels:
            request.run_level(level)
        if not request.board:
            raise _unusable(text, request.failures())
        values = {
            field: request.value(field)
            for step in self.plan.steps
            if step.name in self.plan.result
            for field in request.fields_of(step)
        }
        abstained = tuple(field for field, value in values.items() if value is None)
        trace = Trace(text, tuple(request.entries), values, described)
        return TeamResult(values, abstained, trace)


def _unusable(text: str, failures: Sequence[str]) -> Exception:
    if failures and all(error.startswith("UnusableTextError") for error in failures):
        return UnusableTextError(text, "have a word that an agent of the team knows")
    reasons = "; ".join(dict.fromkeys(failures)) or "nobody was allowed to (see the budget)"
    return RuntimeError(f"No agent of the team could answer: {reasons}")


def _check_members(members: Mapping[str, tuple[Member, ...]], plan: Plan) -> None:
    steps = {step.name: step for step in plan.steps}
    for name in members.keys() - steps.keys():
        raise PlanError(
            f"Every agent must belong to a step of the plan. Received: agents[{name!r}], which "
            f"nothing can reach. The plan:\n{plan.draw()}"
        )
    for name, step in steps.items():
        if not members.get(name):
            raise PlanError(
                f"Every step must have an agent. Received: none for {name!r}. The plan:\n"
                f"{plan.draw()}"
            )
        for member in members[name]:
            if member.kind != step.kind:
                raise PlanError(
                    f"An agent must answer with its step's kind. Received: {member.name!r} answers "
                    f"with {member.kind!r}, and {name!r} is {step.kind!r}. The plan:\n{plan.draw()}"
                )
            missing = sorted(set(getattr(member, "needs", ())) - set(step.reads))
            if missing:
                raise PlanError(
                    f"A step must read what its agents need. Received: {member.name!r} needs "
                    f"{missing}, and {name!r} reads {sorted(step.reads)}. The plan:\n{plan.draw()}"
                )
    names = [member.name for who in members.values() for member in who]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"Agents must have different names. Received: {doubled} more than once.")
    for name, who in members.items():
        tiers = [member.tier for member in who]
        if len(set(tiers)) < len(tiers):
            raise ValueError(
                f"The agents of a step must have different tiers. Received: {tiers} for {name!r}."
            )
