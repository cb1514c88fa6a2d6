"""The whole road on texts of another domain, small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tfdistill.datasets import TextData, load_20newsgroups
from tfdistill.pipelines import run_demo
from tfdistill.pipelines.training import Recipe


def few(data: TextData, *, classes: int, train: int, test: int) -> TextData:
    def keep(texts, labels, count):
        # Newsgroups come sorted by class: a draw has all of them.
        rows = np.random.default_rng(0).permutation(np.flatnonzero(labels < classes))[:count]
        return [texts[row] for row in rows], labels[rows]

    train_texts, train_labels = keep(data.train_texts, data.train_labels, train)
    test_texts, test_labels = keep(data.test_texts, data.test_labels, test)
    return TextData(
        train_texts,
        train_labels,
        [*test_texts, "", "ζζζ"],
        [*test_labels, 0, 1],
        data.label_names[:classes],
    )


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.network
def test_the_road_runs_on_other_texts_and_unanswerable_ones(minilm_folder, tmp_path: Path):
    texts = few(load_20newsgroups(), classes=3, train=300, test=60)
    lines: list[str] = []
    recipe = Recipe(epochs=3, compress_epochs=2, batch_size=16)
    run_demo(texts, folder=tmp_path, labels=60, sequence_length=32, recipe=recipe, say=lines.append)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    stages = {row["stage"]: row for row in report["stages"]}
    assert list(stages) == ["teacher", "tfidf", "control", "distilled", "compressed", "tflite"]
    # Every kernel and table was promised half zeros; biases and norms have none.
    compressed = stages["compressed"]
    assert 0.45 < 1 - compressed["nonzero"] / compressed["parameters"] < 0.5
    assert stages["tflite"]["size_bytes"] < stages["teacher"]["size_bytes"] / 100
    assert [row["executor"] for row in report["pool"]] == ["inline", "threads", "ray"]
    assert all(row["identical"] for row in report["pool"])
    assert (tmp_path / "bundle" / "manifest.json").is_file()
    assert any("control" in line for line in lines)
