"""What a budget buys: every rule and the learned policy at several budgets, as table and picture.

Half of the requests is reported on and never used otherwise; of the other half 60 % are learned
from and 40 % choose what is kept.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfdistill.files.atomic import replacing
from tfdistill.reports.figures import new_figure
from tfdistill.rl.budget.baselines import best_behavior_policy, rules
from tfdistill.rl.budget.calibration import Calibration
from tfdistill.rl.budget.evaluation import Evaluation, cluster_interval, evaluate
from tfdistill.rl.budget.game import BudgetGame
from tfdistill.rl.budget.policy_export import export_policy
from tfdistill.rl.budget.record import TeamRecord
from tfdistill.rl.budget.training import learn_policy, policy_on
from tfdistill.rl.learners.value_decomposition import IQL

__all__ = ["BudgetRow", "learn_budgets", "worth_it", "write_budget_report"]

LEARNED = "learned"
_COLORS = {LEARNED: "#e03131", "oracle": "#adb5bd"}
_OTHERS = ("#4c6ef5", "#868e96", "#f08c00", "#2b8a3e", "#ae3ec9", "#0c8599", "#5c940d", "#343a40")


@dataclasses.dataclass(frozen=True)
class BudgetRow:
    """One policy under one budget.

    Attributes:
        budget: Calls to the last tier for each request of a batch, on average at most.
        policy: Its name.
        score: Fraction of requests that are right as a whole.
        low: Lower end of the 95 % interval of `score`.
        high: Upper end.
        ms: Mean milliseconds of a request's answers.
        calls: Calls that were made for each request.
        violations: Batches that passed the budget.
        ahead: Mean difference of the learned policy to this one, and its interval.
    """

    budget: float
    policy: str
    score: float
    low: float
    high: float
    ms: float
    calls: float
    violations: int
    ahead: tuple[float, float, float]


def learn_budgets(
    record: TeamRecord,
    folder: str | os.PathLike[str],
    *,
    budgets: Sequence[float],
    learner_class: type[IQL],
    requests: int = 20,
    steps: int = 15_000,
    seed: int = 0,
) -> Iterator[list[BudgetRow]]:
    """Learns a policy for each budget, exports it, and compares it with every rule.

    Args:
        record: The answers of all tiers.
        folder: Where the policies go: `policy_0.5/` for a budget of 0.5.
        budgets: Calls for each request: ⌊b · requests⌋ are shared by a batch.
        learner_class: `IQL`, `VDN` or `QMIX`.
        requests: Requests in a batch.
        steps: Environment steps of learning.
        seed: Seed of the split and the learner.

    Yields:
        The rows of one budget, the learned policy first.

    Raises:
        ValueError: If a budget does not pay for one call, or there are too few requests.
    """
    test, dev = record.split(fraction=0.5, seed=seed)
    train, validation = dev.split(fraction=0.6, seed=seed)
    if min(len(test), len(train), len(validation)) < requests:
        raise ValueError(
            f"`record` must have enough requests for batches of {requests}: at least "
            f"{requests * 5}. Received: {len(record)}."
        )
    calibration = Calibration.fit(train)
    for budget in budgets:
        share: dict[str, Any] = {
            "calls": int(np.floor(budget * requests + 1e-9)),
            "requests": requests,
            "calibration": calibration,
        }
        games = [BudgetGame(part, **share) for part in (test, dev, train, validation)]
        drill = BudgetGame(train, practice=True, relative=True, **share)
        name, rule = best_behavior_policy(games[2], held_out=games[3])
        learner, _ = learn_policy(
            learner_class,
            drill,
            validation=games[3],
            behavior_policy=dataclasses.replace(rule, game=drill),  # type: ignore[type-var]
            steps=steps,
            seed=seed,
            hidden_dim=32,
        )
        found = rules(games[0], known=games[1])
        learned = evaluate(games[0], policy_on(learner, games[0]))
        least = {step: 0.9 for step in dict.fromkeys(record.steps)}
        limits = getattr(found["thresholds"], "limits", ())
        for step, limit in zip(least, limits, strict=True):
            least[step] = float(np.clip(1.0 - limit, 0.0, 1.0))
        export_policy(learner, Path(folder) / f"policy_{budget:g}", thresholds=least)
        rows = [_row(budget, f"{LEARNED} (from {name})", learned, learned, test)]
        yield rows + [
            _row(budget, rule, evaluate(games[0], policy), learned, test)
            for rule, policy in found.items()
        ]


def worth_it(rows: Sequence[BudgetRow]) -> str:
    """Says in one sentence whether learning is worth it under one budget.

    Args:
        rows: The rows of one budget, as `learn_budgets` yields them.
    """
    rivals = {
        row.policy: row.ahead
        for row in rows[1:]
        if row.policy in ("thresholds", "knn", "agreement", "auction", "planner")
    }
    where = f"With {rows[0].budget:g} calls a request"
    better = [name for name, (_, _, high) in rivals.items() if high < 0]
    if better:
        return f"{where} Q-learning is not worth it: {', '.join(better)} did better."
    if all(low > 0 for _, low, _ in rivals.values()):
        return f"{where} Q-learning is worth it: it did better than every rule."
    level = [name for name, (_, low, _) in rivals.items() if low <= 0]
    return f"{where} Q-learning is not needed: {', '.join(level)} did as well within the interval."


def write_budget_report(
    folder: str | os.PathLike[str], rows: Sequence[BudgetRow], *, sentences: Sequence[str]
) -> Path:
    """Writes `budget.json`, `budget.md` and `budget.png`.

    Args:
        folder: Where to; made if it does not exist.
        rows: The rows of all budgets.
        sentences: What is to be said about them.

    Returns:
        The folder.

    Raises:
        ImportError: If matplotlib is missing; the other two files are written by then.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    content = {"rows": [dataclasses.asdict(row) for row in rows], "sentences": list(sentences)}
    with replacing(target / "budget.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", "utf-8")
    lines = [
        "| budget | policy | all right | ms | calls | violations |",
        "|--:|---|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row.budget:g} | {row.policy} | {row.score:.3f} [{row.low:.3f}, {row.high:.3f}] | "
        f"{row.ms:.2f} | {row.calls:.3f} | {row.violations} |"
        for row in rows
    ]
    with replacing(target / "budget.md") as temporary:
        text = "\n".join([*lines, "", *(f"* {line}" for line in sentences)])
        temporary.write_text(text + "\n", "utf-8")
    with replacing(target / "budget.png") as temporary:
        _draw(rows, temporary)
    return target


