"""The results table: every stage of a run with what it costs and what it is worth.

One row per stage, all measured on the same test set. `write_report` leaves three files::

    report.json   the numbers, for scripts
    report.md     the same for people
    pareto.svg    accuracy against size and against latency

Nothing here needs TensorFlow or matplotlib.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfdistill.files.atomic import replacing
from tfdistill.reports.pareto_plot import stages_svg
from tfdistill.reports.table import Table

__all__ = [
    "PoolRow",
    "StageRow",
    "format_table",
    "markdown_table",
    "read_report",
    "results_table",
    "write_report",
]

_MISSING = "–"


@dataclass(frozen=True)
class StageRow:
    """One line of the results table. A number that does not apply to a stage is None.

    Attributes:
        stage: Name of the stage, such as "teacher" or "tflite".
        accuracy: Fraction of the test set, in [0, 1].
        macro_f1: F1 averaged over classes, in [0, 1].
        parameters: Number of weights; a shared one counts once.
        nonzero: Those that are not exactly zero.
        size_bytes: Size of the file; for a Keras model, of its weights as float32.
        gzip_bytes: The same after gzip level 9.
        latency_ms_p50: Median milliseconds for one example on one thread.
        latency_ms_p95: Milliseconds that 95 % of the calls stay below.
        teacher_agreement: Fraction of the test set on which the teacher says the same.

    Raises:
        ValueError: If a fraction is outside [0, 1] or another number is negative or not finite.
    """

    stage: str
    accuracy: float | None
    macro_f1: float | None
    parameters: int | None
    nonzero: int | None
    size_bytes: int | None
    gzip_bytes: int | None
    latency_ms_p50: float | None
    latency_ms_p95: float | None
    teacher_agreement: float | None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self)[1:]:
            value = getattr(self, field.name)
            fraction = field.name in ("accuracy", "macro_f1", "teacher_agreement")
            most = 1.0 if fraction else math.inf
            if value is not None and not (0 <= value <= most and math.isfinite(value)):
                wanted = "a fraction in [0, 1]" if fraction else "a finite number of at least 0"
                raise ValueError(
                    f"`{field.name}` must be {wanted}, or None. "
                    f"Received: {field.name}={value!r} for the stage {self.stage!r}."
                )


@dataclass(frozen=True)
class PoolRow:
    """Throughput of one way to run the agents.

    Attributes:
        executor: "inline", "threads" or "ray".
        items_per_s: Texts classified per second.
        identical: Whether every prediction equals that of one agent in this process.
    """

    executor: str
    items_per_s: float
    identical: bool


def write_report(
    folder: str | os.PathLike[str],
    *,
    stages: Sequence[StageRow],
    pool: Sequence[PoolRow],
    seconds: float,
    notes: Sequence[str] = (),
) -> Path:
    """Writes `report.json`, `report.md` and `pareto.svg`.

    Args:
        folder: Where to; made if it does not exist. Reports in it are replaced.
        stages: Rows of the results table, in the order of the pipeline.
        pool: Throughput of the agents, may be empty.
        seconds: What the whole run took.
        notes: Sentences for `report.md`: what the reader has to know beside the numbers.

    Returns:
        The folder.

    Raises:
        ValueError: If there is no stage, or two have the same name.
        OSError: If a file cannot be written.
    """
    names = [row.stage for row in stages]
    if not names or len(set(names)) != len(names):
        raise ValueError(
            f"`stages` must be rows of different stages, at least one. Received: {names}."
        )
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    content = {
        "stages": [dataclasses.asdict(row) for row in stages],
        "pool": [dataclasses.asdict(row) for row in pool],
        "seconds": seconds,
    }
    with replacing(target / "report.json") as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    with replacing(target / "report.md") as temporary:
        text = _markdown(stages, pool=pool, seconds=seconds, notes=notes)
        temporary.write_text(text, encoding="utf-8")
    with replacing(target / "pareto.svg") as temporary:
        temporary.write_text(stages_svg(stages), encoding="utf-8")
    return target


def read_report(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the `report.json` that `write_report` wrote.

    Args:
        folder: The run's folder.

    Returns:
        Its content: "stages", "pool" and "seconds".

    Raises:
        FileNotFoundError: If the folder holds no report.
        ValueError: If the file is no such report.
    """
    path = Path(folder) / "report.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"`folder` must hold a report.json. Received: folder={str(folder)!r}. "
            "`tfdistill demo` and `tfdistill distill` write one."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for stage in content["stages"]:
            StageRow(**stage)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"`folder` must hold a report that tfdistill wrote. Received: {str(path)!r} ({error})."
        ) from error
    return content


