"""The LiteRT interpreter behind one small class: names and arrays in, names and arrays out.

A `.tflite` file holds one or more *signatures*: named functions with named inputs and outputs.
`Interpreter(path).run({"ids": ids})` calls one. This is the only file that knows the library
that executes them (`ai_edge_litert`), so the agents need neither TensorFlow nor Keras.

The file is mapped by path rather than read, so workers on one machine share its pages. For the
same reason a file in use must be replaced by a rename (`os.replace`), never rewritten in place:
a shorter file under a live mapping ends the process with SIGBUS.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tfdistill.runtime.sandbox import vet

__all__ = ["Interpreter", "Signature", "TensorSpec", "open_file"]

_IDENTIFIER = b"TFL3"  # the flatbuffer file identifier, at bytes 4 to 8 of every .tflite file


@dataclass(frozen=True)
class TensorSpec:
    """Describes one input or output of a signature.

    Attributes:
        name: The name inside the signature.
        shape: Size of each axis; -1 where the file leaves it open.
        dtype: The element type.
        scale: Quantisation step of an integer tensor, None for a float one.
        zero_point: The integer that stands for 0.0, None for a float tensor.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class Signature:
    """Describes one callable of a file: its name, and its inputs and outputs by name."""

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


class Interpreter:
    """Opens a `.tflite` file and runs its signatures on the CPU.

    XNNPACK, LiteRT's default CPU kernels, is used. An interpreter holds the buffers of its last
    call, so it is **not** safe to call from two threads at once: give each thread its own (the
    weights are still shared, through the file mapping). It cannot be pickled: send the path.

    A damaged or altered file is refused with an error: a file that this machine has not seen is
    first opened and run in a child process, which may crash, see `tfdistill.runtime.sandbox`.

    Args:
        path: The `.tflite` file.
        threads: Threads for one call, an int of at least 1. Small models run fastest with 1.
        vetted: Whether the caller knows that the file is sound, for having just written it.

    Attributes:
        path: The file, as given.
        threads: Threads for one call.
        signatures: `Signature` by name, read-only.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If `path` is not a complete `.tflite` file, or the file needs operations that
            this runtime does not have, or holds no signature.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".tflite") as empty:
        ...     Interpreter(empty.name)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: `path` must be a complete .tflite file. Received: path='...', 0 bytes...
    """

    def __init__(
        self, path: str | os.PathLike[str], *, threads: int = 1, vetted: bool = False
    ) -> None:
        if isinstance(threads, bool) or not isinstance(threads, int):
            raise TypeError(f"`threads` must be an int. Received: threads={threads!r}.")
        if threads < 1:
            raise ValueError(f"`threads` must be at least 1. Received: threads={threads!r}.")
        self.path = _check_file(path)
        self.threads = threads
        if not vetted:
            vet(self.path)
        self._runners, signatures = open_file(self.path, threads)
        self.signatures: Mapping[str, Signature] = MappingProxyType(signatures)
        if not signatures:
            raise ValueError(
                "`path` must be a .tflite file with at least one signature. "
                f"Received: path={str(path)!r}, which has none. Export it again, for example "
                "with `tfdistill.to_tflite`."
            )

    def run(
        self, inputs: Mapping[str, np.ndarray], *, signature: str | None = None
    ) -> dict[str, np.ndarray]:
        """Runs one signature.

        Args:
            inputs: One array per input of the signature, by name, with exactly the shape (where
                the file fixes it) and the dtype of its `TensorSpec`. Nothing is cast.
            signature: Which signature; may be left out when the file has only one.

        Returns:
            The outputs by name. The arrays are copies and stay valid after the next call.

        Raises:
            TypeError: If a value is not a NumPy array or has another dtype.
            ValueError: If the signature is unknown, or the names or shapes do not fit.
            RuntimeError: If an operation fails on these values, such as an id beyond the end of
                an embedding table.
        """
        chosen = self._choose(signature)
        _check_inputs(inputs, chosen)
        try:
            outputs = self._runners[chosen.name](**inputs)
        except RuntimeError as error:
            raise RuntimeError(
                f"Signature {chosen.name!r} of {self.path.name!r} failed on these inputs: "
                f"{_one_line(error)}"
            ) from error
        return dict(outputs)  # LiteRT has copied them out of its own memory

    def __repr__(self) -> str:
        return (
            f"Interpreter({str(self.path)!r}, threads={self.threads}, "
            f"signatures={sorted(self.signatures)})"
        )

    def __reduce__(self) -> Any:
        raise TypeError(
            "An Interpreter cannot be pickled: it holds native memory. "
            f"Send its path ({str(self.path)!r}) and open it there."
        )

    def _choose(self, signature: str | None) -> Signature:
        if signature is None and len(self.signatures) == 1:
            return next(iter(self.signatures.values()))
        if signature is None or signature not in self.signatures:
            raise ValueError(
                f"`signature` must be one of {sorted(self.signatures)}. "
                f"Received: signature={signature!r}."
            )
        return self.signatures[signature]


