"""`compress`, `export`, `compare`: Keras files, `.tflite` files and what is between them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfdistill.bundles.export_modes import MODES
from tfdistill.cli.errors import Failure, told, write

if TYPE_CHECKING:
    import keras
    import numpy as np

__all__ = ["compare", "compress", "export"]

DISAGREES = 3
_MODEL = click.argument("model", type=click.Path(path_type=Path))
_MODES = {quantize or "none": mode for quantize, mode in MODES.items()}
_QUANTIZE = click.option(
    "--quantize", type=click.Choice(list(_MODES)), default="dynamic", show_default=True
)
# "\b" keeps click from filling the lines up.
_TABLE = "\b\n" + "\n".join(
    f"{name:<9}{mode.text}{'; needs --calibration' * mode.needs_calibration}\n{'':9}{mode.when}"
    for name, mode in _MODES.items()
)
_X = click.option("--x", "x", required=True, type=click.Path(path_type=Path), help="Inputs, .npy.")


@click.command(epilog=_TABLE)
@_MODEL
@click.argument("path", type=click.Path(path_type=Path))
@_QUANTIZE
@click.option("--calibration", type=click.Path(path_type=Path), help="For int8…: inputs, .npy.")
@click.option("--block-size", type=int, help="For int4: inputs that share a scale.")
def export(
    model: Path, path: Path, quantize: str, calibration: Path | None, block_size: int | None
) -> None:
    """Write a Keras model as a .tflite file.

    Example: tfdistill export student.keras student.tflite --quantize dynamic
    """
    with told():
        from tfdistill.export.tflite import to_tflite

        rows = None if calibration is None else _array(calibration)
        written = to_tflite(
            _load(model),
            path,
            quantize=_mode(quantize),
            calibration=rows,
            block_size=block_size,
        )
    click.echo(f"{written}: {written.stat().st_size:,} bytes")


@click.command()
@_MODEL
@click.argument("path", type=click.Path(path_type=Path))
@_X
@click.option("--y", "y", type=click.Path(path_type=Path), help="Labels, .npy, for accuracies.")
@_QUANTIZE
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def compare(model: Path, path: Path, x: Path, y: Path | None, quantize: str, as_json: bool) -> None:
    """Say how far a .tflite file is from its Keras model.

    The exit code is 3 where it is further than files made with --quantize may be.

    Example: tfdistill compare student.keras student.tflite --x x_test.npy --y y_test.npy
    """
    with told():
        from tfdistill.export.parity.comparison import compare as compared

        report = compared(_load(model), path, _array(x), None if y is None else _array(y))
    try:
        report.assert_close(quantize=_mode(quantize))
        reason = ""
    except AssertionError as error:
        reason = str(error).partition("\n")[0]
    write({**_plain(report), "close": not reason}, as_json=as_json, text=str(report))
    if reason:
        click.echo(f"tfdistill: {reason}", err=True)
        raise click.exceptions.Exit(DISAGREES)


@click.command()
@_MODEL
@click.argument("path", type=click.Path(path_type=Path))
@_X
@click.option("--sparsity", type=click.FloatRange(0, 1, max_open=True), help="Share of zeros.")
@click.option("--clusters", type=click.IntRange(min=2), help="Different values in a tensor.")
@click.option("--bits", type=click.Choice(["4", "8"]), help="Bits of the grid.")
@click.option("--epochs", default=3, type=click.IntRange(min=1), show_default=True)
@click.option("--batch-size", default=32, type=click.IntRange(min=1), show_default=True)
@click.option("--learning-rate", default=5e-4, type=float, show_default=True)
@click.option("--seed", default=0, type=click.IntRange(min=0), show_default=True)
def compress(
    model: Path,
    path: Path,
    x: Path,
    sparsity: float | None,
    clusters: int | None,
    bits: str | None,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> None:
    """Prune, cluster and quantize a Keras model; it learns from its uncompressed self meanwhile.

    Example: tfdistill compress student.keras small.keras --x x_train.npy --sparsity 0.5 --bits 8
    """
    if not (sparsity or clusters or bits):
        raise Failure("Give one of --sparsity, --clusters and --bits at least.")
    with told():
        from tfdistill.files.atomic import check_target, replacing

        target = check_target(path)
        if target.suffix != ".keras":
            raise Failure(f"`PATH` must end in .keras. Received: {str(path)!r}.")
        original, rows = _load(model), _array(x)
        steps = max(1, -(-len(rows) // batch_size) * epochs * 2 // 3)
        recipe = _recipe(sparsity, clusters, None if bits is None else int(bits), steps=steps)
        small = _trained(original, recipe, rows, epochs, batch_size, learning_rate, seed)
        with replacing(target) as temporary:
            small.save(temporary)
        from tfdistill.compress.inspection.statistics import survey

        click.echo(str(survey(small)))
    click.echo(f"{target}: {target.stat().st_size:,} bytes")


def _recipe(
    sparsity: float | None, clusters: int | None, bits: int | None, *, steps: int
) -> list[Any]:
    from tfdistill.compress.clustering.cluster import Cluster
    from tfdistill.compress.pruning.prune import Prune
    from tfdistill.compress.quantization.weights import Quantize

    made: list[Any] = []
    if sparsity:
        made.append(Prune(sparsity=sparsity, steps=steps))
    if clusters:
        made.append(Cluster(number_of_clusters=clusters, begin_step=steps if made else 0))
    if bits:
        made.append(Quantize(bits=bits, begin_step=steps if clusters and made else 0))
    return made


def _trained(
    original: keras.Model,
    recipe: list[Any],
    rows: np.ndarray,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> keras.Model:
    import keras
    import numpy as np

    from tfdistill.compress.compressed_model import Compressed, strip
    from tfdistill.distill.distiller import Distiller

    keras.utils.set_random_seed(seed)
    distiller = Distiller(student=Compressed(original, recipe=recipe), teacher=original)
    distiller.compile(keras.optimizers.Adam(learning_rate), alpha=0.0)
    # alpha = 0: the labels do not count, but `fit` wants some.
    distiller.fit(rows, np.zeros(len(rows), np.int32), batch_size=batch_size, epochs=epochs)
    return strip(distiller.student)


def _mode(quantize: str) -> str | None:
    return None if quantize == "none" else quantize


def _load(path: Path) -> keras.Model:
    """Reads a `.keras` file, in Keras' safe mode: no code in it is run."""
    import keras

    import tfdistill.students  # noqa: F401  its layers have to be known to Keras

    if path.suffix != ".keras":
        raise ValueError(f"`MODEL` must be a .keras file. Received: {str(path)!r}.")
    if not path.is_file():
        raise FileNotFoundError(f"`MODEL` must be an existing file. Received: {str(path)!r}.")
    return keras.saving.load_model(path, compile=False, safe_mode=True)


def _array(path: Path) -> np.ndarray:
    """Reads an `.npy` file without unpickling."""
    import numpy as np

    with open(path, "rb") as stream:
        return np.load(stream, allow_pickle=False)


def _plain(report: Any) -> dict[str, Any]:
    """Returns the numbers of a report, which `json` can write."""
    import dataclasses

    values = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    if report.label_f1:
        values |= {
            "model_macro_f1": report.model_macro_f1,
            "file_macro_f1": report.file_macro_f1,
            "label_f1": [list(pair) for pair in report.label_f1],
        }
    plain = (bool, int, float, str, list, type(None))
    return {name: value for name, value in values.items() if isinstance(value, plain)}
