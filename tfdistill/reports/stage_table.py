"""The results table: every stage of a run with what it costs and what it is worth.

One row per stage, all measured on the same test set. `write_report` leaves three files::

    report.json   the numbers, for scripts
    report.md     the same for people
    pareto.svg    accuracy, or what counts, against size and against latency

Nothing here needs TensorFlow or matplotlib.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfdistill.files.atomic import replacing
from tfdistill.reports.comparisons import score_text
from tfdistill.reports.label_figures import LabelScore, label_table
from tfdistill.reports.pareto_plot import stages_svg
from tfdistill.reports.quantities import MISSING, bytes_text, count_text, fixed_text
from tfdistill.reports.resampling import METRICS
from tfdistill.reports.table import Table
from tfdistill.reports.verdict import Verdict

__all__ = [
    "PoolRow",
    "StageRow",
    "add_pool",
    "format_table",
    "markdown_table",
    "read_report",
    "results_table",
    "write_report",
]

_FRACTIONS = ("accuracy", "macro_f1", "micro_f1", "teacher_agreement")


@dataclass(frozen=True)
class StageRow:
    """One line of the results table. A number that does not apply to a stage is None.

    Attributes:
        stage: Name of the stage, such as "teacher" or "file"; `tfdistill.reports.stage_names`
            has those that a page explains.
        accuracy: Fraction of the test set, in [0, 1].
        macro_f1: F1 averaged over classes, in [0, 1].
        parameters: Number of weights; a shared one counts once.
        nonzero: Those that are not exactly zero.
        size_bytes: Size of the file; for a Keras model, of its weights as float32.
        gzip_bytes: The same after gzip level 9.
        latency_ms_p50: Median milliseconds for one example on one thread.
        latency_ms_p95: Milliseconds that 95 % of the calls stay below.
        teacher_agreement: Fraction of the test set on which the teacher says the same.
        bundle_bytes: Size of all that it takes to answer a text: the file, its tokenizer and the
            names of its classes.
        text_ms_p50: Median milliseconds from a text to its label, tokenizer included.
        text_ms_p95: Milliseconds that 95 % of the texts stay below.
        metric: Name of the metric of `score`, where accuracy is not what counts.
        score: What the stage is worth in that metric; any finite number.
        micro_f1: F1 over all labels of all texts together, in [0, 1], where a text may have
            several.
        mae: Mean absolute error, where a number is asked.

    Raises:
        ValueError: If a fraction is outside [0, 1], another number is negative or not finite, or
            only one of `metric` and `score` is given.
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
    bundle_bytes: int | None = None
    text_ms_p50: float | None = None
    text_ms_p95: float | None = None
    metric: str | None = None
    score: float | None = None
    micro_f1: float | None = None
    mae: float | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self)[1:]:
            value = getattr(self, field.name)
            if value is None or field.name == "metric":
                continue
            least, most = -math.inf if field.name == "score" else 0.0, math.inf
            wanted = f"a finite number{' of at least 0' if field.name != 'score' else ''}"
            if field.name in _FRACTIONS:
                most, wanted = 1.0, "a fraction in [0, 1]"
            if not (least <= value <= most and math.isfinite(value)):
                raise ValueError(
                    f"`{field.name}` must be {wanted}, or None. "
                    f"Received: {field.name}={value!r} for the stage {self.stage!r}."
                )
        if (self.metric is None) != (self.score is None):
            raise ValueError(
                "`metric` and `score` must be given together. Received: "
                f"metric={self.metric!r}, score={self.score!r} for the stage {self.stage!r}."
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
    verdict: Verdict | None = None,
    facts: Mapping[str, str] | None = None,
    labels: Sequence[LabelScore] = (),
) -> Path:
    """Writes `report.json`, `report.md` and `pareto.svg`.

    Args:
        folder: Where to; made if it does not exist. Reports in it are replaced.
        stages: Rows of the results table, in the order of the pipeline.
        pool: Throughput of the agents, may be empty.
        seconds: What the whole run took.
        notes: Sentences: what the reader has to know beside the numbers.
        verdict: Whether the student won; its line opens `report.md`.
        facts: What the run was, by name: data set, date, command, versions.
        labels: Figures of each label, where a text may have several.

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
    content: dict[str, Any] = {
        "stages": [dataclasses.asdict(row) for row in stages],
        "pool": [dataclasses.asdict(row) for row in pool],
        "seconds": seconds,
    }
    if verdict is not None:
        content["verdict"] = verdict.to_dict()
    if facts:
        content["facts"] = dict(facts)
    if labels:
        content["labels"] = [dataclasses.asdict(each) for each in labels]
    if notes:
        content["notes"] = list(notes)
    with replacing(target / "report.json") as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    with replacing(target / "report.md") as temporary:
        text = _markdown(
            stages, pool=pool, seconds=seconds, notes=notes, verdict=verdict, facts=facts or {},
            labels=labels,
        )  # fmt: skip
        temporary.write_text(text, encoding="utf-8")
    with replacing(target / "pareto.svg") as temporary:
        temporary.write_text(stages_svg(stages), encoding="utf-8")
    return target


def read_report(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the `report.json` that `write_report` wrote.

    Args:
        folder: The run's folder.

    Returns:
        Its content: "stages", "pool" and "seconds"; "verdict", "facts", "labels" and "notes" if the
        run has them.

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
        if "verdict" in content:
            Verdict.from_dict(content["verdict"])
        for each in content.get("labels", ()):
            LabelScore.from_dict(each)
        if not all(isinstance(text, str) for text in content.get("facts", {}).values()):
            raise TypeError("facts that are not all text")
        if not all(isinstance(note, str) for note in content.get("notes", [])):
            raise TypeError("notes that are not all text")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"`folder` must hold a report that tfdistill wrote. Received: {str(path)!r} ({error})."
        ) from error
    return content


def add_pool(folder: str | os.PathLike[str], pool: Sequence[PoolRow], *, seconds: float) -> Path:
    """Puts the throughput of the agents into a report that is there, and keeps the rest of it.

    Args:
        folder: The run's folder.
        pool: One row for each way to run the agents.
        seconds: What the whole run took, this included.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: If the folder holds no report.
        ValueError: If the file is no such report.
    """
    content = read_report(folder)
    verdict = content.get("verdict")
    return write_report(
        folder,
        stages=[StageRow(**stage) for stage in content["stages"]],
        pool=pool,
        seconds=seconds,
        notes=content.get("notes", ()),
        verdict=None if verdict is None else Verdict.from_dict(verdict),
        facts=content.get("facts"),
        labels=[LabelScore.from_dict(each) for each in content.get("labels", ())],
    )


def format_table(rows: Sequence[StageRow]) -> str:
    """Returns the results table for a terminal: aligned columns, human units.

    Args:
        rows: The stages, at least one.

    Example:
        >>> print(format_table([StageRow("tflite", 0.9, 0.8, 372_000, 186_000, 408_576, 204_800,
        ...                              0.036, 0.041, None)]))
        stage   accuracy  macro F1  parameters  non-zero    size    gzip  p50 ms  p95 ms
        ------  --------  --------  ----------  --------  ------  ------  ------  ------
        tflite     0.900     0.800       372 k     186 k  399 KB  200 KB   0.036   0.041
    """
    return results_table(rows).terminal()


def markdown_table(rows: Sequence[StageRow]) -> str:
    """Returns the results table in Markdown, numbers aligned to the right.

    Args:
        rows: The stages, at least one.

    Example:
        >>> row = StageRow("tfidf", 0.9, 0.8, None, None, 2048, None, None, None, 0.5)
        >>> print(markdown_table([row]))
        | stage | accuracy | macro F1 | size | agreement |
        | --- | --: | --: | --: | --: |
        | tfidf | 0.900 | 0.800 | 2.00 KB | 0.500 |
    """
    return results_table(rows).markdown()


def results_table(rows: Sequence[StageRow]) -> Table:
    """Returns the results table as texts, one line per stage.

    A column without a number in any row is left out. If all scores are of one metric, its name is
    the head of their column.

    Args:
        rows: The stages, at least one.

    Raises:
        ValueError: If there is none.
    """
    if not rows:
        raise ValueError("`rows` must hold at least one stage. Received: rows=[].")
    metrics = {row.metric for row in rows if row.metric is not None}
    one = next(iter(metrics)) if len(metrics) == 1 else None
    title = METRICS[one].title if one is not None and one in METRICS else one
    # Head, attribute, how it is written.
    columns: list[tuple[str, str, Callable[[Any], str]]] = [
        *([] if one else [("metric", "metric", lambda name: name or MISSING)]),
        (title or "score", "score", _score_text),
        ("accuracy", "accuracy", fixed_text),
        ("macro F1", "macro_f1", fixed_text),
        ("micro F1", "micro_f1", fixed_text),
        ("MAE", "mae", _score_text),
        ("parameters", "parameters", count_text),
        ("non-zero", "nonzero", count_text),
        ("size", "size_bytes", bytes_text),
        ("gzip", "gzip_bytes", bytes_text),
        ("bundle", "bundle_bytes", bytes_text),
        ("p50 ms", "latency_ms_p50", fixed_text),
        ("p95 ms", "latency_ms_p95", fixed_text),
        ("text p50 ms", "text_ms_p50", fixed_text),
        ("text p95 ms", "text_ms_p95", fixed_text),
        ("agreement", "teacher_agreement", fixed_text),
    ]
    shown = [
        column for column in columns if any(getattr(row, column[1]) is not None for row in rows)
    ]
    return Table(
        ["stage", *(head for head, *_ in shown)],
        [[row.stage, *(write(getattr(row, name)) for _, name, write in shown)] for row in rows],
    )


def _score_text(score: float | None) -> str:
    return MISSING if score is None else score_text(score)


def _markdown(
    stages: Sequence[StageRow],
    *,
    pool: Sequence[PoolRow],
    seconds: float,
    notes: Sequence[str],
    verdict: Verdict | None,
    facts: Mapping[str, str],
    labels: Sequence[LabelScore],
) -> str:
    parts = [
        *([] if verdict is None else [verdict.line()]),
        "# The results table",
        *(["\n".join(f"* {name}: {text}" for name, text in facts.items())] if facts else []),
        markdown_table(stages),
        " ".join(_told(stages)),
        "![What each stage is worth against size and against latency](pareto.svg)",
    ]
    if labels:
        parts += ["## Each label", label_table(labels).markdown()]
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


def _told(stages: Sequence[StageRow]) -> list[str]:
    """Says what the columns are."""
    told = [
        "Every row is measured on the same test set. *size* is that of the file, for a Keras model "
        "that of its weights as float32 (1 KB = 1,024 bytes); *gzip* is the download."
    ]
    if any(row.bundle_bytes is not None for row in stages):
        told.append("*bundle* is the file with its tokenizer and class names.")
    told.append("*p50* and *p95* are for one example on one thread.")
    if any(row.text_ms_p50 is not None for row in stages):
        told.append("*text p50* and *text p95* are from a text to its label, tokenizer included.")
    if any(row.teacher_agreement is not None for row in stages):
        told.append("*agreement* is how often the stage says what the teacher says.")
    return told
