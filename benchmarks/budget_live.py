"""Does a learned policy do on the live team what was simulated on its record?

python benchmarks/budget_live.py --record FOLDER --team FOLDER [--budget 0.5] [--seeds 1]

FOLDER has `record_dev.jsonl` and `record_test.jsonl` of that team (`compound_snips_record.py`),
and the team is the one with all tiers. A policy is learned on the dev record, exported, and answers
the texts of the test record live, twenty requests to a budget, dealt as in the simulation.

In the record all sub-tasks of a request are decided at once, on the true parts; live, the parts
come first, and the rest is asked about what was found. A live request is right if its parts,
intents and slots are those that the record knows to be right.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tfdistill import rl
from tfdistill.agents import Budget, LearnedPolicy, Plan, Step, Team
from tfdistill.agents.team.folder import open_team
from tfdistill.agents.team.messages import plain_value
from tfdistill.rl.budget.baselines import best_behavior_policy

SIZE = 20
PLAN = Plan(
    steps=(
        Step("parts", kind="spans"),
        Step("intent", kind="label", reads={"parts": "spans"}, each="parts"),
        Step("slots", kind="spans", reads={"parts": "spans"}, each="parts"),
    ),
    result=("parts", "intent", "slots"),
)


def wanted(line: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the right answers of a request; None if no tier had one of them."""
    found = {}
    for subtask in line["subtasks"]:
        answers = [said["answer"] for said in subtask["answers"].values() if said["right"]]
        if not answers:
            return None
        found[subtask["field"]] = answers[0]
    return found


def learned(dev: Any, *, calls: int, seed: int) -> Any:
    """Learns a policy on the dev record."""
    train, validation = dev.split(fraction=0.6, seed=0)
    share = {"calls": calls, "requests": SIZE, "calibration": rl.Calibration.fit(train)}
    held_out = rl.BudgetGame(validation, **share)
    _, rule = best_behavior_policy(rl.BudgetGame(train, **share), held_out=held_out)
    drill = rl.BudgetGame(train, practice=True, relative=True, **share)
    learner, _ = rl.learn_policy(
        rl.VDN,
        drill,
        validation=held_out,
        behavior_policy=type(rule)(**{**vars(rule), "game": drill}),
        seed=seed,
        steps=8_000,
        hidden_dim=32,
    )
    return learner


def main() -> None:
    """Prints the simulated and the live score, and the live calls."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--team", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=0.5)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    dev, test = (rl.TeamRecord.load(given.record / f"record_{n}.jsonl") for n in ("dev", "test"))
    with (given.record / "record_test.jsonl").open(encoding="utf-8") as stream:
        lines = [json.loads(line) for line in stream][1:]
    calls = int(given.budget * SIZE)
    members = {step.name: open_team(given.team).members[step.name] for step in PLAN.steps}
    for seed in range(given.seeds):
        learner = learned(dev, calls=calls, seed=seed)
        game = rl.BudgetGame(test, calls=calls, requests=SIZE, calibration=learner.game.calibration)
        simulated = rl.evaluate(game, rl.policy_on(learner, game))
        with tempfile.TemporaryDirectory() as folder:
            rl.export_policy(learner, Path(folder) / "policy")
            policy = LearnedPolicy(Path(folder) / "policy")
            budget = Budget(calls={"teacher": calls}, requests=SIZE)
            team = Team(agents=members, plan=PLAN, policy=policy, budget=budget, max_rounds=2)
            scores, spent = np.full(len(test), np.nan), np.zeros(simulated.requests.shape, int)
            for at, row in np.ndenumerate(simulated.requests):
                (result,) = team.predict([lines[row]["text"]])
                answer = {field: plain_value(value) for field, value in result.values.items()}
                right = wanted(lines[row])
                scores[row] = right is not None and answer == right
                spent[at] = sum(message.tier == "teacher" for message in result.trace.messages)
        before = simulated.by_request(len(test))
        over = int((spent.sum(axis=1) > calls).sum())
        print(f"seed {seed}, b = {given.budget:g} per {SIZE} requests")
        for name, values in {
            "simulated": before,
            "live": scores,
            "difference": scores - before,
        }.items():
            mean, low, high = rl.cluster_interval(values, test.sources)
            print(f"  {name:10} {mean:+.4f} [{low:+.4f}, {high:+.4f}]")
        print(
            f"  calls a request: {spent.mean():.3f} live, "
            f"{simulated.calls.mean() / SIZE:.3f} simulated"
        )
        print(f"  batches over the budget: {over} of {len(spent)}")


if __name__ == "__main__":
    main()
