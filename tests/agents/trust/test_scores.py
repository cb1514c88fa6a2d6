from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tfdistill.agents import class_probabilities, in_scope_score
from tfdistill.agents.trust.scores import doubt, judge
from tfdistill.bundles import Confidence, OutOfScope
from tfdistill.bundles.confidence import SCORES


def test_only_what_is_above_the_usual_share_is_doubted():
    assert doubt([0.0, 0.2, 0.4, 1.0], usual=0.2).tolist() == pytest.approx([0.0, 0.0, 0.25, 1.0])
    assert doubt([0.0, 0.3, 1.0], usual=0.0).tolist() == [0.0, 0.3, 1.0]
    assert doubt([0.0, 1.0], usual=1.0).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("temperature", "doubts", "wanted"),
    [
        (1.0, 0.0, [0.9, 0.1]),  # logits log 9 and 0
        (2.0, 0.0, [0.75, 0.25]),  # √9 : 1
        (1.0, 0.5, [0.7, 0.3]),  # half of (0.9, 0.1) and half of (0.5, 0.5)
        (2.0, 1.0, [0.5, 0.5]),
    ],
)
def test_probabilities_equal_hand_computed_values(
    temperature: float, doubts: float, wanted: list[float]
):
    logits = np.array([math.log(9.0), 0.0])
    got = class_probabilities(logits, temperature=temperature, doubts=doubts)

    np.testing.assert_allclose(got, wanted, atol=1e-15)


def test_no_confidence_passes_what_the_doubt_leaves_however_far_the_logits_lie_apart():
    logits = np.array([[1e30, 0.0, -1e30], [0.0, 50.0, 0.0]])
    got = class_probabilities(logits, doubts=np.array([0.3, 0.6]))

    np.testing.assert_allclose(got.max(axis=1), [0.7 + 0.1, 0.4 + 0.2], atol=1e-15)
    np.testing.assert_allclose(got.sum(axis=1), [1.0, 1.0], atol=1e-15)
    assert got.argmax(axis=1).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("score", "temperature", "wanted"),
    [
        # Logits 2 log 2, 0 and 0: Σ exp = 6, their mean is 2/3 log 2.
        ("energy", 1.0, math.log(6 / 3) - 2 / 3 * math.log(2)),
        # At T = 2: Σ exp = 4, the mean 1/3 log 2.
        ("energy", 2.0, 2 * (math.log(4 / 3) - math.log(2) / 3)),
        ("margin", 1.0, 2 * math.log(2)),
        ("margin", 2.0, math.log(2)),
        ("probability", 1.0, 4 / 6),
        ("probability", 2.0, 2 / 4),
        # (4, 1, 1) / 6 and (2, 1, 1) / 4.
        ("entropy", 1.0, 2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 6)),
        ("entropy", 2.0, -1.5 * math.log(2)),
    ],
)
def test_scores_equal_hand_computed_values(score: str, temperature: float, wanted: float):
    logits = np.array([0.0, 2 * math.log(2), 0.0])

    got = in_scope_score(logits, score=score, temperature=temperature)
    assert float(got) == pytest.approx(wanted, abs=1e-14)
    # A constant says nothing; rounding of 7 · 2⁻⁵² is left.
    moved = in_scope_score(logits + 7.0, score=score, temperature=temperature)
    assert float(moved) == pytest.approx(wanted, abs=1e-13)


@pytest.mark.parametrize(
    ("score", "least"),
    [("energy", 0.0), ("margin", 0.0), ("probability", 0.25), ("entropy", -math.log(4))],
)
def test_what_says_nothing_has_the_least_score(score: str, least: float):
    logits = np.array([3.0, 9.0, -2.0, 0.0])
    certain = float(in_scope_score(logits, score=score))

    assert float(in_scope_score(np.full(4, 3.0), score=score)) == pytest.approx(least, abs=1e-12)
    assert float(in_scope_score(logits, score=score, doubts=1.0)) == pytest.approx(least)
    for doubts in (0.25, 0.5):
        doubted = float(in_scope_score(logits, score=score, doubts=doubts))
        assert least < doubted < certain
        if score != "entropy":
            wanted = least + (1 - doubts) * (certain - least)
            assert doubted == pytest.approx(wanted, abs=1e-12)


def test_raw_energy_asks_how_high_the_logits_lie():
    two = math.log(2)
    # Σ exp = 6 where three logits of 0 have 3.
    logits = np.array([2 * two, 0.0, 0.0])
    assert float(in_scope_score(logits, score="raw_energy")) == pytest.approx(two)
    assert float(in_scope_score(logits - 1, score="raw_energy")) == pytest.approx(two - 1)
    halved = in_scope_score(logits, score="raw_energy", temperature=2.0)
    assert float(halved) == pytest.approx(2 * math.log(4 / 3))


def test_a_doubt_never_raises_the_raw_energy():
    logits = np.array([[3.0, 0.0], [-3.0, -9.0]])
    plain = in_scope_score(logits, score="raw_energy")
    doubted = in_scope_score(logits, score="raw_energy", doubts=0.5)

    assert plain[0] > 0 > plain[1]
    np.testing.assert_allclose(doubted, [plain[0] / 2, plain[1]], atol=1e-15)


def test_entropy_of_a_certain_answer_is_0_and_not_a_number_less():
    with np.errstate(all="raise", under="ignore"):
        assert float(in_scope_score(np.array([0.0, 2000.0]), score="entropy")) == 0.0


def test_scores_of_rows_are_those_of_each_row(rng: np.random.Generator):
    logits, doubts = rng.normal(size=(5, 7)), rng.random(5)
    for score in SCORES:
        together = in_scope_score(logits, score=score, temperature=1.7, doubts=doubts)
        alone = [
            float(in_scope_score(row, score=score, temperature=1.7, doubts=d))
            for row, d in zip(logits, doubts, strict=True)
        ]
        np.testing.assert_allclose(together, alone, atol=1e-14)


def test_unknown_score_is_refused():
    with pytest.raises(ValueError, match="`score` must be one of .*Received: score='surprise'"):
        in_scope_score(np.zeros(2), score="surprise")


@pytest.mark.parametrize(("threshold", "inside"), [(0.75, True), (0.7501, False)])
def test_a_score_at_the_threshold_is_in_scope(threshold: float, inside: bool):
    logits = np.array([0.0, 0.0])  # both 0.5; no rounding in it
    stated = Confidence(out_of_scope=OutOfScope("probability", threshold - 0.25, 0.95))
    probabilities, score, in_scope = judge(logits, stated, unknown_share=0.0)

    assert (probabilities.tolist(), score, in_scope) == ([0.5, 0.5], 0.5, inside)


def test_without_a_rule_there_is_no_score():
    stated: Any = Confidence(temperature=2.0, usual_unknown_share=0.5)
    probabilities, *rest = judge(np.array([math.log(9.0), 0.0]), stated, unknown_share=0.75)

    np.testing.assert_allclose(probabilities, [0.625, 0.375], atol=1e-15)  # half of 0.75, of 0.5
    assert rest == [None, None]
