"""The integer grid that an output of a `.tflite` file is computed on, in float disguise or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["output_step"]


def output_step(path: Path, signature: str, output: str) -> float | None:
    """Reads the quantization step of an output from the file.

    A static file has integer outputs, or float ones that its last operation, DEQUANTIZE, makes
    from them; elsewhere an output is on no grid.

    Args:
        path: A `.tflite` file that opens.
        signature: Name of the signature.
        output: Name of the output in it.

    Returns:
        The step, in the units of the output; None for a float output.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    for index in range(model.SignatureDefsLength()):
        found = model.SignatureDefs(index)
        if found.SignatureKey().decode() != signature:
            continue
        graph = model.Subgraphs(found.SubgraphIndex())
        for place in range(found.OutputsLength()):
            if found.Outputs(place).Name().decode() == output:
                return _step(model, graph, found.Outputs(place).TensorIndex(), schema)
    return None


def _step(model: Any, graph: Any, index: int, schema: Any) -> float | None:
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
