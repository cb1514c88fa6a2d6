"""How well a color is read on another one."""

from __future__ import annotations

import re


def contrast(one: str, other: str) -> float:
    """Returns the contrast ratio of WCAG 2 of two opaque colors, such as "rgb(0, 0, 0)"."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
