"""What a run was: data set, date, command and versions, as a page and a report show them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from tfdistill._version import __version__

__all__ = ["run_facts"]

_PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "numpy")


def run_facts(
    *,
    data: str,
    rows: Mapping[str, int],
    classes: int | None = None,
    arguments: Sequence[str] | None = None,
    when: datetime | None = None,
) -> dict[str, str]:
    """Gathers what a reader has to know to repeat a run.

    Args:
        data: Name of the data set.
        rows: Number of rows by what they are for, such as {"training": 8000, "test": 2000}.
        classes: Number of classes; None where numbers are predicted.
        arguments: What followed `tfdistill` on the command line; None leaves the command out.
        when: When the run began, with its time zone; None takes now.

    Returns:
        Names and texts, in the order in which a page shows them. No package is imported for its
        version.

    Example:
        >>> facts = run_facts(data="reuters", rows={"training": 5485, "test": 2189}, classes=8)
        >>> facts["Data set"]
        'reuters: 5,485 training rows, 2,189 test rows, 8 classes'
    """
    parts = [f"{number:,} {name} rows" for name, number in rows.items()]
    if classes is not None:
        parts.append(f"{classes:,} classes")
    moment = (when or datetime.now(UTC)).astimezone(UTC)
    facts = {
        "Data set": f"{data}: {', '.join(parts)}" if parts else data,
        "Date": f"{moment:%Y-%m-%d %H:%M} UTC",
    }
    if arguments is not None:
        facts["Command"] = f"tfdistill {shlex.join(arguments)}".strip()
    facts["Versions"] = ", ".join([f"Python {platform.python_version()}", *_versions()])
    facts["Machine"] = f"{platform.system()} on {platform.machine()}, {os.cpu_count()} CPUs"
    return facts


def _versions() -> list[str]:
    found = [f"tfdistill {__version__}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
