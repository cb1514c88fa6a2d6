"""Calibrates a bundle: what its file answers to held-out texts decides how sure it may be.

Of several labels it decides from which probability each of them is given.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from tfdistill.agents.agent import Agent
from tfdistill.agents.tokenization.text_encoder import UnusableTextError, check_texts
from tfdistill.agents.trust.fitting import fit_confidence
from tfdistill.agents.trust.thresholds import best_thresholds, sigmoid
from tfdistill.bundles.bundle import Bundle
from tfdistill.bundles.model_card import state_confidence, state_thresholds

__all__ = ["calibrate_bundle", "calibrate_thresholds"]

_LEAST = 1e-12  # a threshold lies in (0, 1), and sigmoids may be 0 or 1


def calibrate_bundle(
    bundle: str | os.PathLike[str],
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    out_of_scope_texts: Sequence[str] | None = None,
    score: str | None = None,
    kept: float = 0.95,
) -> Bundle:
    """Fits a bundle's confidence to held-out texts and writes it into the bundle.

    The logits are those of the file itself, so what quantization does to them is in. A text without
    a word that the tokenizer knows gets no answer anyway and is left out.

    Args:
        bundle: A folder written by `tfdistill.save_bundle`; it is replaced as a whole.
        texts: Held-out texts of the classes: not those that the model was trained on.
        labels: The class of each text, by name.
        out_of_scope_texts: Texts that belong to no class, if there are any: a hundred are enough to
            choose score and threshold by them.
        score: As in `fit_confidence`.
        kept: As in `fit_confidence`.

    Returns:
        The bundle, opened again from disk, with its `confidence`.

    Raises:
        TypeError: If `texts` is not a list of str.
        ValueError: If there are not as many labels as texts, a label is none of the bundle's,
            no text has a known word, or the bundle answers something else than one class.
    """
    texts = check_texts(texts)
    agent = _opened(bundle, task="class", instead="calibrate_thresholds")
    number = {name: index for index, name in enumerate(agent.labels)}
    _check_count(labels, texts)
    unknown = sorted({str(label) for label in labels if label not in number})
    if unknown:
        raise ValueError(
            f"`labels` must be classes of the bundle. Received: {unknown[:6]}. Texts of no class "
            "go to `out_of_scope_texts`."
        )
    logits, shares, answered = _evidence(agent, texts)
    others: np.ndarray | None = None
    other_shares: np.ndarray | None = None
    if out_of_scope_texts is not None:
        others, other_shares, _ = _evidence(agent, check_texts(out_of_scope_texts))
    confidence = fit_confidence(
        logits,
        np.array([number[labels[place]] for place in answered]),
        unknown_shares=shares,
        out_of_scope_logits=others,
        out_of_scope_unknown_shares=other_shares,
        score=score,
        kept=kept,
    )
    return state_confidence(agent.path, confidence)


def calibrate_thresholds(
    bundle: str | os.PathLike[str], texts: Sequence[str], labels: Sequence[Collection[str]]
) -> Bundle:
    """Finds from which probability a bundle gives each of its labels, and writes it into it.

    Each label has the threshold of the best F1 on the held-out texts, see
    `tfdistill.agents.best_thresholds`; one that no held-out text has keeps 0.5. The probabilities
    are those of the file itself.

    Args:
        bundle: A folder written by `tfdistill.save_bundle(task="labels")`; it is replaced as a
            whole.
        texts: Held-out texts: not those that the model was trained on.
        labels: The names of the labels of each text; there may be none.

    Returns:
        The bundle, opened again from disk, with its `thresholds`.

    Raises:
        TypeError: If `texts` is not a list of str, or an entry of `labels` is a single str.
        ValueError: If there are not as many entries as texts, a label is none of the bundle's, no
            text has a known word, or the bundle does not answer with several labels.
    """
    texts = check_texts(texts)
    agent = _opened(bundle, task="labels", instead="calibrate_bundle")
    _check_count(labels, texts)
    number = {name: index for index, name in enumerate(agent.labels)}
    truth = np.zeros((len(texts), len(number)), bool)
    for row, names in enumerate(labels):
        if isinstance(names, str):
            raise TypeError(
                f"`labels` must be lists of names. Received: labels[{row}]={names!r} (str). Put a "
                "single name in a list."
            )
        unknown = sorted(str(name) for name in names if name not in number)
        if unknown:
            raise ValueError(
                f"`labels` must be labels of the bundle. Received: labels[{row}] with "
                f"{unknown[:6]}."
            )
        truth[row, [number[name] for name in names]] = True
    logits, _, answered = _evidence(agent, texts)
    found = best_thresholds(sigmoid(logits), truth[answered])
    return state_thresholds(agent.path, np.clip(found, _LEAST, 1 - _LEAST).tolist())


def _opened(bundle: str | os.PathLike[str], *, task: str, instead: str) -> Agent:
    agent = Agent(bundle)
    if agent.task != task:
        advice = "A number has nothing to calibrate." if agent.task == "number" else ""
        raise ValueError(
            f"`bundle` must be one with task={task!r}. Received: bundle={str(agent.path)!r} with "
            f"task={agent.task!r}. {advice or f'Call `{instead}`.'}"
        )
    return agent


def _check_count(labels: Sequence[Any], texts: Sequence[str]) -> None:
    if len(labels) != len(texts):
        raise ValueError(
            "`labels` must be one for each text. Received: "
            f"{len(labels)} labels for {len(texts)} texts."
        )


def _evidence(agent: Agent, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Returns logits `[N, C]`, unknown shares `[N]` and places of the texts that can be read."""
    logits, shares, places = [], [], []
    for place, text in enumerate(texts):
        try:
            row, share = agent.evidence(text)
        except UnusableTextError:
            continue
        logits.append(row)
        shares.append(share)
        places.append(place)
    if not places:
        raise ValueError(
            "`texts` must have words that the tokenizer knows. Received: "
            f"{len(texts)} texts without one, texts[0]={texts[0][:80]!r}."
        )
    return np.array(logits), np.array(shares), places
