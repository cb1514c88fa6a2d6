"""What happened to one request: every answer, failure and decision, in order, as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tfdistill.agents.team.messages import Message, plain_value
from tfdistill.agents.team.sequence_diagram import Exchange, sequence_svg

__all__ = ["Decision", "Failure", "Trace"]

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """Is what the policy chose for one answer.

    Attributes:
        field: The field.
        choice: "accept", "ask:FIELD", "escalate:TIER" or "abstain".
        about: Number, in the trace, of the answer that it is about.
        granted: False if the budget did not allow it any more; the field then stays open.
    """

    field: str
    choice: str
    about: int
    granted: bool = True


@dataclass(frozen=True, slots=True)
class Failure:
    """Is an agent that gave no usable answer.

    Attributes:
        field: The field that it was asked for.
        by: The agent's name.
        tier: Its tier.
        error: What went wrong, in words.
        cost_ms: What it took, in milliseconds.
    """

    field: str
    by: str
    tier: str
    error: str
    cost_ms: float


@dataclass(frozen=True)
class Trace:
    """Is the record of one request.

    Attributes:
        request: The text.
        entries: `Message`, `Failure` and `Decision`, in order; a message's number is its place.
        values: The final value of each field.
        team: What is needed to run it again, as plain JSON: `plan`, `agents` (for each step the
            name, tier and expected milliseconds of its agents), `budget` and `max_rounds`.
    """

    request: str
    entries: tuple[Message | Decision | Failure, ...]
    values: Mapping[str, Any]
    team: Mapping[str, Any]

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages alone."""
        return tuple(entry for entry in self.entries if isinstance(entry, Message))

    @property
    def cost_ms(self) -> float:
        """What all agents took together, in milliseconds."""
        return sum(entry.cost_ms for entry in self.entries if not isinstance(entry, Decision))

    def calls(self, tier: str) -> int:
        """Counts how often agents of a tier were asked."""
        asked = (entry for entry in self.entries if not isinstance(entry, Decision))
        return sum(entry.tier == tier for entry in asked)

    def to_dict(self) -> dict[str, Any]:
        """Returns the trace as plain lists, dicts, numbers and strings."""
        return {
            "format": _FORMAT,
            "request": self.request,
            "entries": [_plain(entry) for entry in self.entries],
            "values": {field: plain_value(value) for field, value in self.values.items()},
            "team": self.team,
        }

    def to_json(self) -> str:
        """Returns the trace as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Trace:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: If it is not a trace; for a message inside it, a `MalformedMessageError`.
        """
        try:
            content = json.loads(text)
            version = content["format"]
            parts = content["request"], content["entries"], content["values"], content["team"]
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            raise ValueError(
                f"`text` must be a trace as JSON. Received: {text[:80]!r} "
                f"({type(error).__name__}: {error})."
            ) from error
        if version != _FORMAT:
            raise ValueError(f"`text` must be a trace of format {_FORMAT}. Received: {version!r}.")
        request, entries, values, team = parts
        read = tuple(_entry(entry) for entry in entries)
        final = {message.field: message.value for message in read if isinstance(message, Message)}
        try:
            kept = {name: None if value is None else final[name] for name, value in values.items()}
        except (KeyError, AttributeError) as error:
            raise ValueError(
                f"`text` must be a trace whose values are in its messages. Received: {error}."
            ) from error
        return cls(request=request, entries=read, values=kept, team=team)

    def table(self) -> str:
        """Draws the trace as a table for a terminal."""
        rows = [("#", "field", "who", "tier", "what", "sure", "ms"), *self._rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
        return "\n".join(lines)

    def mermaid(self) -> str:
        """Draws the trace as a sequence diagram in Mermaid's language."""
        who = dict.fromkeys(entry.by for entry in self.entries if not isinstance(entry, Decision))
        lines = ["sequenceDiagram", "    participant team"]
        lines += [f"    participant {_id(name)} as {_safe(name)}" for name in who]
        for kind, name, asked, back in self._exchanges():
            if kind == "note":
                lines.append(f"    Note over team: {_safe(back)}")
                continue
            arrow = "--x" if kind == "failure" else "-->>"
            lines.append(f"    team->>{_id(name)}: {_safe(asked)}")
            lines.append(f"    {_id(name)}{arrow}team: {_safe(back)}")
        return "\n".join(lines)

    def svg(self) -> str:
        """Draws the trace as a sequence diagram, one `<svg>` element; notebooks show it."""
        return sequence_svg(list(self._exchanges()), title=f"Trace of {self.request[:80]!r}")

    def _repr_html_(self) -> str:
        return self.svg()

    def _exchanges(self) -> Iterator[Exchange]:
        """Yields what a sequence diagram shows."""
        for entry in self.entries:
            if isinstance(entry, Decision):
                denied = "" if entry.granted else " (no budget left)"
                yield "note", "", "", f"{entry.field}: {entry.choice}{denied}"
            elif isinstance(entry, Failure):
                yield "failure", entry.by, entry.field, entry.error
            else:
                back = f"{self._shown(entry.value)} ({entry.confidence:.2f})"
                yield "answer", entry.by, entry.field, back

    def _rows(self) -> Iterator[tuple[str, ...]]:
        for number, entry in enumerate(self.entries):
            start = (str(number), entry.field)
            if isinstance(entry, Message):
                what, sure = self._shown(entry.value), f"{entry.confidence:.3f}"
                yield *start, entry.by, entry.tier, what, sure, f"{entry.cost_ms:.2f}"
            elif isinstance(entry, Failure):
                what = f"failed: {' '.join(entry.error.split())[:60]}"
                yield (
                    *start,
                    entry.by,
                    entry.tier,
                    what,
                    "",
                    f"{entry.cost_ms:.2f}",
                )
            else:
                what = entry.choice if entry.granted else f"{entry.choice} (no budget left)"
                yield *start, "policy", "", f"{what}, about {entry.about}", "", ""

    def _shown(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        plain = plain_value(value)
        spans = [
            f"{item[2]}={self.request[item[0] : item[1]]!r}" if isinstance(item, list) else item
            for item in plain
        ]
        return ", ".join(spans) or "nothing"


def _plain(entry: Message | Decision | Failure) -> dict[str, Any]:
    if isinstance(entry, Message):
        return {"message": entry.to_dict()}
    return {type(entry).__name__.lower(): asdict(entry)}


def _entry(content: Any) -> Message | Decision | Failure:
    try:
        ((kind, parts),) = content.items()
        if kind == "message":
            return Message.from_dict(parts)
        return {"decision": Decision, "failure": Failure}[kind](**parts)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            "An entry of a trace must be a message, a decision or a failure. Received: "
            f"{str(content)[:200]!r}."
        ) from error


def _id(name: str) -> str:
    return "a_" + "".join(c if c.isalnum() and c.isascii() else "_" for c in name)


def _safe(text: str) -> str:
    """Takes out what has a meaning in Mermaid's language, and control characters."""
    shown = text if len(text) <= 60 else f"{text[:60]}…"
    return "".join(c if c.isprintable() and c not in ";#%<>{}" else " " for c in shown)
