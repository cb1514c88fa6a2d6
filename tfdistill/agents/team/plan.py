"""A plan: which fields make up an answer, and what each is computed from.

A small typed graph, checked when it is made, so that a mistake is found before any request::

    Plan(
        steps=(
            Step("parts", kind="spans", reads={"text": "text"}),
            Step("intent", kind="label", reads={"parts": "spans"}, each="parts"),
            Step("slots", kind="spans", reads={"parts": "spans"}, each="parts"),
            Step("verdict", kind="verdict", reads={"slots": "spans"}, each="parts"),
        ),
        result=("parts", "intent", "slots"),
    )

A step with `each="parts"` is done once for every span of `parts`, on that piece of the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tfdistill.agents.team.messages import KINDS

__all__ = ["Plan", "PlanError", "REQUEST", "Step"]

REQUEST = "text"  # the field that is there from the start: the request
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


class PlanError(ValueError):
    """Says what is wrong with a plan, and draws it."""


@dataclass(frozen=True)
class Step:
    """One field of a plan.

    Attributes:
        name: Its name, in lower case.
        kind: Kind of its value: "label", "spans", "text" or "verdict".
        reads: The fields it is computed from, each with the kind that is expected there; "text"
            of kind "text" is the request.
        each: A field of spans that it is done once for each of; None for once per request.
    """

    name: str
    kind: str
    reads: Mapping[str, str] = field(default_factory=lambda: {REQUEST: "text"})
    each: str | None = None


@dataclass(frozen=True)
class Plan:
    """A checked graph of steps.

    Attributes:
        steps: The steps, in any order.
        result: The fields that the answer is made of. A verdict belongs to the answer by itself.
        levels: The names of the steps in the order of work; those of one level do not need each
            other. Computed.

    Raises:
        PlanError: If a field has no producer or two, a kind does not fit, there is a cycle, or a
            step leads nowhere. The message draws the graph.

    Example:
        >>> plan = Plan(steps=(Step("topic", kind="label"),), result=("topic",))
        >>> plan.levels
        (('topic',),)
        >>> Plan(steps=(Step("topic", kind="label", reads={"part": "spans"}),), result=("topic",))
        Traceback (most recent call last):
        ...
        tfdistill.agents.team.plan.PlanError: Every field must have a producer. Received: ...
          ?part -> topic
    """

    steps: tuple[Step, ...]
    result: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        object.__setattr__(self, "result", tuple(self.result))
        self._check_names()
        self._check_edges()
        object.__setattr__(self, "levels", self._ordered())
        self._check_use()

    def step(self, name: str) -> Step:
        """Returns a step by its name."""
        return next(step for step in self.steps if step.name == name)

    def draw(self) -> str:
        """Draws the graph, one line for each edge; what does not exist has a question mark."""
        known = {step.name for step in self.steps} | {REQUEST}
        lines = []
        for step in self.steps:
            for source in sources(step):
                mark = "" if source in known else "?"
                each = f" (for each of {step.each})" if step.each else ""
                lines.append(f"  {mark}{source} -> {step.name}{each}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Returns the plan as plain lists, dicts and strings."""
        return {
            "steps": [
                {"name": s.name, "kind": s.kind, "reads": dict(s.reads), "each": s.each}
                for s in self.steps
            ],
            "result": list(self.result),
        }

    def to_json(self) -> str:
        """Returns the plan as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_dict(cls, content: Any) -> Plan:
        """Reads what `to_dict` wrote, and checks the plan.

        Raises:
            PlanError: If it is not a plan.
        """
        try:
            steps = tuple(
                Step(
                    name=entry["name"],
                    kind=entry["kind"],
                    reads={str(name): str(kind) for name, kind in entry["reads"].items()},
                    each=entry["each"],
                )
                for entry in content["steps"]
            )
            result = tuple(content["result"])
        except (KeyError, TypeError, AttributeError) as error:
            raise PlanError(
                "A plan must have `steps` and a `result`. Received: "
                f"{str(content)[:200]!r} ({type(error).__name__}: {error})."
            ) from error
        return cls(steps=steps, result=result)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Reads what `to_json` wrote, and checks the plan.

        Raises:
            PlanError: If it is not JSON or not a plan.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PlanError(f"A plan must be JSON. Received: {text[:80]!r} ({error}).") from error
        return cls.from_dict(content)

    def _check_names(self) -> None:
        names = [step.name for step in self.steps]
        for step in self.steps:
            if not isinstance(step.name, str) or not _NAME.match(step.name) or step.name == REQUEST:
                raise self._error(
                    "The name of a step must be lower-case letters, digits and _, and not "
                    f"{REQUEST!r}",
                    repr(step.name),
                )
            if step.kind not in KINDS:
                raise self._error(f"A kind must be one of {KINDS}", f"{step.name!r}: {step.kind!r}")
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise self._error("Every field must have one producer", f"two for {doubled}")
        missing = sorted(name for name in self.result if name not in names)
        if missing or not self.result:
            raise self._error("The result must name fields of the plan", f"result={self.result!r}")

    def _check_edges(self) -> None:
        kinds = {step.name: step.kind for step in self.steps} | {REQUEST: "text"}
        for step in self.steps:
            for source in sources(step):
                if source not in kinds:
                    raise self._error(
                        "Every field must have a producer",
                        f"{step.name!r} reads {source!r}, which no step produces",
                    )
            for source, expected in step.reads.items():
                if kinds[source] != expected:
                    raise self._error(
                        "A step must read the kind that is produced",
                        f"{step.name!r} reads {source!r} as {expected!r}, and it is "
                        f"{kinds[source]!r}",
                    )
            if step.each is not None and kinds[step.each] != "spans":
                raise self._error(
                    "A step can be done for each of a field of spans only",
                    f"{step.name!r} for each of {step.each!r}, which is {kinds[step.each]!r}",
                )
            for source in step.reads:
                other = None if source == REQUEST else self.step(source)
                if other is not None and other.each not in (None, step.each):
                    raise self._error(
                        "A step that reads a field per part must be for each of the same parts",
                        f"{step.name!r} reads {source!r}, done for each of {other.each!r}",
                    )

    def _ordered(self) -> tuple[tuple[str, ...], ...]:
        left = {step.name: set(sources(step)) - {REQUEST} for step in self.steps}
        verdicts = [step for step in self.steps if step.kind == "verdict"]
        before, ahead = set[str](), {step.name for step in verdicts}
        while ahead:
            before |= ahead
            ahead = {name for done in ahead for name in left.get(done, ())} - before
        # What no verdict needs is computed from what the verdicts have let pass.
        for verdict in verdicts:
            for name in left.keys() - before:
                if left[name] & (set(verdict.reads) - {REQUEST}):
                    left[name] = left[name] | {verdict.name}
        levels = []
        while left:
            ready = tuple(name for name, needed in left.items() if not needed & left.keys())
            if not ready:
                raise self._error("A plan must have no cycle", f"one through {sorted(left)}")
            levels.append(ready)
            left = {name: needed for name, needed in left.items() if name not in ready}
        return tuple(levels)

    def _check_use(self) -> None:
        used = set(self.result) | {step.name for step in self.steps if step.kind == "verdict"}
        for level in reversed(self.levels):
            for name in level:
                if name in used:
                    used.update(sources(self.step(name)))
        idle = sorted({step.name for step in self.steps} - used)
        if idle:
            raise self._error(
                "Every step must lead to the result or to a verdict", f"{idle} which nothing uses"
            )

    def _error(self, rule: str, received: str) -> PlanError:
        return PlanError(f"{rule}. Received: {received}. The plan:\n{self.draw()}")


def sources(step: Step) -> Iterable[str]:
    """Lists the fields that a step needs, without doubles."""
    return dict.fromkeys([*step.reads, *([step.each] if step.each else [])])
