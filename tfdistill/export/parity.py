"""Does the file answer as the model does? Numbers for the two run side by side.

A file that converts is not yet a file that agrees: a mask can be lost, a quantisation grid can be
ruined by one large constant, an input order can be swapped. So every export is followed by
`compare`, on data like that of the task::

    path = to_tflite(model, "student.tflite")
    report = compare(model, path, x_test, y_test)
    print(report)
    report.assert_close(quantize="dynamic")

Integer inputs and outputs (of a file made elsewhere) are quantised and dequantised with their own
scale and zero point before anything is compared.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from tfdistill.export.differences import check_labels, measures
from tfdistill.export.side_by_side import FileModel
from tfdistill.export.signature import named_model
from tfdistill.export.tflite import MODES, plain_model
from tfdistill.interpreter import Interpreter

__all__ = ["ParityReport", "compare"]

_BATCH_SIZE = 32
# mode → (largest error as a fraction of the model's largest output, least agreement).
# None: sums of a few hundred float32 products in another order; 1e-5 is about 80 times the
# spacing of float32. "float16": each weight is off by up to 2⁻¹¹ of itself. "dynamic": weights and
# activations are off by up to half a step of 1/127 of the largest in their row (measured: 0.015
# two layers deep, 0.07 twelve layers deep). "int8": the same on fixed grids that outliers widen.
# "int4": only the activations are off, as with "dynamic", where the weights are on the 4-bit grid.
_BOUNDS: dict[str | None, tuple[float, float]] = {
    None: (1e-5, 0.999),
    "float16": (5e-3, 0.99),
    "dynamic": (0.10, 0.98),
    "int8": (0.25, 0.90),
    "int4": (0.10, 0.98),
}


@dataclass(frozen=True)
class ParityReport:
    """How closely a `.tflite` file follows the Keras model it was made from.

    `max_error`, `mean_error`, `largest` and `cosine` are over all outputs of the signature; the
    rest is about the output named in `output`, classes along its last axis.

    Attributes:
        signature: The signature of the file.
        output: The output that classes are read from: "logits", else the first.
        examples: Number of examples compared.
        max_error: Largest absolute difference.
        mean_error: Mean absolute difference.
        largest: Largest absolute value of the model's own outputs, to judge an error by.
        cosine: Mean cosine between the two answers to one example, in [-1, 1].
        agreement: Fraction with the same top class; None for an output of one number.
        kl: Mean KL(softmax(model) ‖ softmax(file)) in nats; None for an output of one number.
            Outputs that already are probabilities are taken as they are.
        model_accuracy: Fraction of `y` that the model gets right; None without `y`.
        file_accuracy: The same of the file.
    """

    signature: str
    output: str
    examples: int
    max_error: float
    mean_error: float
    largest: float
    cosine: float
    agreement: float | None
    kl: float | None
    model_accuracy: float | None = None
    file_accuracy: float | None = None

    def __str__(self) -> str:
        rows = [
            ("signature", f"{self.signature} → {self.output}"),
            ("examples", f"{self.examples:,}"),
            ("max error", f"{self.max_error:.3g}  (largest output {self.largest:.3g})"),
            ("mean error", f"{self.mean_error:.3g}"),
            ("cosine", f"{self.cosine:.6f}"),
        ]
        if self.agreement is not None:
            rows.append(("top-1 agreement", f"{self.agreement:.4f}"))
            rows.append(("KL divergence", f"{self.kl:.3g} nats"))
        if self.model_accuracy is not None:
            rows.append(
                ("accuracy", f"{self.model_accuracy:.4f} model, {self.file_accuracy:.4f} file")
            )
        return "\n".join(f"{name:<15}  {value}" for name, value in rows)

    def assert_close(
        self,
        *,
        quantize: str | None = "dynamic",
        max_error: float | None = None,
        agreement: float | None = None,
    ) -> None:
        """Raises unless the file is as close as its mode of quantisation allows.

        Args:
            quantize: How the file was made; it selects the bounds: error at most 1e-5 of the
                largest output for None, 0.005 for "float16", 0.1 for "dynamic", 0.25 for
                "int8", and agreement of at least 0.999, 0.99, 0.98, 0.90. "int4" has those of
                "dynamic", which a model that was not trained on 4 bits will break.
            max_error: An absolute bound in place of the default one.
            agreement: A fraction in place of the default one. One example may always differ: on
                a few examples a single near-tie is no evidence.

        Raises:
            AssertionError: If a bound is broken; the message gives both numbers.
            ValueError: If `quantize` is unknown.
        """
        if quantize not in MODES:
            raise ValueError(f"`quantize` must be one of {MODES}. Received: quantize={quantize!r}.")
        fraction, least = _BOUNDS[quantize]
        bound = fraction * self.largest if max_error is None else max_error
        least = min(least if agreement is None else agreement, 1.0 - 1.0 / self.examples)
        # Written so that a NaN fails too.
        if not self.max_error <= bound:
            raise AssertionError(
                f"The file differs from the model by up to {self.max_error:.4g}, more than "
                f"{bound:.4g}, the bound for quantize={quantize!r} with outputs up to "
                f"{self.largest:.4g}.\n{self}"
            )
        if self.agreement is not None and not self.agreement >= least - 1e-9:
            raise AssertionError(
                f"The file agrees with the model on {self.agreement:.4f} of {self.examples} "
                f"examples, less than {least:.4f}, the bound for quantize={quantize!r}.\n{self}"
            )


def compare(
    model: keras.Model, path: str | os.PathLike[str], x: Any, y: Any = None
) -> ParityReport:
    """Runs a Keras model and a `.tflite` file on the same inputs and reports how they differ.

    The model runs in batches, the file one example at a time, as it will be used.

    Args:
        model: A built Keras 3 model; a `Compressed` one is compared as `strip` leaves it.
        path: The `.tflite` file. With several signatures "serving_default" is used.
        x: Inputs: one array with examples along the first axis; for a model of several inputs a
            dict by name or a list.
        y: Labels, to report accuracy too: class indices of shape `[N]` (or of the shape of the
            outputs without the class axis), or one-hot rows.

    Raises:
        TypeError: If `model`, `path` or the dtype of `x` or `y` is of the wrong type.
        FileNotFoundError: If `path` does not exist.
        ValueError: If `path` is not a complete `.tflite` file, if its inputs, outputs or number
            of classes are not those of the model, or if `x` or `y` does not fit the model.

    Example:
        >>> import tempfile
        >>> from tfdistill.export.tflite import to_tflite
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = to_tflite(model, folder + "/tiny.tflite", quantize=None)
        ...     report = compare(model, path, np.eye(4, dtype="float32"))
        >>> report.examples, report.agreement, report.max_error < 1e-6
        (4, 1.0, True)
    """
    named = named_model(plain_model(model))
    file = FileModel(Interpreter(path), named)
    arrays = named.arrays(x, argument="x")
    examples = len(next(iter(arrays.values())))
    parts: list[dict[str, np.ndarray]] = []
    labels: np.ndarray | None = None
    output = ""
    # The bar only appears when the comparison takes longer than two seconds.
    with tqdm(total=examples, desc="compare", unit="example", delay=2.0, leave=False) as bar:
        for begin in range(0, examples, _BATCH_SIZE):
            rows = slice(begin, begin + _BATCH_SIZE)
            batch = {name: value[rows] for name, value in arrays.items()}
            reference = {
                name: keras.ops.convert_to_numpy(value).astype(np.float32)
                for name, value in named(batch).items()
            }
            if not parts:
                output = "logits" if "logits" in reference else next(iter(reference))
                labels = check_labels(y, shape=(examples, *reference[output].shape[1:]))
            candidate = file.run(batch, reference, tick=bar.update)
            part_labels = None if labels is None else labels[rows]
            parts.append(measures(reference, candidate, output=output, labels=part_labels))
    return _summarize(parts, signature=file.signature.name, output=output, examples=examples)


def _summarize(
    parts: list[dict[str, np.ndarray]], *, signature: str, output: str, examples: int
) -> ParityReport:
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    largest = {"max_error", "largest"}
    values = {
        name: float(value.max() if name in largest else value.mean())
        for name, value in joined.items()
    }
    return ParityReport(
        signature=signature,
        output=output,
        examples=examples,
        max_error=values["max_error"],
        mean_error=values["mean_error"],
        largest=values["largest"],
        cosine=values["cosine"],
        agreement=values.get("agreement"),
        kl=values.get("kl"),
        model_accuracy=values.get("model_accuracy"),
        file_accuracy=values.get("file_accuracy"),
    )
