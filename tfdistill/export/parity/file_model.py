"""A `.tflite` file made to answer as the Keras model that it stands beside.

It takes the model's arrays and returns the model's output names, whatever the file calls them,
and hides integer inputs and outputs behind their scale and zero point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tfdistill.introspection.named_model import NamedModel
from tfdistill.runtime.interpreter import Interpreter, Signature, TensorSpec

__all__ = ["FileModel", "dequantize", "quantize"]


class FileModel:
    """Runs a signature of a `.tflite` file under the names of a Keras model.

    Args:
        interpreter: The open file.
        named: The model that it was made from.
        signature: The signature; None takes "serving_default", else the first by name.

    Attributes:
        signature: The signature in use.
        inputs: Its inputs by the model's names.
        batch_size: How many examples it takes at once; 1 where it takes any number.

    Raises:
        ValueError: If the signature's inputs are not those of the model, or it does not take a
            single example.
    """

    def __init__(
        self, interpreter: Interpreter, named: NamedModel, *, signature: str | None = None
    ) -> None:
        self._interpreter = interpreter
        names = sorted(interpreter.signatures)
        name = signature or ("serving_default" if "serving_default" in names else names[0])
        if name not in names:
            raise ValueError(
                f"`path` must have a signature {name!r}. Received: a file with {names}."
            )
        self.signature: Signature = interpreter.signatures[name]
        self.inputs = _match_inputs(named, self.signature)
        sizes = {spec.shape[0] for spec in self.inputs.values()}
        self.batch_size = 1 if sizes == {-1} else max(sizes)

    def run(
        self,
        batch: Mapping[str, np.ndarray],
        reference: Mapping[str, np.ndarray],
        *,
        tick: Callable[[int], object],
    ) -> dict[str, np.ndarray]:
        """Answers for each example of a batch.

        Args:
            batch: Arrays by the model's input names, examples along the first axis.
            reference: The model's outputs for the batch, for their names and shapes.
            tick: Called with the number of examples after each call.

        Returns:
            Float32 outputs by the model's output names, examples along the first axis.

        Raises:
            ValueError: If the file's outputs are not those of the model.
        """
        outputs = _match_outputs(reference, self.signature)
        arrays = {spec.name: quantize(batch[name], spec) for name, spec in self.inputs.items()}
        rows: dict[str, list[np.ndarray]] = {name: [] for name in outputs}
        examples = len(next(iter(arrays.values())))
        for begin in range(0, examples, self.batch_size):
            # A last batch that is not full is filled up from the start, and cut afterwards.
            taken = np.arange(begin, begin + self.batch_size) % examples
            answer = self._interpreter.run(
                {name: value[taken] for name, value in arrays.items()},
                signature=self.signature.name,
            )
            real = min(self.batch_size, examples - begin)
            for name, spec in outputs.items():
                rows[name].append(dequantize(answer[spec.name], spec)[:real])
            tick(real)
        return {name: np.concatenate(each) for name, each in rows.items()}

    def output_name(self, name: str) -> str:
        """Returns what the file calls an output of the model."""
        outputs = self.signature.outputs
        return name if name in outputs else next(iter(outputs))


def quantize(value: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Returns floats as the integers of a tensor's grid; a tensor without one is only cast.

    Example:
        >>> spec = TensorSpec("x", (3,), np.dtype("int8"), scale=0.5, zero_point=-1)
        >>> quantize(np.array([0.0, 1.2, 1e9]), spec).tolist()
        [-1, 1, 127]
    """
    if spec.scale is None or spec.zero_point is None:
        return value.astype(spec.dtype, copy=False)
    limits = np.iinfo(spec.dtype)
    steps = np.rint(value / spec.scale) + spec.zero_point
    return np.clip(steps, limits.min, limits.max).astype(spec.dtype)


def dequantize(value: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Returns the float32 numbers that a tensor's integers stand for.

    Example:
        >>> spec = TensorSpec("y", (2,), np.dtype("int8"), scale=0.5, zero_point=-1)
        >>> dequantize(np.array([-1, 1], "int8"), spec).tolist()
        [0.0, 1.0]
    """
    if spec.scale is None or spec.zero_point is None:
        return value.astype(np.float32)
    return ((value.astype(np.int64) - spec.zero_point) * spec.scale).astype(np.float32)


def _match_inputs(named: NamedModel, signature: Signature) -> dict[str, TensorSpec]:
    names = sorted(each.name for each in named.inputs)
    matches = _matched(names, sorted(signature.inputs), what="inputs")
    specs = {name: signature.inputs[other] for name, other in matches.items()}
    for each in named.inputs:
        shape = specs[each.name].shape
        fits = len(shape) == len(each.shape) + 1 and all(
            model_size is None or file_size in (-1, model_size)
            for file_size, model_size in zip(shape[1:], each.shape, strict=True)
        )
        if not fits:
            raise ValueError(
                f"`path` must take examples of the model's input {each.name!r}, shape "
                f"(batch, {', '.join(map(str, each.shape))}). Received: a file that takes shape "
                f"{shape}."
            )
    return specs


def _match_outputs(
    reference: Mapping[str, np.ndarray], signature: Signature
) -> dict[str, TensorSpec]:
    matches = _matched(sorted(reference), sorted(signature.outputs), what="outputs")
    specs = {name: signature.outputs[other] for name, other in matches.items()}
    for name, spec in specs.items():
        model_shape, file_shape = reference[name].shape[1:], spec.shape[1:]
        if model_shape[-1:] != file_shape[-1:] and file_shape[-1:] != (-1,):
            counts = [shape[-1] if shape else 1 for shape in (model_shape, file_shape)]
            raise ValueError(
                "`model` and `path` must have the same number of classes. Received: model → "
                f"{counts[0]}, path → {counts[1]} (output {name!r})."
            )
    return specs


def _matched(wanted: list[str], found: list[str], *, what: str) -> dict[str, str]:
    # Another exporter may name a single input or output differently; of several, only the names
    # say which is which.
    if wanted != found and not len(wanted) == len(found) == 1:
        raise ValueError(
            f"`path` must have the model's {what} {wanted}. Received: a file with {found}, made "
            "from another model."
        )
    return dict(zip(wanted, found, strict=True))