def _check_file(path: str | os.PathLike[str]) -> Path:
    """Refuses what cannot be a .tflite file before the library maps it."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"`path` must be a str or os.PathLike. Received: path={path!r} ({type(path).__name__})."
        )
    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(
            f"`path` must be an existing .tflite file. Received: path={str(path)!r}. "
            "Write one with `tfdistill.to_tflite`."
        )
    if not file.is_file():
        raise ValueError(
            f"`path` must be a .tflite file. Received: path={str(path)!r}, which is a folder or a "
            "device. For a bundle folder use `tfdistill.agents.Agent`."
        )
    size_bytes = file.stat().st_size
    if size_bytes < 8:
        raise ValueError(
            f"`path` must be a complete .tflite file. Received: path={str(path)!r}, {size_bytes} "
            "bytes. It was cut off while being written or copied: export or copy it again."
        )
    with file.open("rb") as stream:
        head = stream.read(8)
    if head[4:8] != _IDENTIFIER:
        raise ValueError(
            f"`path` must be a .tflite file (bytes 4 to 8 are {_IDENTIFIER!r}). "
            f"Received: path={str(path)!r} with {head[4:8]!r} there. It is another kind of file."
        )
    return file


def open_file(path: Path, threads: int) -> tuple[dict[str, Any], dict[str, Signature]]:
    """Opens a file in this process, whatever it holds.

    Args:
        path: The file.
        threads: Threads for one call.

    Returns:
        The library's runner and our description of every signature, by name.

    Raises:
        ValueError: If LiteRT refuses the file.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter as LiteRTInterpreter
    except ImportError as error:
        raise ImportError(
            "Running .tflite files needs LiteRT. Install it with `pip install ai-edge-litert`."
        ) from error
    try:
        engine = LiteRTInterpreter(model_path=str(path), num_threads=threads)
    except ValueError as error:
        raise _damaged(path, error) from error
    try:
        engine.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            "`path` must be a .tflite file that this runtime can execute. Received: "
            f"path={str(path)!r}, which cannot be prepared ({_one_line(error)}). Export it with "
            "built-in operations only, as `tfdistill.to_tflite` does."
        ) from error
    # The runners come after the allocation: the library refuses it while one exists.
    try:
        runners = {name: engine.get_signature_runner(name) for name in engine.get_signature_list()}
        signatures = {
            name: Signature(
                name=name,
                inputs=_specs(runner.get_input_details()),
                outputs=_specs(runner.get_output_details()),
            )
            for name, runner in runners.items()
        }
    except (ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error
    return runners, signatures


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"`path` must be a complete .tflite file. Received: path={str(path)!r}, "
        f"{path.stat().st_size} bytes, which LiteRT refuses ({_one_line(error)}). It was cut "
        "off or changed after it was written: export or copy it again."
    )


def _specs(details: Mapping[str, Mapping[str, Any]]) -> Mapping[str, TensorSpec]:
    specs = {}
    for name, detail in details.items():
        scale, zero_point = detail["quantization"]
        quantized = scale != 0.0
        specs[name] = TensorSpec(
            name=name,
            shape=tuple(int(size) for size in detail["shape_signature"]),
            dtype=np.dtype(detail["dtype"]),
            scale=float(scale) if quantized else None,
            zero_point=int(zero_point) if quantized else None,
        )
    return MappingProxyType(specs)


def _check_inputs(inputs: Mapping[str, np.ndarray], signature: Signature) -> None:
    if set(inputs) != set(signature.inputs):
        raise ValueError(
            f"`inputs` must have exactly the names {sorted(signature.inputs)} for signature "
            f"{signature.name!r}. Received: {sorted(inputs)}."
        )
    for name, value in inputs.items():
        spec = signature.inputs[name]
        if not isinstance(value, np.ndarray):
            raise TypeError(
                f"`inputs[{name!r}]` must be a NumPy array. Received: {type(value).__name__}. "
                f"Use numpy.asarray(value, dtype={spec.dtype.name!r})."
            )
        if value.dtype != spec.dtype:
            raise TypeError(
                f"`inputs[{name!r}]` must have dtype {spec.dtype.name}. Received: "
                f"dtype={value.dtype.name}. Cast it with .astype({spec.dtype.name!r})."
            )
        # The library would resize a fixed input without a word and lose its single partition.
        fits = len(value.shape) == len(spec.shape) and all(
            wanted in (-1, got) for wanted, got in zip(spec.shape, value.shape, strict=True)
        )
        if not fits:
            raise ValueError(
                f"`inputs[{name!r}]` must have shape {spec.shape} (-1 is any size). "
                f"Received: shape={value.shape}."
            )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
