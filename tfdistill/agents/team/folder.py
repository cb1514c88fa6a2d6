"""A team as a folder: models, tokenizers, and one manifest that says who does what.

    team/manifest.json        "kind": "team", the plan, the agents, the SHA-256 of each file
    team/small/model.tflite   one sub-folder per file of heads
    team/small/tokenizer.json
    team/writer/...           the bundle of a language model, if an agent writes
    team/policy/              a learned policy, if there is one (`deploy_policy`)

There is no code in it and nothing is unpickled: an agent is one of the kinds below, made from its
settings. Only sub-folders and file names of a fixed form are opened, never a path.
With a learned policy and a budget in the folder every worker of a pool opens with both.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tfdistill.agents.team.heads import Classifier, HeadFile, Tagger
from tfdistill.agents.team.learned_policy import LearnedPolicy, open_policy
from tfdistill.agents.team.member import Member
from tfdistill.agents.team.plan import Plan
from tfdistill.agents.team.policy import Budget
from tfdistill.agents.team.slot_writer import SlotWriter
from tfdistill.agents.team.team import Team
from tfdistill.agents.team.verifier import Verifier
from tfdistill.bundles.bundle import MANIFEST
from tfdistill.bundles.language import open_language_bundle
from tfdistill.files.folder import FolderKind, check_place, replacing_folder
from tfdistill.files.records import FileRecord, check_file, record_of, safe_file

__all__ = ["POLICY", "deploy_policy", "open_team", "read_manifest", "save_team"]

POLICY = "policy"  # the sub-folder of a learned policy; no file of heads has that name
_FORMAT = 1
_FOLDER = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_OWN = re.compile(r"[a-z][a-z0-9_]{0,63}/(model\.tflite|tokenizer\.json|card\.md|manifest\.json)\Z")
_FILES = {"model.tflite": 2**31, "tokenizer.json": 64 * 2**20}
_BUNDLE_FILES = (*_FILES, "card.md", MANIFEST)  # of a language model, which checks them again
_LARGEST_MANIFEST = 16 * 2**20
_POLICY_FILES = ("policy.json", "policy.tflite")
_HEADS: dict[str, Callable[..., Member]] = {"classifier": Classifier, "tagger": Tagger}


def save_team(
    path: str | os.PathLike[str],
    *,
    plan: Plan,
    files: Mapping[str, tuple[str | os.PathLike[str], str | os.PathLike[str]]],
    agents: Mapping[str, Sequence[Mapping[str, Any]]],
    bundles: Mapping[str, str | os.PathLike[str]] | None = None,
    sample_text: str | None = None,
) -> Team:
    """Writes a team as a folder that any process opens with `open_team`, and opens it.

    Args:
        path: The folder to write. A team that is already there is replaced.
        plan: The plan.
        files: For each sub-folder, by its name, a `.tflite` file and its `tokenizer.json`.
        agents: For each step of the plan its agents, cheapest first, as settings: `agent` is
            "classifier", "tagger", "verifier" or "slot_writer"; the rest are the arguments of
            `Classifier`, `Tagger` (with `file`, a name of `files`), `Verifier` or `SlotWriter`
            (with `bundle`, a name of `bundles`).
        bundles: For each sub-folder of a writer the bundle of its language model.
        sample_text: A request to measure with.

    Returns:
        The team, opened from the folder.

    Raises:
        FileExistsError: If something else is at `path`.
        ValueError: If a name has another form, the settings of an agent are not those of its
            kind, or an agent or the plan does not fit.
    """
    target = check_place(path, replaces=_TEAMS, what="team")
    bundles = bundles or {}
    for name in (*files, *bundles):
        if not isinstance(name, str) or not _FOLDER.match(name) or name == POLICY:
            raise ValueError(
                "`files` and `bundles` must have names of lower-case letters, digits and _, and "
                f"not {POLICY!r}. Received: {name!r}. Choose another name."
            )
    sources = {name: open_language_bundle(bundle).path for name, bundle in bundles.items()}
    if shared := sorted(set(files) & set(sources)):
        raise ValueError(
            f"`bundles` must not have the names of `files`. Received: {shared} in both. Choose "
            "other names."
        )
    with replacing_folder(target, replaces=_TEAMS, what="team", reopen=open_team) as folder:
        for name, pair in files.items():
            (folder / name).mkdir()
            for source, file in zip(pair, _FILES, strict=True):
                shutil.copyfile(source, folder / name / file)
        for name, source in sources.items():
            (folder / name).mkdir()
            for file in _BUNDLE_FILES:
                shutil.copyfile(source / file, folder / name / file)
        content = {
            "format": _FORMAT,
            "kind": "team",
            "plan": plan.to_dict(),
            "agents": {step: [dict(settings) for settings in who] for step, who in agents.items()},
            "sample_text": sample_text,
            "files": {name: asdict(record_of(folder / name)) for name in _contents(files, sources)},
            "bundles": sorted(sources),
        }
        _write_manifest(folder, content)
    return open_team(target)


def open_team(path: str | os.PathLike[str], *, threads: int = 1, **settings: Any) -> Team:
    """Opens a team's folder.

    Args:
        path: The folder, as `save_team` wrote it. Every file of an agent is checked against its
            hash. A policy that it holds and that cannot be used (its own manifest has its hash) is
            replaced by thresholds, with a warning.
        threads: Threads for one run of a model.
        **settings: What `Team` takes besides: `policy`, `budget`, `max_rounds` and so on; they go
            before the policy and the budget of the folder.

    Returns:
        The team.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If it is no team, or a file is missing, changed, or not where it should be.

    Example:
        >>> open_team("no/such/folder")
        Traceback (most recent call last):
        ...
        FileNotFoundError: `path` must be an existing team folder. Received: path='no/such/folder'.
    """
    if not Path(path).is_dir():
        raise FileNotFoundError(
            f"`path` must be an existing team folder. Received: path={str(path)!r}."
        )
    folder = Path(path).resolve()
    content = read_manifest(folder)
    try:
        records = {str(name): dict(record) for name, record in content["files"].items()}
        bundles = {str(name) for name in content.get("bundles", ())}
        names = sorted({name.partition("/")[0] for name in records} - bundles)
        wanted = _contents(names, bundles)
        if set(records) != set(wanted) or not all(map(_FOLDER.match, (*names, *bundles))):
            raise ValueError(f"files {sorted(records)[:6]}")
        plan = Plan.from_dict(content["plan"])
        described = {
            str(step): [dict(each) for each in who] for step, who in content["agents"].items()
        }
        sample = content["sample_text"]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _damaged(folder, f"{type(error).__name__}: {error}") from error
    for name, record in records.items():
        stated = FileRecord(record.get("sha256", ""), record.get("size_bytes", -1))
        largest = _FILES.get(name.partition("/")[2], _LARGEST_MANIFEST)
        check_file(folder, name, stated, largest=largest, what="team")
    files = {
        name: HeadFile(
            folder / name / "model.tflite", folder / name / "tokenizer.json", threads=threads
        )
        for name in names
    }
    writers = {name: folder / name for name in bundles}
    try:
        agents = {
            step: [_make(dict(each), files, writers, threads) for each in who]
            for step, who in described.items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, f"agents ({type(error).__name__}: {error})") from error
    if content.get("policy") is True and "policy" not in settings:
        if (folder / POLICY).is_symlink():
            raise _damaged(folder, f"{POLICY} is a link")
        settings["policy"] = open_policy(folder / POLICY, members=agents)
    if "budget" in content and "budget" not in settings:
        try:
            settings["budget"] = Budget(**content["budget"])
        except (TypeError, AttributeError, ValueError) as error:
            raise _damaged(folder, f"budget ({error})") from error
    team = Team(agents=agents, plan=plan, path=folder, **settings)
    team.sample = sample if isinstance(sample, str) else None
    return team


def _own_names(content: Mapping[str, Any]) -> list[str]:
    """Names the files of a team as its manifest lists them, those of a policy included."""
    listed = [name for name in content["files"] if _OWN.match(name)]
    policy = [f"{POLICY}/{file}" for file in _POLICY_FILES]
    return listed + (policy if content.get("policy") is True else [])


# A team's manifest has stated its kind from the beginning.
_KEYS = frozenset({"format", "kind", "plan", "agents", "files"})
_TEAMS = (FolderKind("team", _own_names, _KEYS, MANIFEST).own_files,)


def _write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _contents(files: Iterable[str], bundles: Iterable[str]) -> list[str]:
    """Names the files of a team, relative to its folder."""
    own = [f"{name}/{file}" for name in files for file in _FILES]
    return own + [f"{name}/{file}" for name in bundles for file in _BUNDLE_FILES]


def _make(
    settings: dict[str, Any],
    files: Mapping[str, HeadFile],
    writers: Mapping[str, Path],
    threads: int,
) -> Member:
    kind = settings.pop("agent")
    if kind in ("slot_writer", "writer"):  # "writer": as earlier versions wrote it
        return SlotWriter(writers[settings.pop("bundle")], threads=threads, **settings)
    if kind == "verifier":
        return Verifier(settings.pop("compatible"), **settings)
    if kind not in _HEADS:
        raise TypeError(f"no agent is a {kind!r}")
    return _HEADS[kind](files[settings.pop("file")], **settings)


def read_manifest(folder: Path) -> Any:
    """Reads what a team's folder says it is; the rest of the folder is not looked at.

    Raises:
        ValueError: If it is no team's.
    """
    path = safe_file(folder, MANIFEST, largest=_LARGEST_MANIFEST, what="team")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kind, version = content["kind"], content["format"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise _damaged(folder, f"{type(error).__name__}: {error}") from error
    if kind != "team" or version != _FORMAT:
        raise _damaged(folder, f"kind {kind!r} of format {version!r}")
    return content


def _damaged(folder: Path, reason: str) -> ValueError:
    return ValueError(
        f"{MANIFEST} in {str(folder)!r} must describe a team of format {_FORMAT}. Received one "
        f"that does not ({reason}). Write it with `save_team`."
    )


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
        ValueError: If the policy does not know the team, the budget limits a tier that the team
            does not have, or a folder is damaged.
    """
    target = check_place(path, replaces=(), what="team")
    source = Path(team).resolve()
    known = open_team(source, policy=LearnedPolicy(policy), budget=budget)

    def reopen(folder: Path) -> None:
        open_team(folder).policy.check(known.members)  # type: ignore[attr-defined]

    with replacing_folder(target, replaces=(), what="team", reopen=reopen) as folder:
        content = read_manifest(source)
        for name in content["files"]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, folder / name)
        (folder / POLICY).mkdir()
        for file in _POLICY_FILES:
            shutil.copyfile(Path(policy) / file, folder / POLICY / file)
        content |= {"policy": True, "budget": dataclasses.asdict(budget)}
        _write_manifest(folder, content)
    return open_team(target)
