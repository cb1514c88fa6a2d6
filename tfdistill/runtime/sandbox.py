"""Files of unknown origin are tried in a child process before this one opens them.

LiteRT checks the structure of a `.tflite` file, not every value in it: a file that was altered, on
purpose or by a bad disk, can end the process that opens it with a segmentation fault, which no
`except` catches. So `vet(path)` lets a child process, which holds nothing of value, open the file
and run each signature once. If the child dies, the caller gets an error and the next file a new
child; otherwise one child serves all files.

That costs some 0.3 s for the first file. So the SHA-256 of what has passed is kept, in the folder
that `TFDISTILL_CACHE` names, and of what `to_tflite` wrote on this machine as well: an agent that
opens such a file again only hashes it. A changed byte is another hash.

What passes is not proven harmless: a file made by an attacker may behave on one input and crash on
another. Run a stranger's model in processes of its own, as `AgentPool(..., executor="ray")` does.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from tfdistill.files.folder import cache_dir
from tfdistill.files.records import file_sha256

__all__ = ["Child", "remember", "vet"]

_PATIENCE_S = 60.0
_LONGEST_ANSWER = 65536
_FOLDER = "vetted"


class Child:
    """One child process that tries files, started when it is needed and after each death.

    Attributes:
        started: How many processes have been started so far.
    """

    def __init__(self) -> None:
        self.started = 0
        self._process: Any = None
        self._owner = 0
        self._lock = threading.Lock()

    def try_file(self, path: Path, *, patience_s: float = _PATIENCE_S) -> str | None:
        """Opens a file and runs its signatures in the child.

        Args:
            path: The file.
            patience_s: Seconds after which the child is killed.

        Returns:
            None if all went well, else what went wrong, in words.
        """
        with self._lock:
            if self._process is None or self._owner != os.getpid():  # a fork has its own child
                self._start()
            process = self._process
            answer = b""
            with contextlib.suppress(BrokenPipeError):  # it died since the last file
                process.stdin.write(json.dumps(str(path.absolute())).encode() + b"\n")
                process.stdin.flush()
                answer = self._answer(process, patience_s)
            if answer.endswith(b"\n"):
                with contextlib.suppress(ValueError):
                    found = json.loads(answer)
                    return None if found is None else str(found)
            return self._bury(process, patience_s)

    def close(self) -> None:
        """Ends the child process, if there is one."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None and self._owner == os.getpid():
                _end(process)

    def _start(self) -> None:
        code = "import sys; sys.path[:] = %r; from tfdistill.runtime import sandbox_child as child"
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"{code % (sys.path,)}; child.main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._owner = os.getpid()
        self.started += 1

    def _answer(self, process: Any, patience_s: float) -> bytes:
        """Reads one line, or what there is of it when the child ends or takes too long."""
        pipe = process.stdout
        answer, deadline = b"", time.monotonic() + patience_s
        while not answer.endswith(b"\n") and len(answer) < _LONGEST_ANSWER:
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(pipe.fileno(), _LONGEST_ANSWER) if ready else b""
            if not part:
                break
            answer += part
        return answer

    def _bury(self, process: Any, patience_s: float) -> str:
        self._process = None
        try:
            code = process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            code = None
        _end(process)
        if code is None:
            return f"LiteRT was not done with it after {patience_s:g} s"
        if code < 0:
            return f"LiteRT ended its process with the signal {signal.Signals(-code).name}"
        return f"LiteRT ended its process with the exit code {code}"


def _end(process: Any) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(BrokenPipeError):
            pipe.close()


_CHILD = Child()
atexit.register(_CHILD.close)


def vet(path: str | os.PathLike[str]) -> None:
    """Refuses a `.tflite` file that a process cannot open and run.

    Args:
        path: An existing file.

    Raises:
        ValueError: If LiteRT refuses the file, crashes on it, or does not come to an end.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        ...     _ = file.write(b"....TFL3" + bytes(100)), file.flush()
        ...     vet(file.name)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: `path` must be a complete .tflite file. Received: ...
    """
    file = Path(path)
    mark = _mark(file)
    if mark.exists():
        return
    trouble = _CHILD.try_file(file)
    if trouble is not None and trouble.startswith("`path`"):  # an error as this package words it
        raise ValueError(trouble)
    if trouble is not None:
        raise ValueError(
            "`path` must be a .tflite file that this runtime can execute. Received: "
            f"path={str(path)!r}, {file.stat().st_size} bytes, tried in a process of its own: "
            f"{trouble}. It was cut off or changed after it was written, or needs another "
            "runtime: export or copy it again."
        )
    _write(mark)


def remember(path: str | os.PathLike[str]) -> None:
    """Notes that a file was made here, so that `vet` need not try it.

    Args:
        path: The file.
    """
    _write(_mark(Path(path)))


def _mark(file: Path) -> Path:
    version = metadata.version("ai-edge-litert")
    return cache_dir() / _FOLDER / f"{file_sha256(file)}-{version}"


def _write(mark: Path) -> None:
    with contextlib.suppress(OSError):  # without a place for it, files are tried each time
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
