"""A trace as a sequence diagram: who was asked what, what came back, what the policy chose.

The picture is one SVG element with its own style, so a page, a notebook and a file show the same;
it follows the light or dark theme of whoever shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Literal

__all__ = ["Exchange", "sequence_svg"]

Kind = Literal["answer", "failure", "note"]
Exchange = tuple[Kind, str, str, str]  # kind; agent, "" of a note; what was asked; what came back

_LANE, _ROW, _TOP, _SIDE = 190, 44, 54, 80
_LETTER = 6.6  # width of a letter, about
_STYLE = """
.tfd{--line:#7a8699;--text:#1c2430;--back:#fff;--fill:#e8eef7;--bad:#b3261e;--note:#fff4ce;
font:12px system-ui,sans-serif;background:var(--back);max-width:100%;height:auto}
@media (prefers-color-scheme:dark){.tfd{--line:#8894a8;--text:#e6e9ee;--back:#14181f;--fill:#26303f;
--bad:#ff8a80;--note:#4a4020}}
.tfd text{fill:var(--text)}
.tfd .life{stroke:var(--line);stroke-dasharray:3 4}
.tfd .box{fill:var(--fill);stroke:var(--line)}
.tfd .note{fill:var(--note);stroke:var(--line)}
.tfd .ask,.tfd .back{stroke:var(--line);stroke-width:1.4;fill:none}
.tfd .back{stroke-dasharray:5 3}
.tfd .head{fill:var(--line)}
.tfd .bad{stroke:var(--bad)}
.tfd text.bad{fill:var(--bad);stroke:none}
""".replace("\n", "")


def sequence_svg(exchanges: Sequence[Exchange], *, title: str) -> str:
    """Draws exchanges between a team and its agents, from top to bottom.

    Args:
        exchanges: In order; of each its kind ("answer", "failure" or "note"), the agent ("" of a
            note of the team itself), what it was asked and what came back.
        title: What a screen reader says.

    Returns:
        One `<svg>` element.

    Example:
        >>> svg = sequence_svg([("answer", "small_intent", "intent", "PlayMusic")], title="t")
        >>> svg.count('class="life"'), svg.count('class="ask"')
        (2, 1)
    """
    lanes = ["team", *dict.fromkeys(who for kind, who, *_ in exchanges if kind != "note")]
    place = {who: _SIDE + _LANE * index for index, who in enumerate(lanes)}
    height = _TOP + _ROW * (len(exchanges) + 1)
    width = place[lanes[-1]] + _SIDE + (_LANE if len(lanes) == 1 else 0)
    parts = [
        f'<svg class="tfd" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
    ]
    for who, x in place.items():
        parts.append(f'<path class="life" d="M{x} {_TOP - 14}V{height - 8}"/>')
        parts.append(f'<rect class="box" x="{x - 72}" y="12" width="144" height="26" rx="5"/>')
        parts.append(_text(x, 29, who, width=136, anchor="middle"))
    for row, (kind, who, asked, back) in enumerate(exchanges):
        y = _TOP + _ROW * row + 16
        if kind == "note":
            parts.append(_note(place["team"], y, back))
        else:
            parts += _arrows(place["team"], place[who], y, asked, back, failed=kind == "failure")
    return "".join(parts) + "</svg>"


def _arrows(start: int, end: int, y: int, asked: str, back: str, *, failed: bool) -> list[str]:
    bad = " bad" if failed else ""
    middle = (start + end) // 2
    room = end - start - 16
    return [
        f'<path class="ask" d="M{start} {y}H{end - 7}"/>',
        f'<path class="head" d="M{end} {y}l-8 -4v8z"/>',
        _text(middle, y - 4, asked, width=room, anchor="middle"),
        f'<path class="back{bad}" d="M{end} {y + 18}H{start + 7}"/>',
        f'<path class="head" d="M{start} {y + 18}l8 -4v8z"/>',
        _text(middle, y + 14, back, width=room, anchor="middle", css=bad.strip()),
    ]


def _note(x: int, y: int, text: str) -> str:
    width = min(len(text) * _LETTER + 14, 2 * _LANE)
    left = max(x - 72, 4)
    box = f'<rect class="note" x="{left}" y="{y - 8}" width="{width:.0f}" height="24" rx="3"/>'
    return box + _text(left + 7, y + 8, text, width=width - 8, anchor="start")


def _text(x: int, y: int, text: str, *, width: float, anchor: str, css: str = "") -> str:
    most = max(int(width / _LETTER), 4)
    shown = text if len(text) <= most else f"{text[: most - 1]}…"
    whole = "" if shown == text else f"<title>{escape(_printable(text))}</title>"
    name = f' class="{css}"' if css else ""
    return (
        f'<text{name} x="{x}" y="{y}" text-anchor="{anchor}">{escape(_printable(shown))}{whole}'
        "</text>"
    )


def _printable(text: str) -> str:
    """Control characters are no XML."""
    return "".join(char if char.isprintable() else " " for char in text)
