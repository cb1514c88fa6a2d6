"""The numbers of a comparison, and what may be asked of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfdistill.bundles.export_modes import MODES
from tfdistill.export.parity.layer_errors import LayerError
from tfdistill.reports.quantities import fixed_text

__all__ = ["ParityReport", "worst_of"]

_SHOWN = 30  # labels that are printed


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
        agreement: Fraction with the same top class; None for an output of one number. Where
            examples have several labels, fraction of labels on which both say the same.
        kl: Mean KL(softmax(model) ‖ softmax(file)) in nats; None for an output of one number.
            Outputs that already are probabilities are taken as they are. Of several labels the mean
            of each one's, with the sigmoid.
        model_accuracy: Fraction of `y` that the model gets right; None without `y`.
        file_accuracy: The same of the file.
        step: Step of the integer grid that the output is computed on; None for a float output.
        batch_size: How many examples the signature takes at once.
        parts: One report per signature where several were compared; the numbers above are then
            the worst of each.
        layers: Errors layer by layer, on the first example, if they were asked for.
        label_f1: Where examples of `y` have several labels, for each label the F1 of the model and
            of the file; None where the label is neither there nor said.
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
    step: float | None = None
    batch_size: int = 1
    parts: tuple[ParityReport, ...] = ()
    layers: tuple[LayerError, ...] = ()
    label_f1: tuple[tuple[float | None, ...], ...] = ()

    @property
    def model_macro_f1(self) -> float | None:
        """The mean of the model's F1 over labels that are there or said; None without labels."""
        return self._macro_f1(0)

    @property
    def file_macro_f1(self) -> float | None:
        """The same of the file."""
        return self._macro_f1(1)

    def _macro_f1(self, column: int) -> float | None:
        if not self.label_f1:
            return None
        column_of = (pair[column] for pair in self.label_f1)
        known = [value for value in column_of if value is not None]
        # No label at all and none said: nothing is wrong.
        return float(np.mean(known)) if known else 1.0

    @property
    def max_error_steps(self) -> float | None:
        """The largest error in steps of the output's integer grid; None if it has none."""
        return None if self.step is None else self.max_error / self.step

    def first_drift(self, *, relative: float = 0.1) -> LayerError | None:
        """Returns the first layer whose relative error is above a bound, if there is one.

        Args:
            relative: The bound, a fraction of the layer's output.
        """
        return next((layer for layer in self.layers if not layer.relative <= relative), None)

    def __str__(self) -> str:
        rows = [
            ("signature", f"{self.signature} → {self.output}"),
            ("examples", f"{self.examples:,}"),
            (
                "max error",
                f"{self.max_error:.3g}  (largest output {self.largest:.3g}"
                + (f", {self.max_error_steps:.1f} steps)" if self.step else ")"),
            ),
            ("mean error", f"{self.mean_error:.3g}"),
            ("cosine", f"{self.cosine:.6f}"),
        ]
        if self.agreement is not None:
            name = "label agreement" if self.label_f1 else "top-1 agreement"
            rows.append((name, f"{self.agreement:.4f}"))
            rows.append(("KL divergence", f"{self.kl:.3g} nats"))
        if self.model_accuracy is not None:
            rows.append(
                ("accuracy", f"{self.model_accuracy:.4f} model, {self.file_accuracy:.4f} file")
            )
        if self.label_f1:
            rows.append(
                ("macro F1", f"{self.model_macro_f1:.4f} model, {self.file_macro_f1:.4f} file")
            )
            for number, (model, file) in enumerate(self.label_f1[:_SHOWN]):
                rows.append(
                    (f"F1 of label {number}", f"{fixed_text(model)} model, {fixed_text(file)} file")
                )
            if len(self.label_f1) > _SHOWN:
                rows.append(("", f"… and {len(self.label_f1) - _SHOWN} labels more"))
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
            quantize: How the file was made; it selects the bounds in
                `tfdistill.bundles.export_modes`: for None an error of at most 1e-5 of the largest
                output and agreement of at least 0.999. Those of 4 bits hold for a model that was
                trained on them.
            max_error: An absolute bound in place of the default one.
            agreement: A fraction in place of the default one. One example may always differ: on
                a few examples a single near-tie is no evidence.

        Raises:
            AssertionError: If a bound is broken; the message gives both numbers.
            ValueError: If `quantize` is unknown.
        """
        if quantize not in MODES:
            raise ValueError(
                f"`quantize` must be one of {tuple(MODES)}. Received: quantize={quantize!r}."
            )
        for part in self.parts:
            part.assert_close(quantize=quantize, max_error=max_error, agreement=agreement)
        fraction, least = MODES[quantize].bounds
        hint = f" {MODES[quantize].instead}".rstrip()
        bound = fraction * self.largest if max_error is None else max_error
        least = min(least if agreement is None else agreement, 1.0 - 1.0 / self.examples)
        # Written so that a NaN fails too.
        if not self.max_error <= bound:
            raise AssertionError(
                f"The file differs from the model by up to {self.max_error:.4g}, more than "
                f"{bound:.4g}, the bound for quantize={quantize!r} with outputs up to "
                f"{self.largest:.4g}.{hint}\n{self}"
            )
        if self.agreement is not None and not self.agreement >= least - 1e-9:
            raise AssertionError(
                f"The file agrees with the model on {self.agreement:.4f} of {self.examples} "
                f"examples, less than {least:.4f}, the bound for quantize={quantize!r}.{hint}\n"
                f"{self}"
            )


def worst_of(parts: list[ParityReport]) -> ParityReport:
    """Returns a report whose numbers are the worst of several, which it keeps as `parts`.

    Args:
        parts: At least one report.
    """

    def worst(field: str, choose: Callable[[list[float]], float]) -> Any:
        values = [getattr(part, field) for part in parts if getattr(part, field) is not None]
        # min and max would pass over a NaN, depending on the order.
        bad = [value for value in values if np.isnan(value)]
        return (bad[0] if bad else choose(values)) if values else None

    worst_part = max(parts, key=lambda part: part.max_error / (part.largest or 1.0))
    return replace(
        worst_part,
        signature=", ".join(part.signature for part in parts),
        mean_error=worst("mean_error", max),
        cosine=worst("cosine", min),
        agreement=worst("agreement", min),
        kl=worst("kl", max),
        file_accuracy=worst("file_accuracy", min),
        model_accuracy=worst("model_accuracy", min),
        parts=tuple(parts),
    )
