"""How a `.tflite` file runs: what XNNPACK took over, and which operations it left out.

Each operation outside, and each border between partitions, is executed by LiteRT's own kernels,
which are slower. One partition and nothing outside is the best a file can do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["executed_operations", "partitions_of"]

_DELEGATE = "DELEGATE"


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
