"""Calibrates a bundle: what its file answers to held-out texts decides how sure it may be."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from tfdistill.agents.agent import Agent
from tfdistill.agents.tokenization.text_encoder import UnusableTextError, check_texts
from tfdistill.agents.trust.fitting import fit_confidence
from tfdistill.bundles.bundle import Bundle
from tfdistill.bundles.model_card import state_confidence

__all__ = ["calibrate_bundle"]


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
        ValueError: If there are not as many labels as texts, a label is none of the bundle's, or
            no text has a known word.
    """
    texts = check_texts(texts)
    agent = Agent(bundle)
    number = {name: index for index, name in enumerate(agent.labels)}
    if len(labels) != len(texts):
        raise ValueError(
            "`labels` must be one for each text. Received: "
            f"{len(labels)} labels for {len(texts)} texts."
        )
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
