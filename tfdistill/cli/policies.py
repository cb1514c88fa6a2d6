"""`learn-policy`: from a team and requests with their answers to a policy for each budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfdistill.cli.errors import told, write

if TYPE_CHECKING:
    from tfdistill.rl.budget.record import TeamRecord
    from tfdistill.rl.budget.recording import LabeledRequest

__all__ = ["learn_policy"]


@click.command()
@click.argument("team", type=click.Path(path_type=Path))
@click.option(
    "--budget",
    "budgets",
    multiple=True,
    required=True,
    type=click.FloatRange(min=0.0, min_open=True),
    help="Calls to the best tier for each request; give it several times for a curve.",
)
@click.option(
    "--requests", "file", type=click.Path(path_type=Path), help="JSON lines: text, values."
)
@click.option("--record", type=click.Path(path_type=Path), help="Recorded answers, if there are.")
@click.option(
    "--requests-per-budget",
    default=20,
    show_default=True,
    type=click.IntRange(min=1),
    help="Requests in a row that share a budget.",
)
@click.option("--learner", type=click.Choice(["iql", "vdn", "qmix"]), default="vdn")
@click.option("--steps", default=15_000, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=0, type=click.IntRange(min=0))
@click.option("--out", default="runs/policy", show_default=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def learn_policy(
    team: Path,
    budgets: tuple[float, ...],
    file: Path | None,
    record: Path | None,
    requests_per_budget: int,
    learner: str,
    steps: int,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Learn where a team should spend a budget, and show whether a plain rule does as well.

    Each line of --requests is {"text": ..., "values": {field: the right answer}}, spans as
    [start, end, label]. All tiers answer all of them once, into OUT/record.jsonl. OUT/policy_B is
    the policy for --budget B. `tfdistill report OUT` shows the table again.

    Example: tfdistill learn-policy team/ --requests labeled.jsonl --budget 0.5 --budget 1
    """
    with told():
        from tfdistill import rl

        known = _recorded(team, file, record, out)
        classes = {"iql": rl.IQL, "vdn": rl.VDN, "qmix": rl.QMIX}
        rows, sentences = [], []
        for found in rl.learn_budgets(
            known,
            out,
            budgets=sorted(set(budgets)),
            learner_class=classes[learner],
            requests=requests_per_budget,
            steps=steps,
            seed=seed,
        ):
            rows += found
            sentences.append(rl.worth_it(found))
        rl.write_budget_report(out, rows, sentences=sentences)
        content = json.loads((out / "budget.json").read_text(encoding="utf-8"))
    text = (out / "budget.md").read_text(encoding="utf-8")
    write(content, as_json=as_json, text=f"{text}\nWritten: {out}")


def _recorded(team: Path, file: Path | None, record: Path | None, out: Path) -> TeamRecord:
    from tfdistill import rl
    from tfdistill.agents.team.folder import open_team

    opened = open_team(team)
    if (file is None) == (record is None):
        raise ValueError(
            f"One of --requests and --record must be given. Received: requests={file}, "
            f"record={record}."
        )
    out.mkdir(parents=True, exist_ok=True)
    if record is not None:
        return rl.TeamRecord.load(record, team=rl.team_fingerprint(opened))
    return rl.TeamEnv.record(opened, _labeled(file), out / "record.jsonl")


def _labeled(file: Any) -> list[LabeledRequest]:
    from tfdistill.rl.budget.recording import LabeledRequest

    found = []
    with file.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            try:
                content = json.loads(line)
                values = {str(f): _value(v) for f, v in content["values"].items()}
                sources = tuple(int(source) for source in content.get("sources", (number,)))
                found.append(LabeledRequest(str(content["text"]), values, sources=sources))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise ValueError(
                    'A request must be {"text": ..., "values": {field: answer}}. Received: line '
                    f"{number} of {str(file)!r} ({type(error).__name__}: {error})."
                ) from error
    return found


def _value(given: Any) -> Any:
    from tfdistill.agents.team.messages import Span

    return tuple(Span(*span) for span in given) if isinstance(given, list) else given
