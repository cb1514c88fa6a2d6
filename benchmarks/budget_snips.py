"""Is Q-learning worth it under a budget? Learned policies and rules on a team's recorded answers.

python benchmarks/budget_snips.py --record FOLDER [--output FOLDER] [--seeds 5] [--steps 15000]

FOLDER has `record_dev.jsonl` (everything is fitted, tuned and learned on it) and
`record_test.jsonl` (everything is reported on it). A call is one sub-task answered by the last
tier; a batch of 20 requests shares floor(b * 20) calls. "Drifted" confidences were
recorded after the calibration was fitted: rules and learners are tuned on the drifted ones, the
auction and the plan still believe the calibration, which is fitted to the dev requests that are
learned from. What is finished is in `OUTPUT/budget.jsonl` and not done again. IQL, VDN and QMIX
start from the rule that does best on requests held out from learning; "VDN from
scratch" and "QMIX from scratch" do not. VDN and QMIX are tried everywhere, the others where
nothing is changed. The table is `OUTPUT/budget.md`.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfdistill import rl
from tfdistill.rl.budget.baselines import best_behavior_policy, rules

SIZE = 20
FROM_SCRATCH = " from scratch"  # without it, from the best rule
LEARNERS = {"IQL": rl.IQL, "VDN": rl.VDN, "QMIX": rl.QMIX}
LEARNERS |= {f"{name}{FROM_SCRATCH}": LEARNERS[name] for name in ("VDN", "QMIX")}


@dataclasses.dataclass(frozen=True)
class Setting:
    """One line of the table."""

    budget: float
    per_request: bool = False
    reward: str = "all-right"
    drifted: bool = False
    messages: bool = True

    def __str__(self) -> str:
        shared = "per request" if self.per_request else f"per {SIZE} requests"
        words = ["drifted" if self.drifted else "calibrated", self.reward]
        return f"b = {self.budget:g} {shared}, {', '.join(words)}" + (
            "" if self.messages else ", no messages"
        )

    def game(self) -> dict[str, Any]:
        """Returns the arguments of the game."""
        size = 1 if self.per_request else SIZE
        calls = int(np.floor(self.budget * size))
        return {
            "calls": calls,
            "requests": size,
            "reward": self.reward,
            "messages": self.messages,
        }


def all_settings() -> list[Setting]:
    """Lists what is compared: the budgets, and one thing changed at a time."""
    main = [Setting(b) for b in (0.25, 0.5, 1, 2)] + [Setting(b, True) for b in (1, 2)]
    changed = ({"drifted": True}, {"messages": False}, {"reward": "mean"})
    return main + [dataclasses.replace(s, **change) for change in changed for s in main]


def learners(setting: Setting) -> tuple[str, ...]:
    """Lists what is tried in a setting: everything where nothing was changed."""
    unchanged = setting.messages and not setting.drifted and setting.reward == "all-right"
    return tuple(LEARNERS) if unchanged else ("VDN", "QMIX")


def run(
    setting: Setting, records: list[Any], calibration: Any, given: argparse.Namespace, have: set
) -> Iterator[dict]:
    """Measures what is missing of the rules and learners in one setting."""
    trials = itertools.product(learners(setting), range(given.seeds))
    trials = [trial for trial in trials if trial not in have]
    dev, test, train, validation = (
        rl.BudgetGame(record, calibration=calibration, **setting.game()) for record in records
    )
    if ("oracle", 0) not in have:
        for name, policy in rules(test, known=dev).items():
            if (name, 0) not in have:
                yield described(name, 0, test, policy)
    if not trials:
        return
    start_from, rule = best_behavior_policy(train, held_out=validation)
    practice = {"calibration": calibration, "practice": True, "relative": True}
    drill = rl.BudgetGame(records[2], **practice, **setting.game())
    rule = dataclasses.replace(rule, game=drill)
    for name, seed in trials:
        start = time.process_time()
        from_scratch = name.endswith(FROM_SCRATCH)
        learner, report = rl.learn_policy(
            LEARNERS[name],
            drill,
            validation=validation,
            behavior_policy=None if from_scratch else rule,
            seed=seed,
            steps=given.steps,
            hidden_dim=32,
        )
        took = time.process_time() - start
        found = described(name, seed, test, rl.policy_on(learner, test))
        behavior = "" if from_scratch else start_from
        yield {**found, "behavior_policy": behavior, "training_s": took, **report}


def described(name: str, seed: int, game: Any, policy: Callable) -> dict[str, Any]:
    """Judges one policy: the score of every request, calls, milliseconds, violations."""
    result = rl.evaluate(game, policy)
    scores = np.nan_to_num(result.by_request(len(game.recorded)), nan=-9.0)
    return {
        "policy": name,
        "seed": seed,
        "scores": scores.round(4).tolist(),
        "calls": float(result.calls.mean() / result.requests.shape[1]),
        "ms": float(result.cost_ms.mean()),
        "violations": result.violations,
    }


def table(rows: list[dict], test: Any) -> str:
    """Writes the table and one sentence for each setting."""
    lines = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        by: dict[str, list[np.ndarray]] = {}
        entries = [row for row in rows if row["setting"] == setting]
        for row in entries:
            scores = np.array(row["scores"])
            by.setdefault(row["policy"], []).append(np.where(scores < -1, np.nan, scores))
        mean = {name: np.mean(found, axis=0) for name, found in by.items()}
        reward = "mean" if ", mean" in setting else "all-right"
        floor, top = (test.alone(k, reward=reward).mean() for k in (0, -1))
        lines += [
            f"\n### {setting}\n",
            "| policy | score | of the gap | calls | ms | violations |",
        ]
        lines += ["|---|--:|--:|--:|--:|--:|"]
        for name, values in mean.items():
            own = [row for row in entries if row["policy"] == name]
            score = np.nanmean(values)
            calls, ms = (np.mean([row[key] for row in own]) for key in ("calls", "ms"))
            over = sum(row["violations"] for row in own)
            gap = (score - floor) / (top - floor)
            lines.append(f"| {name} | {score:.4f} | {gap:.1%} | {calls:.3f} | {ms:.2f} | {over} |")
        learned = [name for name in LEARNERS if name in mean]
        for name in learned:
            parts, signs = [], []
            for rule in ("thresholds", "knn", "agreement", "auction", "planner"):
                found = rl.cluster_interval(mean[name] - mean[rule], test.sources)
                parts.append("{} {:+.2%} [{:+.2%}, {:+.2%}]".format(rule, *found))
                signs.append(found)
            runs = [row for row in entries if row["policy"] == name]
            idle = sum(row["kept_at"] == 0 for row in runs)
            word = verdict(signs)
            if idle and runs[0]["behavior_policy"]:
                word += f" In {idle} of {len(runs)} runs learning gained nothing on validation"
                word += f" requests over doing as the {runs[0]['behavior_policy']} does."
            lines.append(f"\n{name} minus {'; minus '.join(parts)}. {word}")
    return "\n".join(lines)


def verdict(found: list[tuple[float, float, float]]) -> str:
    """Says whether learning is worth it, from the differences to the rules."""
    if all(low > 0 for _, low, _ in found):
        return "Worth it here: better than all of them."
    if any(high < 0 for _, _, high in found):
        return "Not worth it here: one of the rules is better."
    return "Not needed here: no worse than the rules, and not better than all of them."


def main() -> None:
    """Runs what is not done yet, then writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("runs/budget"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=15_000, help="environment steps of a learner")
    parser.add_argument("--first", type=int, default=None, help="only the first settings")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    path = given.output / "budget.jsonl"
    rows = [json.loads(line) for line in path.open()] if path.is_file() else []
    dev, test = (rl.TeamRecord.load(given.record / f"record_{n}.jsonl") for n in ("dev", "test"))
    calibration = rl.Calibration.fit(dev.split(fraction=0.6, seed=0)[0])
    for setting in all_settings()[: given.first]:
        own = [row for row in rows if row["setting"] == str(setting)]
        have = {(row["policy"], row["seed"]) for row in own}
        pair = [r.drifted(seed=1) if setting.drifted else r for r in (dev, test)]
        records = [*pair, *pair[0].split(fraction=0.6, seed=0)]
        for row in run(setting, records, calibration, given, have):
            rows.append({"setting": str(setting), **row})
            with path.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
        (given.output / "budget.md").write_text(table(rows, test))
    print((given.output / "budget.md").read_text())


if __name__ == "__main__":
    main()
