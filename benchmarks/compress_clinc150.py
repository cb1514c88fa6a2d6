"""What a distilled student bears: pruning, 8 and 4 bits, sharing and all together, on 150 intents.

    python benchmarks/compress_clinc150.py --data FOLDER

FOLDER holds `data_full.json` of CLINC150 (Larson et al. 2019). Teacher, texts, answers and students
are those of `clinc150.py --max-kb 480`, from its folder (`--distilled`). Each row is kept under
`--folder`, so the script can be stopped at any moment and started again.

All rows of a seed begin with that seed's student and train on the teacher's answers while it is
compressed; "trained on" is the student that does so without any compression. Accuracy is that of
the file.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clinc150
import keras
import numpy as np

import tfdistill as td
from tfdistill.compress import Cluster, Prune, Quantize, WeightState, verify_compression
from tfdistill.distill import batches_of_like_length, muon
from tfdistill.distill.teacher_cache.logit_records import INPUTS
from tfdistill.pipelines import TextRun
from tfdistill.students import at_length, text_encoder

BATCH, WINDOW, TEMPERATURE, RATE = 64, 64, 2.0, 1e-3
BLOCKS = 4
DOWNLOAD = 150 * 1024  # what a file may weigh after gzip in the joint rows


@dataclass(frozen=True)
class Row:
    """One row: what it makes of the student, how long it trains, how it is stored.

    Attributes:
        make: From the student, a number of steps and `Texts` to the model to train and export.
        times: How many times `--steps` it trains; 0 not at all.
        quantize: Width of the file.
    """

    make: Callable[[keras.Model, int, Texts], keras.Model]
    times: int = 1
    quantize: str = "dynamic"


def recipe(*make: Callable[[int], Any], times: int = 1, quantize: str = "dynamic") -> Row:
    """A row that is a list of transforms, each made for a number of training steps."""

    def compressed(student: keras.Model, steps: int, data: Texts) -> keras.Model:
        return td.Compressed(student, recipe=[one(steps) for one in make])

    return Row(compressed, times=times, quantize=quantize)


def pruning(sparsity: float) -> Callable[[int], Prune]:
    """Zeros in kernels and the table that are all there after two thirds of the steps."""
    return lambda steps: Prune(sparsity=sparsity, steps=2 * steps // 3)


def clustering(number: int) -> Callable[[int], Cluster]:
    """So many values in each tensor, from when the zeros are all there."""
    return lambda steps: Cluster(number_of_clusters=number, begin_step=2 * steps // 3)


def eight_bits(steps: int) -> Quantize:
    """Weights of 8 bits."""
    return Quantize(bits=8)


def four_bits(steps: int) -> Quantize:
    """Weights of 4 bits; sixteen rows of the table share a scale."""
    return Quantize(bits=4, group_size=16)


def with_blocks(*, groups: int) -> Row:
    """A student of four blocks, each of which starts as a copy of the given one's first."""

    def make(student: keras.Model, steps: int, data: Texts) -> keras.Model:
        given = {layer.name: layer for layer in student.layers}
        deep = text_encoder(
            vocabulary_size=len(data.run.material.words.kept_ids),
            sequence_length=data.run.material.words.sequence_length,
            num_classes=data.run.material.cache.num_classes,
            embedding_dim=given["token_embedding"].output_dim,
            hidden_dim=given["logits"].kernel.shape[0] // 2,
            num_heads=2,
            intermediate_dim=128,
            num_layers=BLOCKS,
            groups=groups,
            dropout=0.0,
            pooling="mean_max",
            row_of_token=given["token_rows"].kept_ids,
            seed=0,
        )
        for layer in deep.layers:
            layer.set_weights(given.get(layer.name, given["encoder_0"]).get_weights())
        return at_length(deep, None)

    return Row(make, times=4)


ROWS: dict[str, Row] = {
    "int8": Row(lambda student, steps, data: student, times=0),
    "int8, trained on": recipe(lambda steps: Idle(), times=4),
    "52 % zeros, int8": recipe(pruning(0.52), eight_bits, times=4),
    "72 % zeros, int8": recipe(pruning(0.72), eight_bits, times=4),
    "int4, not trained": recipe(four_bits, times=0, quantize="int4"),
    "int4": recipe(four_bits, times=4, quantize="int4"),
    "joint: 50 % zeros, int4": recipe(pruning(0.5), four_bits, times=4, quantize="int4"),
    "joint: 70 % zeros, 32 values, int8": recipe(pruning(0.7), clustering(32), eight_bits, times=4),
    "joint: 72 % zeros, int4": recipe(pruning(0.72), four_bits, times=4, quantize="int4"),
    "joint: 80 % zeros, 16 values, int8": recipe(pruning(0.8), clustering(16), eight_bits, times=4),
    "4 blocks, int8": with_blocks(groups=BLOCKS),
    "4 blocks, one set, int8": with_blocks(groups=1),
}


@keras.saving.register_keras_serializable(package="benchmarks")
class Idle(td.compress.WeightTransform):
    """Leaves every weight as it is."""

    def create(self, owner: td.Compressed, target: Any) -> Any:
        """Makes a state that does nothing."""
        return WeightState(self, target)