def format_table(rows: Sequence[StageRow]) -> str:
    """Returns the results table for a terminal: aligned columns, human units.

    Args:
        rows: The stages, at least one.

    Example:
        >>> print(format_table([StageRow("tflite", 0.9, 0.8, 372_000, 186_000, 408_576, 204_800,
        ...                              0.036, 0.041, None)]))
        stage   accuracy  macro F1  parameters  non-zero    size    gzip  p50 ms  p95 ms  agreement
        ------  --------  --------  ----------  --------  ------  ------  ------  ------  ---------
        tflite     0.900     0.800       372 k     186 k  399 KB  200 KB   0.036   0.041          –
    """
    return results_table(rows).terminal()


def markdown_table(rows: Sequence[StageRow]) -> str:
    """Returns the results table in Markdown, numbers aligned to the right.

    Args:
        rows: The stages, at least one.

    Example:
        >>> row = StageRow("tfidf", 0.9, 0.8, None, None, None, None, None, None, 0.5)
        >>> print(markdown_table([row]).splitlines()[2])
        | tfidf | 0.900 | 0.800 | – | – | – | – | – | – | 0.500 |
    """
    return results_table(rows).markdown()


def results_table(rows: Sequence[StageRow]) -> Table:
    """Returns the results table as texts, one line per stage.

    Args:
        rows: The stages, at least one.

    Raises:
        ValueError: If there is none.
    """
    if not rows:
        raise ValueError("`rows` must hold at least one stage. Received: rows=[].")
    columns: list[tuple[str, Any]] = [
        ("stage", lambda row: row.stage),
        ("accuracy", lambda row: _fixed(row.accuracy)),
        ("macro F1", lambda row: _fixed(row.macro_f1)),
        ("parameters", lambda row: _human(row.parameters, 1000, ["", " k", " M", " G"])),
        ("non-zero", lambda row: _human(row.nonzero, 1000, ["", " k", " M", " G"])),
        ("size", lambda row: _human(row.size_bytes, 1024, [" B", " KB", " MB", " GB"])),
        ("gzip", lambda row: _human(row.gzip_bytes, 1024, [" B", " KB", " MB", " GB"])),
        ("p50 ms", lambda row: _fixed(row.latency_ms_p50)),
        ("p95 ms", lambda row: _fixed(row.latency_ms_p95)),
        ("agreement", lambda row: _fixed(row.teacher_agreement)),
    ]
    return Table(
        [name for name, _ in columns], [[show(row) for _, show in columns] for row in rows]
    )


def _fixed(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.3f}"


def _human(value: int | None, step: int, units: list[str]) -> str:
    """Returns three significant digits and a unit, the count as it is below one step."""
    if value is None:
        return _MISSING
    power, number = 0, float(value)
    # 999.5 would round to 1,000 of the smaller unit.
    while power < len(units) - 1 and number >= (step if step == 1024 else 999.5):
        power, number = power + 1, number / step
    if power == 0:
        return f"{value}{units[0]}"
    digits = max(0, 2 - int(math.log10(max(number, 1.0))))
    return f"{number:.{digits}f}{units[power]}"


def _markdown(
    stages: Sequence[StageRow],
    *,
    pool: Sequence[PoolRow],
    seconds: float,
    notes: Sequence[str],
) -> str:
    parts = [
        "# The results table",
        markdown_table(stages),
        "Every row is measured on the same test set. *size* is that of the file, for a Keras model "
        "that of its weights as float32 (1 KB = 1,024 bytes); *gzip* is the download. *p50* and "
        "*p95* are for one example on one thread. *agreement* is how often the stage says what the "
        "teacher says.",
        "![Accuracy against size and against latency](pareto.svg)",
    ]
    if pool:
        head = ["executor", "items / s", "same predictions"]
        lines = [
            [row.executor, f"{row.items_per_s:,.0f}", "yes" if row.identical else "**no**"]
            for row in pool
        ]
        parts += ["## Agents", Table(head, lines).markdown()]
    if notes:
        parts += ["## Notes", "\n".join(f"* {note}" for note in notes)]
    parts.append(f"The whole run took {seconds:,.0f} s.")
    return "\n\n".join(parts) + "\n"
