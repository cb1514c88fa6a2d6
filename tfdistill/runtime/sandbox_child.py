"""The other side of `tfdistill.runtime.sandbox`: a process that may crash without harm.

It reads one path per line, as JSON, and answers with one line of JSON: null, or what was wrong.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tfdistill.runtime.interpreter import Signature, open_file

__all__ = ["main"]

_MOST_BYTES = 2**32  # for what a file may ask for besides itself
_LONGEST_S = 55


def main() -> None:
    """Answers until the caller closes its end."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what C++ prints goes with its errors, not between the answers
    for line in sys.stdin:
        path = Path(json.loads(line))
        _limit_memory(_MOST_BYTES + 4 * path.stat().st_size)
        signal.alarm(_LONGEST_S)  # ends this process even inside native code
        answers.write(json.dumps(_trouble_with(path)) + "\n")
        answers.flush()
        signal.alarm(0)


def _trouble_with(path: Path) -> str | None:
    """Opens a file in this process, runs each signature once on zeros, and says what went wrong.

    Args:
        path: The file.

    Returns:
        None if it can be executed. That a signature refuses zeros is no fault of the file.
    """
    try:
        runners, signatures = open_file(path, 1)
        for name, signature in signatures.items():
            if any(np.prod([max(n, 1) for n in each.shape]) > 2**28 for each in _specs(signature)):
                return f"its signature {name!r} has an input or output of more than 2**28 numbers"
            zeros = {
                each.name: np.zeros([max(n, 1) for n in each.shape], each.dtype)
                for each in signature.inputs.values()
            }
            try:
                runners[name](**zeros)
            except (RuntimeError, ValueError):
                continue
    except (MemoryError, OSError, TypeError, ValueError) as error:
        return " ".join(str(error).split())[:2000] or type(error).__name__
    return None


def _limit_memory(most_bytes: int) -> None:
    """Lets this process map so much more than it does now, so that a wild size fails here."""
    pages = Path("/proc/self/statm")
    if pages.exists():  # on Linux
        used = os.sysconf("SC_PAGE_SIZE") * int(pages.read_text().split()[0])
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = used + most_bytes
        if hard == resource.RLIM_INFINITY or limit <= hard:
            resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _specs(signature: Signature) -> list:
    sides: list[Mapping] = [signature.inputs, signature.outputs]
    return [each for side in sides for each in side.values()]