def main() -> None:
    """Writes the table of all rows that are finished, training those that are not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of data_full.json")
    parser.add_argument("--folder", type=Path, default=Path("runs/compress_clinc150"))
    parser.add_argument("--distilled", type=Path, default=Path("runs/clinc150"))
    parser.add_argument("--steps", type=int, default=1000, help="a quarter of those of each row")
    parser.add_argument("--rate", type=float, default=RATE, help="learning rate at the start")
    parser.add_argument("--only", nargs="+", default=list(ROWS), choices=ROWS, metavar="ROW")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    first: TextRun | None = None
    for seed in options.seeds:
        run = clinc150.distilled(
            options.data, options.distilled / f"thorough_480_{seed}",
            effort="thorough", max_kb=480, seed=seed, previous=first,
        )  # fmt: skip
        first = first or run
        data, student = Texts(run, *tested(options.data, run)), run.student
        for name in options.only:
            path, row = options.folder / f"{_slug(name)}_{seed}.json", ROWS[name]
            if path.exists():
                continue
            steps = row.times * options.steps
            model = row.make(at_length(student, None), steps, data)
            if steps:
                distill(model, data, steps=steps, rate=options.rate, seed=seed)
            result = measured(model, path.with_suffix(".tflite"), data, quantize=row.quantize)
            path.write_text(json.dumps(result), encoding="utf-8")
            print(seed, name, result, flush=True)
    report = table(options)
    title = "What a student on CLINC150 bears"
    (options.folder / "report.md").write_text(f"# {title}\n\n{report}\n", encoding="utf-8")
    print(report)


@dataclass(frozen=True)
class Texts:
    """What the rows train and are tested on.

    Attributes:
        run: Texts, copies and the teacher's answers.
        test_ids: Ids of the test texts, int32 `[M, L]`.
        test_labels: Their classes, int32 `[M]`.
    """

    run: TextRun
    test_ids: np.ndarray
    test_labels: np.ndarray


def tested(data: Path, run: TextRun) -> tuple[np.ndarray, np.ndarray]:
    """Returns ids and classes of the test texts."""
    _, (texts, labels) = clinc150.read_intents(data)
    number = {name: index for index, name in enumerate(run.bundle.labels)}
    ids = run.material.words.for_student(texts)
    return ids, np.array([number[label] for label in labels], np.int32)


def distill(model: keras.Model, data: Texts, *, steps: int, rate: float, seed: int) -> None:
    """Trains on the teacher's answers alone, for so many steps."""
    keras.utils.set_random_seed(seed)
    ids, cache = data.run.material.ids, data.run.material.cache
    distiller = td.Distiller(student=model, teacher=cache)
    distiller.compile(muon(rate, steps=steps), alpha=0.0, temperature=TEMPERATURE)
    labels = np.zeros(len(ids), np.int32)  # nothing is learned from them
    windows = cache.dataset(ids, labels, batch_size=BATCH * WINDOW, seed=seed)
    batches = batches_of_like_length(windows.repeat(), batch_size=BATCH, ids=INPUTS, seed=seed)
    distiller.fit(batches, epochs=1, steps_per_epoch=steps, verbose=2)


def measured(
    model: keras.Model, path: Path, data: Texts, *, quantize: str
) -> dict[str, float | int]:
    """Exports a model and measures the file on the test texts."""
    fixed = at_length(td.strip(model), data.test_ids.shape[1])
    td.to_tflite(fixed, path, quantize=quantize)
    if isinstance(model, td.Compressed):
        verify_compression(model, path)
    report = td.compare(fixed, path, data.test_ids, data.test_labels)
    costs, found = td.measure(path), td.survey(path)
    return {
        "accuracy": report.file_accuracy,
        "agreement": report.agreement,
        "bytes": costs.size_bytes,
        "gzip": costs.gzip_bytes,
        "nonzero": found.nonzero / found.parameters,
        "ms": costs.latency_ms_p50,
    }


def table(options: argparse.Namespace) -> str:
    """Returns the mean over the seeds of every row that is finished, as Markdown."""
    results = {}
    for name in ROWS:
        paths = [options.folder / f"{_slug(name)}_{seed}.json" for seed in options.seeds]
        found = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]
        if found:
            results[name] = found
    plain = {
        key: statistics.mean(run[key] for run in results["int8"]) for key in ("accuracy", "gzip")
    }
    lines = [
        "| row | seeds | steps | accuracy | of int8 | file | gzip | gzip of int8 | non-zero | ms |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for name, runs in results.items():
        mean = {key: statistics.mean(run[key] for run in runs) for key in runs[0]}
        accuracies = [run["accuracy"] for run in runs]
        spread = f" ± {statistics.stdev(accuracies):.4f}" if len(runs) > 1 else ""
        lines.append(
            f"| {name} | {len(runs)} | {ROWS[name].times * options.steps:,} "
            f"| {mean['accuracy']:.4f}{spread} "
            f"| {mean['accuracy'] / plain['accuracy']:.1%} | {mean['bytes'] / 1024:.0f} KB "
            f"| {mean['gzip'] / 1024:.0f} KB | {mean['gzip'] / plain['gzip']:.2f} "
            f"| {mean['nonzero']:.0%} | {mean['ms']:.3f} |"
        )
    joint = {
        name: statistics.mean(run["accuracy"] for run in runs)
        for name, runs in results.items()
        if max(run["gzip"] for run in runs) <= DOWNLOAD
    }
    lines += [
        "",
        "A step is of 64 texts. Zeros and shared values make the download smaller, not the "
        "answer faster: TFLite multiplies by them like by any number. Four blocks take the time of "
        "four, shared or not.",
    ]
    if joint:
        best = max(joint, key=joint.__getitem__)
        lines[-1] += f" Best of at most 150 KB after gzip: {best}, {joint[best]:.4f}."
    return "\n".join(lines)


def _slug(name: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in name)


if __name__ == "__main__":
    main()
