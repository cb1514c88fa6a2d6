"""Where does the file leave the model? Every layer's output beside the tensor it became.

LiteRT can keep all tensors of a run. The converter names a tensor after the layers that it came
from, so the output of a Keras layer is looked for among the tensors of its name and size; of
several, such as the steps of a normalization, the one nearest to it is taken. Operations that were
fused into one leave a single tensor, so a layer that was melted into the next one is not listed.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfdistill.export.parity.file_model import dequantize, quantize
from tfdistill.introspection.hooks import Hook, has_own_method, intercepting
from tfdistill.introspection.named_model import NamedModel
from tfdistill.introspection.weights import named_layers
from tfdistill.runtime.interpreter import TensorSpec

__all__ = ["LayerError", "layer_errors"]


@dataclass(frozen=True)
class LayerError:
    """How far one layer's output in the file is from that in the model.

    Attributes:
        name: Path of the layer; with `#2` if it is what the layer's second call returned.
        max_error: Largest absolute difference.
        mean_error: Mean absolute difference.
        relative: Root of Σ(difference²) / Σ(output²): 0.01 is 1 % of the signal.
    """

    name: str
    max_error: float
    mean_error: float
    relative: float


def layer_errors(
    named: NamedModel,
    path: Path,
    specs: Mapping[str, TensorSpec],
    example: Mapping[str, np.ndarray],
    *,
    signature: str,
) -> tuple[LayerError, ...]:
    """Compares the layers of a model with the tensors of a file, on one example.

    Args:
        named: The model.
        path: The file.
        specs: The file's inputs, by the model's names.
        example: Arrays by the model's names, one example each.
        signature: Whose graph is run.

    Returns:
        One entry per output of a layer that is found in the file, in the order of the model.
    """
    with _recording(named.model) as calls:
        answers = named(example)
    tensors, results = _tensors(path, specs, example, signature=signature)
    found = []
    for name, layer_name, output in calls:
        scope = re.compile(rf"(^|[/;]){re.escape(layer_name)}(_\d+)?([/;]|$)")
        same_size = [
            _unscaled(value.reshape(output.shape), output)
            for tensor, value in tensors
            if value.size == output.size and scope.search(tensor)
        ]
        # What the model returns has the name of an output in the file, not that of its layer.
        if any(np.array_equal(output, keras.ops.convert_to_numpy(a)) for a in answers.values()):
            same_size = [v.reshape(output.shape) for v in results if v.size == output.size]
        if same_size and output.size > 1:
            nearest = min(same_size, key=lambda value: float(np.abs(value - output).mean()))
            errors = np.abs(nearest - output)
            norm = float(np.linalg.norm(output)) or 1.0
            found.append(
                LayerError(
                    name,
                    float(errors.max()),
                    float(errors.mean()),
                    float(np.linalg.norm(errors)) / norm,
                )
            )
    return tuple(found)


def _unscaled(value: np.ndarray, output: np.ndarray) -> np.ndarray:
    """Undoes a constant factor that the converter moved into a kernel, such as attention's 1/√d."""
    factor = float(np.vdot(value, output) / (np.vdot(value, value) or 1.0))
    scaled = factor * value
    error, rest = (float(np.linalg.norm(each - output)) for each in (value, scaled))
    return scaled if abs(factor - 1.0) > 0.1 and rest < 0.2 * error else value


@contextlib.contextmanager
def _recording(model: keras.Model) -> Iterator[list[tuple[str, str, np.ndarray]]]:
    """Writes down what each layer returns: its label, its name, and the float output."""
    calls: list[tuple[str, str, np.ndarray]] = []
    hooks = [
        (layer, _recorder(path, layer.name, calls))
        for path, layer in named_layers(model)
        if not has_own_method(layer)
    ]
    with intercepting(hooks):
        yield calls


def _recorder(path: str, name: str, calls: list[tuple[str, str, np.ndarray]]) -> Hook:
    count = 0

    def hook(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        result = call(*args, **kwargs)
        count += 1
        if hasattr(result, "shape") and keras.backend.is_float_dtype(
            keras.backend.standardize_dtype(result.dtype)
        ):
            label = path if count == 1 else f"{path}#{count}"
            calls.append((label, name, keras.ops.convert_to_numpy(result)))
        return result

    return hook


def _tensors(
    path: Path,
    specs: Mapping[str, TensorSpec],
    example: Mapping[str, np.ndarray],
    *,
    signature: str,
) -> tuple[list[tuple[str, np.ndarray]], list[np.ndarray]]:
    """Runs the file on plain kernels, which keep every tensor.

    Returns the float ones that the run computed, by name, and the outputs of the signature.
    """
    from ai_edge_litert import interpreter as litert

    engine = litert.Interpreter(
        str(path),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    engine.allocate_tensors()
    runner = engine.get_signature_runner(signature)
    results = runner(**{spec.name: quantize(example[name], spec) for name, spec in specs.items()})
    outputs = runner.get_output_details()
    graph = runner._subgraph_index
    computed = _computed(path, graph)
    found = []
    for detail in engine.get_tensor_details(graph):
        if detail["index"] not in computed:
            continue
        try:
            value = engine.get_tensor(detail["index"], graph)
        except ValueError:  # a tensor without data
            continue
        if (real := _real(value, detail)) is not None:
            found.append((detail["name"], real))
    real_results = (_real(value, outputs[name]) for name, value in results.items())
    return found, [value for value in real_results if value is not None]


def _computed(path: Path, graph: int) -> set[int]:
    """Returns the tensors that an operation of a graph writes: a bias is no layer's output."""
    from ai_edge_litert import schema_py_generated as schema

    subgraph = schema.Model.GetRootAs(path.read_bytes(), 0).Subgraphs(graph)
    operators = (subgraph.Operators(index) for index in range(subgraph.OperatorsLength()))
    return {int(tensor) for one in operators for tensor in one.OutputsAsNumpy()}


def _real(value: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray | None:
    """Returns a tensor's real numbers; None if it holds none."""
    if value.dtype == np.float32:
        return value
    scale, zero_point = detail["quantization"]
    if not scale:
        return None
    spec = TensorSpec("", value.shape, value.dtype, float(scale), int(zero_point))
    return dequantize(value, spec)