def _row(
    budget: float, name: str, own: Evaluation, learned: Evaluation, test: TeamRecord
) -> BudgetRow:
    count = len(test)
    mine, other = learned.by_request(count), own.by_request(count)
    score, low, high = cluster_interval(other, test.sources)
    made = float(own.calls.mean() / own.requests.shape[1])
    ahead = cluster_interval(mine - other, test.sources)
    cost = float(own.cost_ms.mean())
    return BudgetRow(budget, name, score, low, high, cost, made, own.violations, ahead)


def _draw(rows: Sequence[BudgetRow], path: Path) -> None:
    figure = new_figure(width=9.6, height=4.0)
    left, right = figure.subplots(1, 2, sharey=True)
    groups: dict[str, list[BudgetRow]] = {}
    for row in rows:
        groups.setdefault(LEARNED if row.policy.startswith(LEARNED) else row.policy, []).append(row)
    colors = iter(_OTHERS)
    for name, group in groups.items():
        color = _COLORS.get(name) or next(colors)
        style: dict[str, Any] = {"color": color, "marker": "o", "markersize": 4, "label": name}
        style |= {
            "linewidth": 2.4 if name == LEARNED else 1.2,
            "zorder": 3 if name == LEARNED else 2,
        }
        scores = [row.score for row in group]
        left.plot([row.budget for row in group], scores, **style)
        right.plot([row.ms for row in group], scores, **style)
    left.set(xlabel="calls allowed per request", ylabel="requests that are right as a whole")
    right.set(xlabel="mean milliseconds per request", xscale="log")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.canvas.print_png(path)
