"""A team's folder with a learned policy and a budget in it: every worker opens with both."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path

from tfdistill.agents.learned_policy import LearnedPolicy
from tfdistill.agents.policy import Budget
from tfdistill.agents.team import Team
from tfdistill.agents.team_folder import POLICY, open_team, read_manifest
from tfdistill.export.folder import check_free, put_in_place
from tfdistill.export.manifest import MANIFEST

__all__ = ["deploy_policy"]


def deploy_policy(
    team: str | os.PathLike[str],
    policy: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    budget: Budget,
) -> Team:
    """Writes a team's folder anew with a policy and a budget, for pools on threads and in Ray.

    Each worker of a pool opens the folder and counts its own batches: with W workers at most W
    batches are on their way at once, and none of them passes the budget.

    Args:
        team: A team's folder.
        policy: A policy's folder, as `tfdistill.rl.export_policy` wrote it.
        path: The folder to write.
        budget: What a request, or a batch of requests in a row, may cost.

    Returns:
        The team, opened from `path`.

    Raises:
        FileExistsError: If something is at `path`.
        ValueError: If the policy does not know the team, or a folder is damaged.
    """
    target, source = check_free(path), Path(team).resolve()
    known = open_team(source, policy=LearnedPolicy(policy))
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name[:40]}-") as scratch:
        folder = Path(scratch) / "team"
        content = read_manifest(source)
        for name in content["files"]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, folder / name)
        (folder / POLICY).mkdir()
        for file in ("policy.json", "policy.tflite"):
            shutil.copyfile(Path(policy) / file, folder / POLICY / file)
        content |= {"policy": True, "budget": dataclasses.asdict(budget)}
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8")
        open_team(folder).policy.check(known.members)  # type: ignore[attr-defined]
        put_in_place(folder, target, scratch=Path(scratch))
    return open_team(target)
