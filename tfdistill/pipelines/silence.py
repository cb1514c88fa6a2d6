"""Keeps what libraries print off the terminal for a whole run, the run's own words excepted."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import TextIO

__all__ = ["only_own_words"]

_LAST_BYTES = 4000


@contextlib.contextmanager
def only_own_words() -> Iterator[TextIO]:
    """Sends what Python and C++ print into a file, and yields the stream that still is heard.

    TensorFlow, Keras and XNNPACK write to the descriptors 1 and 2, so these are turned away; in a
    notebook, `sys.stderr` is another stream and goes on as it is. An error takes the end of what
    was printed along as a note.

    Yields:
        The standard error that was there.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    own = sys.stderr
    kept = [os.dup(1), os.dup(2)]
    with contextlib.ExitStack() as stack:
        printed = stack.enter_context(tempfile.TemporaryFile())
        if _descriptor(own) == 2:
            own = stack.enter_context(
                os.fdopen(os.dup(2), "w", encoding=own.encoding, errors="replace", buffering=1)
            )
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
        try:
            with (
                open(os.devnull, "w", encoding="utf-8") as nowhere,
                contextlib.redirect_stdout(nowhere),
                contextlib.redirect_stderr(nowhere),
            ):
                yield own
        except Exception as error:
            size = printed.seek(0, os.SEEK_END)
            printed.seek(max(0, size - _LAST_BYTES))
            if end := printed.read().decode(errors="replace").strip():
                error.add_note(f"Printed on the way:\n{end}")
            raise
        finally:
            for descriptor, original in zip((1, 2), kept, strict=True):
                os.dup2(original, descriptor)
                os.close(original)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
