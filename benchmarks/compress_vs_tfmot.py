"""`tfdistill.compress` beside TF-MOT: what a training step costs, and what each can compress.

    python benchmarks/compress_vs_tfmot.py

The layers, data, schedule and optimizer are the same on both sides, and so is the work: where
weights are quantized, TF-MOT's `QuantizeWrapperV2` gets the quantizer that ours equals. It runs on
`tf_keras`, which is all that it takes, we on Keras 3; so each is also set beside the plain `fit`
of its own Keras. Times are paired: the sides take turns, and each figure is the median of the
ratios of the turns, with the least and the largest. Masks are updated twenty times in a run, as
they are by default.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tf_keras
from compress_coverage import BATCH, WIDTHS, Fit, coverage_table, dense, fit_of
from tqdm.auto import tqdm

import tfdistill as td
from tfdistill.compress import Prune, Quantize
from tfdistill.introspection.backend import tfmot
from tfdistill.students import text_encoder


def main() -> None:
    """Prints the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=9, help="paired turns of each timing")
    parser.add_argument("--rows", type=int, default=2048, help="rows of each timed turn")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count the processor's time, which a busy machine disturbs less than the clock",
    )
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    settings = {"rows": options.rows, "turns": options.turns, "clock": clock}
    print(f"\n{'Processor' if options.cpu_time else 'Wall'} time, {options.turns} turns")
    print(dense_table(**settings))
    print(transformer_table(**settings))
    print(coverage_table())


def paired(
    fits: dict[str, Fit], *, turns: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Lets functions take turns; returns the seconds of each turn."""
    for fit in fits.values():
        fit()  # traces
    seconds: dict[str, list[float]] = {name: [] for name in fits}
    names = list(fits)
    for turn in tqdm(range(turns), desc="turns"):
        # Another one begins each time, so that none always meets the warmer cache.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = clock()
            fits[name]()
            seconds[name].append(clock() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], one: str, other: str) -> str:
    """Formats the median of the paired ratios with their spread."""
    ratios = [a / b for a, b in zip(seconds[one], seconds[other], strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


# A model of Dense layers, which both can compress.


def dense_table(*, rows: int, turns: int, clock: Callable[[], float]) -> str:
    """Times pruning and weight quantization of Dense layers on both sides."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, 128)).astype("float32"), rng.integers(0, WIDTHS[-1], rows)
    pruning = tfmot().sparsity.keras
    steps = -(-rows // BATCH) * (turns + 1)

    def schedule() -> Any:
        return pruning.PolynomialDecay(0.0, 0.5, 0, steps, frequency=max(1, steps // 20))

    ours = {
        "plain": dense(keras),
        "prune": td.prune_low_magnitude(dense(keras), pruning_schedule=schedule()),
        "quantize": td.quantize_aware(dense(keras)),
        "prune + quantize": td.Compressed(
            dense(keras), recipe=[Prune(pruning_schedule=schedule()), Quantize()]
        ),
    }
    theirs = {
        "plain": dense(tf_keras),
        "prune": pruning.prune_low_magnitude(dense(tf_keras), pruning_schedule=schedule()),
        "quantize": quantized_by_tfmot(dense(tf_keras)),
    }
    fits = {f"ours {name}": fit_of(model, keras, x, y, []) for name, model in ours.items()}
    for name, model in theirs.items():
        callbacks = [pruning.UpdatePruningStep()] if name == "prune" else []
        fits[f"theirs {name}"] = fit_of(model, tf_keras, x, y, callbacks)
    seconds = paired(fits, turns=turns, clock=clock)
    lines = [
        f"\nDense layers of {', '.join(map(str, WIDTHS))} units, batches of {BATCH}: a step's time",
        "",
        "| | tfdistill / TF-MOT | tfdistill / plain Keras 3 | TF-MOT / plain tf_keras |",
        "| --- | --: | --: | --: |",
    ]
    for name in ours:
        against = ratio(seconds, f"ours {name}", f"theirs {name}") if name in theirs else "–"
        overhead = ratio(seconds, f"theirs {name}", "theirs plain") if name in theirs else "–"
        lines.append(
            f"| {name} | {against} | {ratio(seconds, f'ours {name}', 'ours plain')} | {overhead} |"
        )
    return "\n".join(lines)


def quantized_by_tfmot(model: tf_keras.Model) -> tf_keras.Model:
    """Wraps the layers so that their kernels, and nothing else, are quantized as by us."""
    quantization = tfmot().quantization.keras
    from tensorflow_model_optimization.python.core.quantization.keras import quantize_wrapper

    class WeightsOnly(quantization.QuantizeConfig):
        """Quantizes the kernel of a Dense layer."""

        def __init__(self) -> None:
            self.quantizer = quantization.quantizers.LastValueQuantizer(
                8, per_axis=True, symmetric=True, narrow_range=True
            )

        def get_weights_and_quantizers(self, layer: Any) -> list:
            return [(layer.kernel, self.quantizer)]

        def get_activations_and_quantizers(self, layer: Any) -> list:
            return []

        def set_quantize_weights(self, layer: Any, quantize_weights: list) -> None:
            layer.kernel = quantize_weights[0]

        def set_quantize_activations(self, layer: Any, quantize_activations: list) -> None:
            """Has none to set."""

        def get_output_quantizers(self, layer: Any) -> list:
            return []

        def get_config(self) -> dict:
            return {}

    wrapped = [quantize_wrapper.QuantizeWrapperV2(layer, WeightsOnly()) for layer in model.layers]
    return tf_keras.Sequential([tf_keras.Input((128,)), *wrapped])


# A transformer, which TF-MOT cannot quantize.


def transformer() -> keras.Model:
    """Builds a text encoder of 2 layers of width 128, with 0.94 million parameters."""
    return text_encoder(
        vocabulary_size=5138,
        sequence_length=32,
        num_layers=2,
        hidden_dim=128,
        num_heads=2,
        intermediate_dim=256,
        num_classes=150,
        seed=0,
    )


def transformer_table(*, rows: int, turns: int, clock: Callable[[], float]) -> str:
    """Times what compression adds to the plain step of a 2-layer transformer."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5138, (rows, 32)).astype("int32"), rng.integers(0, 150, rows)
    steps = -(-rows // BATCH) * (turns + 1)
    models = {
        "plain": transformer(),
        "prune": td.Compressed(transformer(), recipe=[Prune(steps=steps)]),
        "quantize to 8 bits": td.quantize_aware(transformer()),
        "prune + quantize to 8 bits": td.Compressed(
            transformer(), recipe=[Prune(steps=steps), Quantize()]
        ),
        "prune + quantize to 4 bits": td.Compressed(
            transformer(), recipe=[Prune(steps=steps), Quantize(bits=4)]
        ),
    }
    fits = {name: fit_of(model, keras, x, y, []) for name, model in models.items()}
    seconds = paired(fits, turns=turns, clock=clock)
    lines = [
        "\nText encoder, 2 layers of width 128, 5138 words: a step's time",
        "",
        "| | / plain `fit` | ms |",
        "| --- | --: | --: |",
    ]
    for name in models:
        step_ms = 1000 * statistics.median(seconds[name]) / -(-rows // BATCH)
        lines.append(f"| {name} | {ratio(seconds, name, 'plain')} | {step_ms:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
