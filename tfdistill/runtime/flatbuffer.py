"""Reads what is in a `.tflite` file: its weights, the grids of its outputs, how it is executed.

The file is a flatbuffer. It is read with the schema that LiteRT ships, in Python alone: every
offset is checked against the length of the file, so a damaged or malicious one ends in an error
and never in native code. Only `partitions_of` opens it with LiteRT: which operations XNNPACK takes
over is decided there. Each operation outside, and each border between partitions, is executed by
LiteRT's own kernels, which are slower; one partition and nothing outside is the best a file can do.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "TFLiteWeight",
    "executed_operations",
    "output_step",
    "partitions_of",
    "read_tflite_weights",
]

_IDENTIFIER = b"TFL3"
_DELEGATE = "DELEGATE"
_OUTPUTS_FIRST = ("FULLY_CONNECTED", "CONV_2D", "TRANSPOSE_CONV", "CONV_3D")
_LOOKUPS = ("GATHER", "EMBEDDING_LOOKUP")
# What the schema's names mean to NumPy, and the bits of one number in the file.
_STORED = {
    "FLOAT32": ("<f4", 32),
    "FLOAT16": ("<f2", 16),
    "BFLOAT16": ("<u2", 16),
    "INT32": ("<i4", 32),
    "INT16": ("<i2", 16),
    "INT8": ("i1", 8),
    "UINT8": ("u1", 8),
    "INT4": ("u1", 4),
    "INT2": ("u1", 2),
}


@dataclass(frozen=True, eq=False)
class TFLiteWeight:
    """One constant of a file; several tensors that share a buffer are one.

    Attributes:
        name: Name of the tensor in the file.
        shape: Its shape there.
        matrix: The stored numbers, not dequantized, seen as `[inputs, outputs]`; a table as
            `[ids, width]`.
        kind: "kernel", "embedding" or "other", by the operations that read it.
        bits: Bits of one number in the file.
        has_scale: Whether the numbers are levels of a quantization grid.
        uses: How many operations read it.
    """

    name: str
    shape: tuple[int, ...]
    matrix: np.ndarray
    kind: str
    bits: int
    has_scale: bool
    uses: int


def read_tflite_weights(path: str | os.PathLike[str]) -> list[TFLiteWeight]:
    """Lists the weights of a `.tflite` file.

    Shapes, axes and other integers without a scale are no weights and are left out.

    Args:
        path: The file.

    Returns:
        The weights in the order of the file; each buffer once.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no complete `.tflite` file.

    Example:
        >>> read_tflite_weights("absent.tflite")
        Traceback (most recent call last):
        ...
        FileNotFoundError: `path` must be an existing .tflite file. Received: path='absent...
    """
    with _opened(path) as (content, model):
        return _weights(content, model)


def output_step(path: str | os.PathLike[str], signature: str, output: str) -> float | None:
    """Reads the quantization step of an output from the file.

    A static file has integer outputs, or float ones that its last operation, DEQUANTIZE, makes
    from them; elsewhere an output is on no grid.

    Args:
        path: The `.tflite` file.
        signature: Name of the signature.
        output: Name of the output in it.

    Returns:
        The step, in the units of the output; None for a float output.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no complete `.tflite` file.
    """
    with _opened(path) as (content, model):
        for found in _items(content, model.SignatureDefsLength(), model.SignatureDefs):
            if found.SignatureKey().decode() != signature:
                continue
            graph = model.Subgraphs(found.SubgraphIndex())
            for each in _items(content, found.OutputsLength(), found.Outputs):
                if each.Name().decode() == output:
                    return _step(model, graph, each.TensorIndex())
    return None


def partitions_of(
    path: str | os.PathLike[str], *, signature: str
) -> tuple[int, tuple[str, ...]] | None:
    """Counts the partitions that XNNPACK runs and names the operations outside them.

    Args:
        path: A `.tflite` file that has been opened before.
        signature: One of its signatures.

    Returns:
        The number of partitions and the operations outside, in the order of the file; None for a
        signature that is not the file's first graph, or where the library does not tell: its list
        of operations is no public interface.
    """
    from ai_edge_litert.interpreter import Interpreter

    engine = Interpreter(model_path=os.fspath(path), num_threads=1)
    engine.allocate_tensors()
    try:
        graph = engine._interpreter.GetSubgraphIndexFromSignature(signature)
        nodes = engine._get_ops_details() if graph == 0 else None
    except (AttributeError, ValueError):
        return None
    if nodes is None:
        return None
    outputs = [detail["index"] for detail in engine.get_output_details()]
    names = [str(node["op_name"]) for node in executed_operations(nodes, outputs)]
    return names.count(_DELEGATE), tuple(name for name in names if name != _DELEGATE)


def executed_operations(
    nodes: Sequence[Mapping[str, Any]], outputs: Sequence[int]
) -> list[Mapping[str, Any]]:
    """Picks the nodes that a call really executes, from a list that holds the replaced ones too.

    LiteRT keeps the operations that a delegate replaced in its list. Walking back from the
    outputs, a tensor is made by a delegate where one writes it and else by its own operation.

    Args:
        nodes: With "op_name", "inputs" and "outputs" (numbers of tensors) each.
        outputs: Numbers of the graph's output tensors.

    Returns:
        The nodes that are reached, in the order of `nodes`.

    Example:
        >>> replaced = {"op_name": "ADD", "inputs": [0], "outputs": [1]}
        >>> delegate = {"op_name": "DELEGATE", "inputs": [0], "outputs": [1]}
        >>> [node["op_name"] for node in executed_operations([replaced, delegate], [1])]
        ['DELEGATE']
    """
    ordered = sorted(range(len(nodes)), key=lambda index: nodes[index]["op_name"] == _DELEGATE)
    # Delegates come last in the order, so that they win over what they replaced.
    maker = {int(tensor): index for index in ordered for tensor in nodes[index]["outputs"]}
    reached: set[int] = set()
    waiting = [int(tensor) for tensor in outputs]
    while waiting:
        index = maker.get(waiting.pop())
        if index is not None and index not in reached:
            reached.add(index)
            waiting += [int(tensor) for tensor in nodes[index]["inputs"]]
    return [nodes[index] for index in sorted(reached)]


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[bytes, Any]]:
    """Reads a file, and puts what goes wrong with its content inside the block into words."""
    from ai_edge_litert import schema_py_generated as schema

    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"`path` must be an existing .tflite file. Received: path={str(path)!r}. "
            "Write one with `tfdistill.to_tflite`."
        )
    content = file.read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise ValueError(
            f"`path` must be a .tflite file (bytes 4 to 8 are {_IDENTIFIER!r}). Received: "
            f"path={str(path)!r} with {content[4:8]!r} there. It is another kind of file, or one "
            "that was cut off."
        )
    try:
        yield content, schema.Model.GetRootAs(content, 0)
    # What reading beyond the end, or a text that is none, raises in struct, NumPy and Python.
    except (
        AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError, struct.error,
    ) as error:  # fmt: skip
        raise ValueError(
            f"`path` must be a complete .tflite file. Received: path={str(path)!r}, "
            f"{len(content)} bytes, which cannot be read ({error}). It was cut off or changed "
            "after it was written: export or copy it again."
        ) from error


def _weights(content: bytes, model: Any) -> list[TFLiteWeight]:
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if name[0] != "_"}
    types = {code: name for name, code in vars(schema.TensorType).items() if name[0] != "_"}
    operators = [
        names.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "CUSTOM")
        for code in _items(content, model.OperatorCodesLength(), model.OperatorCodes)
    ]
    tensors: dict[int, tuple[Any, str]] = {}
    readers: dict[int, Counter[str]] = {}
    for graph in _items(content, model.SubgraphsLength(), model.Subgraphs):
        in_graph = _items(content, graph.TensorsLength(), graph.Tensors)
        for tensor in in_graph:
            tensors.setdefault(tensor.Buffer(), (tensor, types.get(tensor.Type(), "")))
        buffers = [tensor.Buffer() for tensor in in_graph]
        for operator in _items(content, graph.OperatorsLength(), graph.Operators):
            name = operators[operator.OpcodeIndex()]
            inputs = [index for index in _numbers(operator.InputsAsNumpy()) if index >= 0]
            if name == "DEQUANTIZE":  # whoever reads its output reads the weight
                buffers[operator.Outputs(0)] = buffers[inputs[0]]
                continue
            for index in inputs:
                readers.setdefault(buffers[index], Counter())[name] += 1
    found = []
    for buffer, (tensor, kind) in tensors.items():
        if not 0 <= buffer < model.BuffersLength():
            raise IndexError(f"tensor {tensor.Name()!r} names buffer {buffer}")
        raw = _bytes_of(content, model.Buffers(buffer))
        if raw.size and kind in _STORED:
            weight = _weight(tensor, kind, raw, readers.get(buffer, Counter()))
            if weight is not None:
                found.append(weight)
    return found


def _weight(tensor: Any, kind: str, raw: np.ndarray, readers: Counter[str]) -> TFLiteWeight | None:
    quantization = tensor.Quantization()
    has_scale = quantization is not None and quantization.ScaleLength() > 0
    if kind.startswith(("INT", "UINT")) and not has_scale:
        return None
    shape = tuple(int(size) for size in _numbers(tensor.ShapeAsNumpy()))
    numbers = _unpack(raw, kind, count=math.prod(shape))
    if kind == "BFLOAT16":
        numbers = (numbers.astype("<u4") << 16).view("<f4")
    read_as = set(readers)
    if len(shape) < 2:
        role, matrix = "other", numbers.reshape(-1, 1)
    elif read_as & set(_OUTPUTS_FIRST):
        role, matrix = "kernel", numbers.reshape(shape[0], -1).T
    elif read_as & set(_LOOKUPS):
        role, matrix = "embedding", numbers.reshape(shape[0], -1)
    else:
        role = "kernel" if "BATCH_MATMUL" in read_as else "other"
        matrix = numbers.reshape(-1, shape[-1])
    name = (tensor.Name() or b"").decode("utf-8", errors="replace")
    bits = _STORED[kind][1]
    return TFLiteWeight(name, shape, matrix, role, bits, has_scale, sum(readers.values()))


def _unpack(raw: np.ndarray, kind: str, *, count: int) -> np.ndarray:
    """Turns the bytes of a buffer into `count` numbers; several may be packed into a byte."""
    dtype, bits = _STORED[kind]
    if bits < 8:
        # The first number is in the lowest bits; the sign is that of two's complement.
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        fields = ((raw[:, None] >> shifts) & (2**bits - 1)).ravel().astype(np.int8)
        numbers = np.where(fields >= 2 ** (bits - 1), fields - 2**bits, fields).astype(np.int8)
        if not 0 <= numbers.size - count < 8 // bits:
            raise ValueError(f"{raw.size} bytes for {count} numbers of {bits} bits")
        return numbers[:count]
    if raw.size != count * bits // 8:
        raise ValueError(f"{raw.size} bytes for {count} numbers of {bits} bits")
    return np.frombuffer(raw.tobytes(), dtype=dtype)


def _bytes_of(content: bytes, buffer: Any) -> np.ndarray:
    """Returns what a buffer holds, inside the flatbuffer or, in a large file, after it."""
    if buffer.Offset() > 1:
        return np.frombuffer(content, np.uint8, count=buffer.Size(), offset=buffer.Offset())
    return _numbers(buffer.DataAsNumpy())


def _numbers(vector: Any) -> np.ndarray:
    """Returns a vector of a flatbuffer; the schema's code gives 0 for one that is not there."""
    return vector if isinstance(vector, np.ndarray) else np.zeros(0, np.uint8)


def _items(content: bytes, length: int, get: Any) -> list[Any]:
    """Lists the tables of a vector; a count that the file has no room for is refused at once."""
    if 4 * length > len(content):
        raise ValueError(f"a list of {length} entries in {len(content)} bytes")
    return [get(index) for index in range(length)]


def _step(model: Any, graph: Any, index: int) -> float | None:
    from ai_edge_litert import schema_py_generated as schema

    for place in range(graph.OperatorsLength()):
        operator = graph.Operators(place)
        code = model.OperatorCodes(operator.OpcodeIndex())
        is_dequantize = schema.BuiltinOperator.DEQUANTIZE in (
            code.BuiltinCode(),
            code.DeprecatedBuiltinCode(),
        )
        if is_dequantize and operator.Outputs(0) == index:
            index = operator.Inputs(0)
            break
    tensor = graph.Tensors(index)
    grid = tensor.Quantization()
    is_float = tensor.Type() == schema.TensorType.FLOAT32
    return None if is_float or grid is None or not grid.ScaleLength() else float(grid.Scale(0))
