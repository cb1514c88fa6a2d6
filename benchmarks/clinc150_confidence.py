"""How much a bundle's confidence means on CLINC150, and whether it tells texts of no class.

    python benchmarks/clinc150_confidence.py BUNDLE --data FOLDER

BUNDLE classifies the 150 intents; FOLDER holds `data_full.json` (Larson et al. 2019). Two copies of
the bundle are calibrated on the validation texts, one of them also with the 100 out-of-scope texts
of the validation set, and both are measured on the test texts: 4,500 of the intents and 1,000 of
none. Gibberish is drawn; the foreign texts are below. BUNDLE itself is left as it is.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import string
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfdistill.agents import Agent, Prediction, calibrate_bundle, class_probabilities
from tfdistill.agents.trust.scores import doubt, in_scope_score
from tfdistill.bundles import Confidence
from tfdistill.bundles.confidence import SCORES
from tfdistill.reports import auroc, expected_calibration_error

FOREIGN = (
    "quelle est la capitale de la france",
    "je voudrais réserver une table pour deux personnes",
    "wie wird das wetter morgen in berlin",
    "ich möchte meine kreditkarte sperren lassen",
    "quiero reservar un vuelo a madrid para mañana",
    "vorrei ordinare una pizza margherita",
    "proszę przelać pieniądze na moje konto",
    "eu gostaria de cancelar meu cartão",
    "hur är vädret idag",
    "minä haluan varata lennon",
    "какая сегодня погода в москве",
    "今天天气怎么样",
)
EXAMPLES = ("asdkjh qwe zzz", "sdfsdf sdfsdf", "jjjjj", "lorem ipsum dolor sit amet consectetur")


def gibberish(count: int, *, seed: int = 0) -> list[str]:
    """Draws texts of 1 to 8 words of 2 to 9 random letters."""
    generator = random.Random(seed)

    def word() -> str:
        return "".join(generator.choices(string.ascii_lowercase, k=generator.randint(2, 9)))

    return [" ".join(word() for _ in range(generator.randint(1, 8))) for _ in range(count)]


class Judged:
    """Texts as one agent sees them.

    Attributes:
        logits: float64 `[N, C]` of the texts that can be read.
        shares: Their shares of unknown words, `[N]`.
        answers: Their predictions.
        unusable: Number of texts without any known word.
    """

    def __init__(self, agent: Agent, texts: Sequence[str]) -> None:
        answers = agent.predict(texts, return_exceptions=True)
        read = [text for text, a in zip(texts, answers, strict=True) if isinstance(a, Prediction)]
        found = [agent.evidence(text) for text in read]
        self.logits = np.array([logits for logits, _ in found])
        self.shares = np.array([share for _, share in found])
        self.answers = [answer for answer in answers if isinstance(answer, Prediction)]
        self.unusable = len(texts) - len(read)

    def scores(self, kind: str, stated: Confidence) -> np.ndarray:
        """Scores the texts by another kind than the bundle's."""
        doubts = doubt(self.shares, usual=stated.usual_unknown_share)
        return in_scope_score(
            self.logits, score=kind, temperature=stated.temperature, doubts=doubts
        )


def measure(bundle: Path, splits: dict[str, list[list[str]]], *, outside: bool) -> list[str]:
    """Calibrates a copy of the bundle and returns rows of figures."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(bundle, Path(folder) / "bundle")
        texts, names = zip(*splits["val"], strict=True)
        others = [text for text, _ in splits["oos_val"]] if outside else None
        stated = calibrate_bundle(copy, texts, names, out_of_scope_texts=others).confidence
        agent = Agent(copy)
    rule = stated.out_of_scope if stated else None
    if stated is None or rule is None:
        raise RuntimeError("The bundle was not calibrated.")
    test = Judged(agent, [text for text, _ in splits["test"]])
    labels = np.array([agent.labels.index(name) for _, name in splits["test"]])
    if test.unusable:
        raise RuntimeError("A test text has no known word.")
    none = Judged(agent, [text for text, _ in splits["oos_test"]])
    rows = [
        f"temperature {stated.temperature:.3f}, usual unknown share "
        f"{stated.usual_unknown_share:.3f}, {rule.score} of at least {rule.threshold:.3f}",
        f"accuracy {np.mean(test.logits.argmax(axis=1) == labels):.4f}",
        f"ECE {expected_calibration_error(labels, class_probabilities(test.logits)):.4f} → "
        f"{expected_calibration_error(labels, [a.probabilities for a in test.answers]):.4f}",
        f"test texts in scope {np.mean([a.in_scope for a in test.answers]):.3f}, "
        f"out-of-scope texts refused {np.mean([not a.in_scope for a in none.answers]):.3f}",
    ]
    inside = np.arange(len(labels) + len(none.answers)) < len(labels)
    for kind in SCORES:
        both = np.concatenate([test.scores(kind, stated), none.scores(kind, stated)])
        rows.append(f"AUROC {kind} {auroc(both, inside):.4f}")
    for name, noise in (("gibberish", gibberish(500)), ("foreign", FOREIGN), ("ex.", EXAMPLES)):
        found = Judged(agent, noise)
        before = class_probabilities(found.logits).max()
        after = max(answer.confidence for answer in found.answers)
        refused = found.unusable + sum(not answer.in_scope for answer in found.answers)
        rows.append(
            f"{name}: highest confidence {before:.4f} → {after:.4f}, refused or of no class "
            f"{refused} of {len(noise)}"
        )
    return rows


def main() -> None:
    """Prints the figures without and with out-of-scope texts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of data_full.json")
    options = parser.parse_args()
    splits = json.loads((options.data / "data_full.json").read_text(encoding="utf-8"))
    for outside in (False, True):
        print("with 100 out-of-scope texts" if outside else "without out-of-scope texts")
        for row in measure(options.bundle, splits, outside=outside):
            print(f"  {row}", flush=True)


if __name__ == "__main__":
    main()
