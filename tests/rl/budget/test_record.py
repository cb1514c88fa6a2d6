from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tfdistill.rl.budget.calibration import Calibration, logistic_fit
from tfdistill.rl.budget.record import TeamRecord


def said(confidence: float, right: bool, **more: object) -> dict:
    return {"confidence": confidence, "margin": confidence / 2, "right": right, **more}


def lines(**changes: object) -> list[dict]:
    header = {
        "format": 1,
        "tiers": ["tiny", "teacher"],
        "team": "abc",
        "shared_ms": {"tiny": 0.2, "teacher": 8.0},
        "cost_ms": {t: {"parts": c, "slots": c} for t, c in (("tiny", 0.2), ("teacher", 8.0))},
    }
    request = {
        "id": 7,
        "sources": [3, 9],
        "subtasks": [
            {
                "field": f,
                "length": 5,
                "answers": {"tiny": said(0.5, False), "teacher": said(1, True)},
            }
            for f in ("parts", "slots[0]", "slots[1]")
        ],
    }
    return [header | changes, request]


def write(path: Path, content: list) -> Path:
    path.write_text("\n".join(json.dumps(line) for line in content))
    return path


def test_a_file_becomes_arrays(tmp_path: Path):
    record = TeamRecord.load(write(tmp_path / "r.jsonl", lines()), team="abc")

    assert (record.tiers, record.fields) == (("tiny", "teacher"), ("parts", "slots[0]", "slots[1]"))
    assert record.right[0].tolist() == [[False, True]] * 3
    assert record.cost_ms[0, 1].tolist() == [np.float32(0.2), 8.0]
    assert record.sources == ((3, 9),)
    assert record.steps == ("parts", "slots", "slots")
    assert record.alone(0).tolist() == [0.0]
    assert record.alone(1).tolist() == [1.0]


def test_saving_and_loading_loses_nothing(record: TeamRecord, tmp_path: Path):
    part = record.take(range(20))
    part.save(tmp_path / "r.jsonl")
    again = TeamRecord.load(tmp_path / "r.jsonl")

    np.testing.assert_array_equal(again.active, part.active)
    np.testing.assert_array_equal(again.right, part.right)
    np.testing.assert_array_equal(again.length[part.active], part.length[part.active])
    np.testing.assert_array_equal(again.confidence[part.active], part.confidence[part.active])
    assert (again.fields, again.sources, again.shares_passes) == (part.fields, part.sources, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.clear(), "at least one request. Received: .*with 0 lines"),
        (lambda c: c.pop(), "at least one request"),
        (lambda c: c[0].update(format=2), "must be a record of format 1"),
        (lambda c: c[1].pop("subtasks"), "answers of every tier in each line"),
        (lambda c: c[1]["subtasks"][0]["answers"].pop("tiny"), "answers of every tier"),
        (lambda c: c[1].update(subtasks=[]), "at least one sub-task"),
        (
            lambda c: c[1]["subtasks"][0]["answers"]["tiny"].update(cost_ms=-1.0),
            r"`cost_ms` must be in \[0, inf\] and finite. Received: cost_ms=.*-1.0",
        ),
        (
            lambda c: c[1]["subtasks"][0]["answers"]["tiny"].update(confidence=float("nan")),
            r"`confidence` must be in \[0, 1.0\] and finite. Received: confidence=.*nan",
        ),
    ],
)
def test_a_bad_record_is_refused(change: Callable, message: str, tmp_path: Path):
    content = lines()
    change(content)

    with pytest.raises(ValueError, match=message):
        TeamRecord.load(write(tmp_path / "r.jsonl", content))


def test_what_is_not_json_is_refused_with_its_line(tmp_path: Path):
    path = write(tmp_path / "r.jsonl", lines())
    path.write_text(path.read_text() + "\n{")

    with pytest.raises(ValueError, match="Received: line 3 of"):
        TeamRecord.load(path)


def test_the_record_of_another_team_is_refused(tmp_path: Path):
    path = write(tmp_path / "r.jsonl", lines())

    with pytest.raises(ValueError, match="record of this team. Received: .*'abc'; this one is 'd'"):
        TeamRecord.load(path, team="d")


def test_a_split_is_seeded_and_loses_no_request(record: TeamRecord):
    first, second = record.split(fraction=0.25, seed=3)
    again, _ = record.split(fraction=0.25, seed=3)

    assert (len(first), len(second)) == (100, 300)
    assert first.sources == again.sources
    assert sorted(first.sources + second.sources) == sorted(record.sources)
    with pytest.raises(ValueError, match="`fraction` must leave requests in both parts"):
        record.split(fraction=1.0)


def test_drift_keeps_the_order_within_a_kind_and_tier_and_changes_the_meaning(record: TeamRecord):
    drifted = record.drifted(seed=0)

    slots = record.confidence[:, 3, 0], drifted.confidence[:, 3, 0]
    order = np.argsort(slots[0])
    assert (np.diff(slots[1][order]) >= 0).all()
    assert np.abs(drifted.confidence - record.confidence).mean() > 0.05
    np.testing.assert_array_equal(drifted.confidence, record.drifted(seed=0).confidence)
    np.testing.assert_allclose(
        record.drifted(seed=0, strength=0.0).confidence, record.confidence, atol=2e-6
    )  # confidences are kept 1e-6 from the ends


def test_logistic_fit_finds_the_curve_that_made_the_answers():
    random = np.random.default_rng(0)
    logit = random.normal(size=20_000) * 2
    right = random.random(20_000) < 1 / (1 + np.exp(-(0.5 * logit - 1.0)))

    slope, shift = logistic_fit(logit, right)
    # Three standard errors of a fit to 20,000 answers.
    assert slope == pytest.approx(0.5, abs=0.035)
    assert shift == pytest.approx(-1.0, abs=0.06)


def test_calibration_foresees_each_tier_and_repairs_a_drift(make_record: Callable):
    known, asked = make_record(3000, seed=1), make_record(3000, seed=2)
    p = Calibration.fit(known).probabilities(asked)

    for kind in (0, 3):  # parts, slots[0]
        for judged in range(3):
            foreseen, real = p[:, kind, 0, judged], asked.right[:, kind, judged]
            assert foreseen.mean() == pytest.approx(real.mean(), abs=0.03)  # 3 standard errors
    drifted = Calibration.fit(known.drifted(seed=4)).probabilities(asked.drifted(seed=4))
    np.testing.assert_allclose(drifted[:, :, 0, 0], p[:, :, 0, 0], atol=0.01)  # a = logistic too
    assert (p[..., 1, 0] == 0).sum() == asked.active.sum()


def test_calibration_of_other_tiers_is_refused(record: TeamRecord):
    other = dataclasses.replace(record, tiers=("a", "b", "c"))

    with pytest.raises(ValueError, match="`record` must have the calibration's tiers and kinds"):
        Calibration.fit(record).probabilities(other)
