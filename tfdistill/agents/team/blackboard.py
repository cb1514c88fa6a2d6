"""One request on its way through a team: the blackboard, the rounds, the spending."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfdistill.agents.team.member import Caller, Member, Question, moved
from tfdistill.agents.team.messages import Message, Span
from tfdistill.agents.team.plan import REQUEST, Plan, Step
from tfdistill.agents.team.policy import BudgetTracker, Policy, View
from tfdistill.agents.team.trace import Decision, Failure

__all__ = ["Request"]


class Request:
    """Is the blackboard of one request, and what moves it on.

    Args:
        text: The request.
        plan: What is computed from what.
        members: The agents of each step, cheapest first.
        policy: Decides about each answer.
        budget: What is left to spend; each call is counted there.
        max_rounds: Rounds of decisions in one level, at least 1.
        caller: Makes the calls.

    Attributes:
        board: The latest answer of each field.
        entries: The trace so far.
        dropped: Fields that were given up.
    """

    def __init__(
        self,
        text: str,
        *,
        plan: Plan,
        members: Mapping[str, tuple[Member, ...]],
        policy: Policy,
        budget: BudgetTracker,
        max_rounds: int,
        caller: Caller,
    ) -> None:
        self.text = text
        self.board: dict[str, Message] = {}
        self.entries: list[Message | Decision | Failure] = []
        self.dropped: set[str] = set()
        self._team, self._policy, self._budget = members, policy, budget
        self._max_rounds, self._caller = max_rounds, caller
        self._steps = {step.name: step for step in plan.steps}
        self._number: dict[str, int] = {}  # of the latest answer of each field, in the trace
        self._margin: dict[str, float] = {}
        self._tier: dict[str, int] = {}  # place of the tier that answered, or failed, last
        self._asked: set[tuple[str, int, int]] = set()  # field, tier, number of the peer's answer
        self._names: dict[str, tuple[Step, str]] = {}  # the step of a field, and what names a part

    def run_level(self, level: Sequence[str]) -> None:
        """Works through the steps of one level until nothing is open."""
        steps = [self._steps[name] for name in level]
        verdicts = [step for step in steps if step.kind == "verdict"]
        fields = [f for step in steps if step.kind != "verdict" for f in self.fields_of(step)]
        answered = [field for field in fields if self._first(field)]
        self._decide(answered, vetoed=False)
        for step in verdicts:
            for field in self.fields_of(step):
                self._verify(step, field)

    def fields_of(self, step: Step) -> list[str]:
        """Lists the fields of a step: one, or one for each part."""
        if step.each is None:
            return [step.name]
        parts = self.value(step.each)
        return [f"{step.name}[{index}]" for index in range(len(parts or ()))]

    def value(self, field: str) -> Any:
        """Returns the value of a field; None if there is none or it was given up."""
        message = None if field in self.dropped else self.board.get(field)
        return None if message is None else message.value

    def failures(self) -> list[str]:
        """Lists what went wrong so far, in words."""
        return [entry.error for entry in self.entries if isinstance(entry, Failure)]

    def _first(self, field: str) -> bool:
        """Lets the first tier answer; says whether there is an answer now."""
        step, suffix = self._named(field)
        read = (self._with_suffix(name, suffix) for name in step.reads if name != REQUEST)
        if any(self.value(name) is None for name in read):
            self.dropped.add(field)  # what it is about was given up
            return False
        return self._climb(field, 0, reply=self._source_number(field))

    def _climb(self, field: str, place: int, *, reply: int | None) -> bool:
        """Asks the tier at a place, and the next one where it fails or is not affordable."""
        members = self._members(field)
        for index in range(place, len(members)):
            if self._budget.affords(members[index]):
                self._tier[field] = index
                if self._ask(field, members[index], {}, reply=reply):
                    return True
        if field not in self.board:
            self.dropped.add(field)
        return False

    def _ask(
        self, field: str, member: Member, hints: dict[str, Message], *, reply: int | None
    ) -> bool:
        start, end = self._place(field)
        inputs = dict(self._inputs(field, start))
        question = Question(field, self.text[start:end], start, inputs, hints)
        self._budget.pay_call(member.tier)
        entry, margin = self._caller.call(member, question, reply=reply)
        self.entries.append(entry)
        self._budget.pay_ms(entry.cost_ms)
        if isinstance(entry, Failure) or margin is None:
            return False
        self.board[field], self._margin[field] = entry, margin
        self._number[field] = len(self.entries) - 1
        return True

    def _decide(self, fields: Sequence[str], *, vetoed: bool) -> None:
        """Lets the policy decide, round by round, until every field is closed."""
        still_open = list(fields)
        for turn in range(self._max_rounds):
            if not still_open:
                return
            views = [self._view(field, turn, vetoed) for field in still_open]
            left = self._budget.left()
            choices = self._policy.decide(views, board=dict(self.board), budget=left)
            self._check(views, choices)
            still_open = [
                view.field
                for view, choice in zip(views, choices, strict=True)
                if self._carry_out(view, choice)
            ]
            if vetoed:  # the verifier has the next word
                return
        if vetoed:
            self.dropped.update(still_open)

    def _carry_out(self, view: View, choice: str) -> bool:
        """Does what was chosen; says whether the field is still open."""
        field, about = view.field, self._number[view.field]
        action, _, target = choice.partition(":")
        granted = True
        if action == "escalate":
            place = self._place_of(field, target)
            granted = self._budget.affords(self._members(field)[place])
        self.entries.append(Decision(field, choice, about, granted))
        if action == "abstain":
            self.dropped.add(field)
        elif action == "escalate" and granted:
            self._climb(field, place, reply=about)
        elif action == "ask":
            peer = self._peer(field, target)
            self._asked.add((field, self._tier[field], self._number[peer]))
            member = self._members(field)[self._tier[field]]
            if self._budget.affords(member):
                self._ask(field, member, {target: self.board[peer]}, reply=self._number[peer])
        return action in ("escalate", "ask")

    def _verify(self, step: Step, field: str) -> None:
        """Asks the verifier, and reopens what it refuses, a bounded number of times."""
        suffix = field[len(step.name) :]
        read = [self._with_suffix(name, suffix) for name in sorted(step.reads)]
        for _ in range(self._max_rounds):
            if any(self.value(name) is None for name in read if name != REQUEST):
                return  # there is nothing whole to verify
            if not self._climb(field, 0, reply=self._latest(read)):
                return
            refused = [
                name
                for name in read
                if name.partition("[")[0] in self.board[field].value and name != REQUEST
            ]
            if not refused:
                return
            before = [self._number[name] for name in refused]
            self._decide(refused, vetoed=True)
            if before == [self._number[name] for name in refused]:
                self.dropped.update(refused)  # refused, and nobody had anything better
                return
        self.dropped.update(refused)

    def _latest(self, fields: Sequence[str]) -> int | None:
        """Returns the number of the newest of some answers."""
        return max((self._number[name] for name in fields if name != REQUEST), default=None)

    def _view(self, field: str, turn: int, vetoed: bool) -> View:
        message = self.board[field]
        members = self._members(field)
        better = members[self._tier[field] + 1 :]
        choices = [] if vetoed else ["accept"]
        choices += [f"ask:{name}" for name in self._peers(field)]
        choices += [f"escalate:{member.tier}" for member in better if self._budget.affords(member)]
        choices.append("abstain")
        start, end = self._place(field)
        return View(
            field=field,
            message=message,
            margin=self._margin[field],
            length=end - start,
            round=turn,
            tiers_left=tuple(member.tier for member in better),
            choices=tuple(choices),
            vetoed=vetoed,
        )

    def _peers(self, field: str) -> Iterator[str]:
        """Names the steps whose answers the agent can use and has not used yet (loop guard)."""
        place = self._tier[field]
        member = self._members(field)[place]
        for name in getattr(member, "hints", ()):
            peer = self._peer(field, name)
            known = self.value(peer) is not None
            if known and (field, place, self._number[peer]) not in self._asked:
                yield name

    def _named(self, field: str) -> tuple[Step, str]:
        """Returns the step of a field, and its suffix: "[1]" for the second part."""
        found = self._names.get(field)
        if found is None:
            name, bracket, index = field.partition("[")
            found = self._names[field] = self._steps[name], bracket + index
        return found

    def _peer(self, field: str, name: str) -> str:
        return self._with_suffix(name, self._named(field)[1])

    def _with_suffix(self, name: str, suffix: str) -> str:
        return f"{name}{suffix}" if name != REQUEST and self._steps[name].each else name

    def _members(self, field: str) -> tuple[Member, ...]:
        return self._team[self._named(field)[0].name]

    def _place_of(self, field: str, tier: str) -> int:
        return [member.tier for member in self._members(field)].index(tier)

    def _part(self, field: str) -> Span | None:
        step, suffix = self._named(field)
        return None if step.each is None else self.board[step.each].value[int(suffix[1:-1])]

    def _place(self, field: str) -> tuple[int, int]:
        part = self._part(field)
        return (0, len(self.text)) if part is None else (part.start, part.end)

    def _source_number(self, field: str) -> int | None:
        each = self._named(field)[0].each
        return None if each is None else self._number[each]

    def _inputs(self, field: str, start: int) -> Iterator[tuple[str, Any]]:
        step, suffix = self._named(field)
        for source in step.reads:
            if source == REQUEST or source == step.each:
                continue
            value = self.value(self._with_suffix(source, suffix))
            yield source, moved(value, -start)

    def _check(self, views: Sequence[View], choices: Sequence[str]) -> None:
        name = type(self._policy).__name__
        if len(choices) != len(views):
            raise ValueError(
                f"A policy must decide about every open field. Received from {name}: "
                f"{len(choices)} choices for {len(views)} fields."
            )
        for view, choice in zip(views, choices, strict=True):
            if choice not in view.choices:
                raise ValueError(
                    f"A policy must pick one of {view.choices} for {view.field!r}. Received from "
                    f"{name}: {choice!r}."
                )
