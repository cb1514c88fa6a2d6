"""Keeps what C++ libraries print off the terminal."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import threading
from collections.abc import Iterator

from tensorflow.lite.python.convert_phase import ConverterError

__all__ = ["quiet"]

# File descriptors belong to the process: two threads that redirect them at once would leave them
# pointing at a deleted file.
_DESCRIPTORS = threading.Lock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps all that is printed, from Python or C++, off the terminal; an error takes it along."""
    with _DESCRIPTORS, tempfile.TemporaryFile() as chatter, io.StringIO() as python_chatter:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = [os.dup(1), os.dup(2)]
        try:
            os.dup2(chatter.fileno(), 1)
            os.dup2(chatter.fileno(), 2)
            with (
                contextlib.redirect_stdout(python_chatter),
                contextlib.redirect_stderr(python_chatter),  # a notebook shows it without C++
            ):
                yield
        except Exception as error:
            if not isinstance(error, ConverterError):  # which holds all that was printed
                chatter.seek(0)
                printed = chatter.read().decode(errors="replace") + python_chatter.getvalue()
                if printed:
                    error.add_note(f"Printed on the way:\n{printed}")
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, original in zip((1, 2), kept, strict=True):
                os.dup2(original, descriptor)
                os.close(original)
