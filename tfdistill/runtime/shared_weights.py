"""The LiteRT interpreter whose packed weights are shared between processes.

XNNPACK, LiteRT's CPU kernels, rearranges the weights of a model before it multiplies with them, and
every process that opens the model does so again, in memory of its own. LiteRT's `CompiledModel` can
write the rearranged weights to a file and map that file instead. Then a second process on the same
machine has little for itself, however large the model is.

Private memory of each of three processes beyond the imported libraries, LiteRT 2.3.0:

====================  =============  ===================
model file            `Interpreter`  `SharedInterpreter`
====================  =============  ===================
20.8 MB, float32      16.7 MB        5.1 MB
5.3 MB, dynamic int8  7.7 MB         5.2 MB
====================  =============  ===================

Some 5 MB are the runtime's own, so a student below a few megabytes has nothing to gain.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from tfdistill.files.atomic import replacing
from tfdistill.files.records import file_sha256
from tfdistill.runtime.interpreter import Signature

__all__ = ["SharedInterpreter", "cache_file"]


class SharedInterpreter:
    """Runs the one signature of a file, its packed weights mapped from a cache on this machine.

    It takes and gives what `Interpreter.run` does. The first process writes the cache under a lock
    and a temporary name; the others wait for it and map it. One object is not safe to call from
    two threads at once.

    Args:
        path: The `.tflite` file.
        signature: Its one signature, as `Interpreter` or a bundle's manifest describes it, with
            every shape fixed.
        cache: Folder of the caches; it must belong to this user alone.
        threads: Threads for one call.

    Raises:
        ValueError: If a shape is not fixed.
        RuntimeError: If this runtime cannot compile the file.
    """

    def __init__(self, path: Path, *, signature: Signature, cache: Path, threads: int = 1) -> None:
        shapes = [spec.shape for spec in (*signature.inputs.values(), *signature.outputs.values())]
        if any(size < 0 for shape in shapes for size in shape):
            raise ValueError(
                "`signature` must have fixed shapes to share its weights. "
                f"Received: shapes={shapes}. Export it with a fixed batch, or use `Interpreter`."
            )
        self._signature = signature
        packed = cache_file(path, cache=cache)
        with _locked(packed.with_suffix(".lock")):
            if not packed.exists():
                _write_cache(path, packed, threads=threads)
        self._model = _compiled(path, packed, threads=threads)
        self._inputs = {
            name: self._model.create_input_buffer_by_name(signature.name, name)
            for name in signature.inputs
        }
        self._outputs = {
            name: self._model.create_output_buffer_by_name(signature.name, name)
            for name in signature.outputs
        }

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the signature.

        Args:
            inputs: One array per input, with exactly its shape and dtype.

        Returns:
            The outputs by name; copies.

        Raises:
            ValueError: If the names, shapes or dtypes do not fit.
        """
        wanted = {name: (spec.shape, spec.dtype) for name, spec in self._signature.inputs.items()}
        found = {name: (value.shape, value.dtype) for name, value in inputs.items()}
        if found != wanted:
            raise ValueError(f"`inputs` must be {wanted}. Received: {found}.")
        for name, value in inputs.items():
            self._inputs[name].write(np.ascontiguousarray(value))
        self._model.run_by_name(self._signature.name, self._inputs, self._outputs)
        return {
            name: np.array(
                self._outputs[name].read(int(np.prod(spec.shape)), spec.dtype.type)
            ).reshape(spec.shape)
            for name, spec in self._signature.outputs.items()
        }


def cache_file(path: Path, *, cache: Path) -> Path:
    """Returns where the packed weights of a model are kept.

    The name is made of the model's hash, the version of LiteRT and the processor's kind: weights
    packed for one are no use to another.
    """
    version = metadata.version("ai-edge-litert")
    return cache / f"{file_sha256(path)[:32]}-{version}-{os.uname().machine}.xnnpack"


def _write_cache(path: Path, packed: Path, *, threads: int) -> None:
    with replacing(packed) as fresh:
        _compiled(path, fresh, threads=threads).close()
        if not fresh.exists():
            raise RuntimeError(f"LiteRT wrote no packed weights for {path.name!r}.")


def _compiled(path: Path, packed: Path, *, threads: int) -> Any:
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator
    from ai_edge_litert.options import CpuOptions, Options

    options = CpuOptions(num_threads=threads, xnnpack_weight_cache_path=str(packed))
    try:
        return CompiledModel.from_file(
            str(path),
            options=Options(hardware_accelerators=HardwareAccelerator.CPU, cpu_options=options),
        )
    except Exception as error:  # the library raises what its C++ side throws
        raise RuntimeError(
            f"{path.name!r} cannot be compiled with shared weights "
            f"({' '.join(str(error).split())}). Use `Interpreter`."
        ) from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed, a crash included
        yield
