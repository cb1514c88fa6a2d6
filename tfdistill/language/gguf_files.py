"""Reads GGUF, the file format of llama.cpp: metadata, and tensors that may be quantized.

A GGUF file is data only: keys with values, and blocks of numbers. Each quantized block is turned
into float32 by the `gguf` package (level times scale, plus a minimum where the type has one).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

__all__ = ["GGUFFile", "read_gguf"]

_MAGIC = b"GGUF"


@dataclass(frozen=True)
class GGUFFile:
    """A GGUF file whose structure has been read; tensors are decoded when they are asked for.

    Attributes:
        path: The file.
        metadata: Its keys and values, read-only; lists as Python lists.
        tensors: The stored tensors by name, as the `gguf` package describes them.
    """

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Any]

    def tensor(self, name: str, *, shape: tuple[int, ...]) -> np.ndarray:
        """Decodes one tensor.

        Args:
            name: Its name in the file.
            shape: The shape that it has to have, rows first (outputs, inputs).

        Returns:
            float32 array of that shape.

        Raises:
            ValueError: If it is missing, of another shape, or of a type that cannot be decoded.
        """
        stored = self.tensors.get(name)
        if stored is None:
            raise ValueError(
                f"`path` must hold the tensor {name!r}. Received: path={str(self.path)!r} with "
                f"{len(self.tensors)} tensors and none of that name. Is it a whole model?"
            )
        found = tuple(int(size) for size in reversed(stored.shape))
        if found != shape:
            raise ValueError(
                f"`path` must hold tensors of the sizes that its metadata state. Received: {name} "
                f"of shape {found}, stated: {shape}. The file is damaged; download it again."
            )
        quants = importlib.import_module("gguf.quants")
        try:
            values = quants.dequantize(stored.data, stored.tensor_type)
        except NotImplementedError as error:
            raise ValueError(
                "`path` must hold tensors that the gguf package decodes, such as F32, F16, Q8_0 "
                f"or Q4_1. Received: {name} of type {stored.tensor_type.name}. Convert the file."
            ) from error
        return np.asarray(values, np.float32).reshape(shape)


def read_gguf(path: str | os.PathLike[str]) -> GGUFFile:
    """Opens a GGUF file.

    Args:
        path: The file.

    Returns:
        Its metadata and tensors.

    Raises:
        ImportError: If the `gguf` package is not installed.
        FileNotFoundError: If there is no file.
        ValueError: If it is no GGUF file, or was cut short.

    Example:
        >>> read_gguf("no/such.gguf")
        Traceback (most recent call last):
        ...
        FileNotFoundError: `path` must be an existing GGUF file. Received: path='no/such.gguf'.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"`path` must be an existing GGUF file. Received: path={str(path)!r}."
        )
    with file.open("rb") as stream:
        magic = stream.read(4)
    if magic != _MAGIC:
        raise ValueError(
            f"`path` must be a GGUF file, which begins with {_MAGIC!r}. "
            f"Received: path={str(path)!r}, which begins with {magic!r}."
        )
    try:
        gguf = importlib.import_module("gguf")
    except ImportError as error:
        raise ImportError(
            "Reading GGUF files needs the gguf package. "
            "Install it with `pip install 'tfdistill[language]'`."
        ) from error
    try:
        reader = gguf.GGUFReader(str(file))
        metadata = {key: field.contents() for key, field in reader.fields.items()}
        tensors = {tensor.name: tensor for tensor in reader.tensors}
    # What reading past the end of the mapped file ends in, depending on where it was cut.
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(
            "`path` must be a complete GGUF file. Received: "
            f"path={str(path)!r}, {file.stat().st_size} bytes, which cannot be read "
            f"({type(error).__name__}: {error}). It was cut off or damaged; download it again."
        ) from error
    return GGUFFile(file, MappingProxyType(metadata), MappingProxyType(tensors))
