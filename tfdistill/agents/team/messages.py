"""What agents say to each other: frozen, typed messages that are plain JSON.

A message answers one *field* with a value of that field's *kind*, and says how sure its sender is,
who it is and what the answer cost. A sentence is for people; nothing else is free text.

=============  ======================================================================
kind           value
=============  ======================================================================
"label"        a str that is not empty
"text"         a str that is not empty: a sentence for people
"spans"        a tuple of `Span`: characters [start, end) of the request, and a label
"verdict"      a tuple of the names of vetoed fields; an empty one agrees
=============  ======================================================================
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

__all__ = ["KINDS", "MalformedMessageError", "Message", "Span", "check_value"]

KINDS = ("label", "spans", "text", "verdict")
_FIELDS = ("by", "confidence", "cost_ms", "field", "in_reply_to", "tier", "value")


class MalformedMessageError(ValueError):
    """Says what is wrong with a message, and who sent it.

    Attributes:
        by: Name of the sender.
    """

    def __init__(self, text: str, *, by: str) -> None:
        super().__init__(text)
        self.by = by

    def __reduce__(self) -> tuple[Any, ...]:
        return _malformed, (str(self), self.by)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Is a labelled piece of a text: characters [start, end)."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class Message:
    """Is one agent's answer to one field.

    Attributes:
        field: What it answers, such as "intent[1]".
        value: The answer, of the field's kind.
        confidence: Probability that the answer is right, as the sender sees it, in [0, 1].
        tier: The sender's tier, such as "small" or "teacher".
        cost_ms: What the answer took, in milliseconds.
        by: The sender's name.
        in_reply_to: Number, in the trace, of the message that made the sender answer; None for
            an answer to the request itself.

    Example:
        >>> message = Message("intent[0]", "PlayMusic", 0.93, "small", 0.2, "small_intent", None)
        >>> Message.from_json(message.to_json()) == message
        True
    """

    field: str
    value: Any
    confidence: float
    tier: str
    cost_ms: float
    by: str
    in_reply_to: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the message as plain lists, dicts, numbers and strings."""
        return {
            "field": self.field,
            "value": plain_value(self.value),
            "confidence": self.confidence,
            "tier": self.tier,
            "cost_ms": self.cost_ms,
            "by": self.by,
            "in_reply_to": self.in_reply_to,
        }

    def to_json(self) -> str:
        """Returns the message as JSON text, the same for equal messages."""
        return json.dumps(self.to_dict(), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_dict(cls, content: Any) -> Message:
        """Reads what `to_dict` wrote.

        Raises:
            MalformedMessageError: If a part is missing, unknown or of the wrong type; it names
                the sender, as far as the message does.
        """
        by = content.get("by") if isinstance(content, dict) else None
        if not isinstance(content, dict) or sorted(content) != list(_FIELDS):
            received = sorted(map(str, content)) if isinstance(content, dict) else content
            raise MalformedMessageError(
                f"A message must have exactly the parts {list(_FIELDS)}. Received from {by!r}: "
                f"{received!r}.",
                by=str(by),
            )
        message = cls(**{**content, "value": _typed_value(content["value"])})
        check_message(message)
        return message

    @classmethod
    def from_json(cls, text: str) -> Message:
        """Reads what `to_json` wrote.

        Raises:
            MalformedMessageError: If it is not JSON or not a message.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise MalformedMessageError(
                f"A message must be JSON. Received from an unknown sender: {text[:80]!r} "
                f"({error}).",
                by="unknown",
            ) from error
        return cls.from_dict(content)


def check_message(message: Message) -> None:
    """Refuses a message whose parts are not what its documentation says.

    Raises:
        MalformedMessageError: With the sender's name.
    """
    check_envelope(message)
    kind = "label" if isinstance(message.value, str) else None
    if kind is None and not isinstance(message.value, tuple):
        raise malformed(message.by, f"`value` must be of a kind in {KINDS}", "value", message.value)
    if kind is None:
        kind = "spans" if any(isinstance(item, Span) for item in message.value) else "verdict"
    check_value(message.value, kind=kind, by=message.by)


def check_envelope(message: Message) -> None:
    """Refuses a message if something else than its value is not what its documentation says.

    Raises:
        MalformedMessageError: With the sender's name.
    """
    for name, value in (("field", message.field), ("tier", message.tier), ("by", message.by)):
        if not isinstance(value, str) or not value:
            raise malformed(message.by, f"`{name}` must be a name", name, value)
    number, cost = message.confidence, message.cost_ms
    if not _is_number(number) or not 0.0 <= number <= 1.0:
        raise malformed(message.by, "`confidence` must be in [0, 1]", "confidence", number)
    if not _is_number(cost) or not (math.isfinite(cost) and cost >= 0):
        raise malformed(message.by, "`cost_ms` must be at least 0", "cost_ms", cost)
    reply = message.in_reply_to
    if reply is not None and (isinstance(reply, bool) or not isinstance(reply, int) or reply < 0):
        raise malformed(
            message.by, "`in_reply_to` must be the number of a message", "in_reply_to", reply
        )


def check_value(value: Any, *, kind: str, by: str, length: int | None = None) -> None:
    """Refuses a value that is not of a kind.

    Args:
        value: The value.
        kind: One of `KINDS`.
        by: Who sent it, for the error.
        length: For spans, the length of the text that they must lie in; None does not check it.

    Raises:
        MalformedMessageError: With the sender's name.
    """
    if kind in ("label", "text"):
        if not isinstance(value, str) or not value:
            raise malformed(
                by, f"`value` of a {kind} must be a str that is not empty", "value", value
            )
        return
    if not isinstance(value, tuple):
        raise malformed(by, f"`value` of {kind} must be a tuple", "value", value)
    if kind == "verdict":
        if not all(isinstance(name, str) for name in value):
            raise malformed(by, "`value` of a verdict must name fields", "value", value)
        return
    before = 0
    for span in value:
        if not (
            isinstance(span, Span)
            and type(span.start) is type(span.end) is int
            and isinstance(span.label, str)
            and before <= span.start < span.end
            and (length is None or span.end <= length)
        ):
            raise malformed(
                by,
                "`value` of spans must be spans in order that do not overlap, inside the text",
                "value",
                value,
            )
        before = span.end


def malformed(by: str, rule: str, name: str, value: Any) -> MalformedMessageError:
    """Makes the error for one part of a message, with its sender's name."""
    shown = repr(value)
    shown = shown if len(shown) <= 200 else f"{shown[:200]}…"
    return MalformedMessageError(f"{rule}. Received from {by!r}: {name}={shown}.", by=str(by))


def plain_value(value: Any) -> Any:
    """Returns a value as JSON has it: spans become `[start, end, label]`."""
    if isinstance(value, tuple):
        return [
            [item.start, item.end, item.label] if isinstance(item, Span) else item for item in value
        ]
    return value


def _typed_value(value: Any) -> Any:
    """Turns `plain_value` back; what does not fit is left for the check to refuse."""
    if not isinstance(value, list):
        return value
    return tuple(
        Span(*item) if isinstance(item, list) and len(item) == 3 else item for item in value
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (float, int)) and not isinstance(value, bool)


def _malformed(text: str, by: str) -> MalformedMessageError:
    return MalformedMessageError(text, by=by)
