"""How much memory a worker has for itself, and how much it shares with the others.

Workers of one machine map the same model file, so most of a large model is counted once, however
many workers there are. Linux tells the two apart; other systems do not, and there it is None.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["memory_of", "parse_rollup", "total_memory"]

Memory = dict[str, int | None]


def memory_of(pid: int) -> Memory:
    """Returns "private_bytes" and "shared_bytes" of a process of this machine.

    Args:
        pid: The process. One that is gone, or belongs to somebody else, has None for both.
    """
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return {"private_bytes": None, "shared_bytes": None}
    return parse_rollup(text)


def parse_rollup(text: str) -> Memory:
    """Sums what Linux says in `smaps_rollup`: Private_* and Shared_*, each clean and dirty.

    Example:
        >>> lines = ["Rss: 60 kB", "Shared_Clean: 40 kB", "Private_Clean: 4 kB",
        ...          "Private_Dirty: 16 kB"]
        >>> parse_rollup(chr(10).join(lines))
        {'private_bytes': 20480, 'shared_bytes': 40960}
    """
    totals = {"Private": 0, "Shared": 0}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        kind, _, state = name.partition("_")
        if kind in totals and state in ("Clean", "Dirty"):
            totals[kind] += 1024 * int(rest.split()[0])
    return {"private_bytes": totals["Private"], "shared_bytes": totals["Shared"]}


def total_memory(workers: Iterable[Memory]) -> Memory:
    """Adds up private memory and takes shared memory once, that of the largest worker.

    Args:
        workers: One entry per process. Those with None are left out.

    Example:
        >>> total_memory([{"private_bytes": 3, "shared_bytes": 50},
        ...               {"private_bytes": 4, "shared_bytes": 40}])
        {'private_bytes': 7, 'shared_bytes': 50}
    """
    entries = list(workers)
    private = [each["private_bytes"] for each in entries if each["private_bytes"] is not None]
    shared = [each["shared_bytes"] for each in entries if each["shared_bytes"] is not None]
    return {
        "private_bytes": sum(private) if private else None,
        "shared_bytes": max(shared) if shared else None,
    }
