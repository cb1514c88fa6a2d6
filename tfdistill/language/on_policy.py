"""On-policy distillation (GKD): the student generates text, and the teacher scores it.

A student that is trained on given text only meets its own mistakes for the first time when it is
used. Here the student itself continues a share of the batches from the beginning of their rows;
both models then read that text, and the student learns the teacher's logits on it.

References:
    Agarwal et al. "On-Policy Distillation of Language Models: Learning from Self-Generated
    Mistakes", 2023, algorithm 1. https://arxiv.org/abs/2306.13649
"""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdistill.distill.losses import logits
from tfdistill.language.packing import next_tokens
from tfdistill.language.sampling_in_training import Sampler

__all__ = ["generalized_loss", "on_policy_batches"]


def generalized_loss(beta: float) -> Any:
    """Makes the loss of GKD for `Distiller.compile(soft_loss=...)`.

    `jensen_shannon` with the share β of the teacher: 0 is the forward divergence, 1 the reverse.

    Args:
        beta: β, a float in [0, 1].

    Returns:
        A function of (teacher_logits, student_logits, *, temperature).

    Raises:
        TypeError: If `beta` is not a number.
        ValueError: If it is out of range.

    Example:
        >>> loss = generalized_loss(0.5)
        >>> float(loss(tf.zeros((1, 3)), tf.zeros((1, 3)), temperature=1.0)[0])
        0.0
    """
    _check_share(beta, argument="beta")

    def generalized(
        teacher_logits: tf.Tensor, student_logits: tf.Tensor, *, temperature: Any
    ) -> tf.Tensor:
        return logits.jensen_shannon(
            teacher_logits, student_logits, temperature=temperature, beta=beta
        )

    return generalized


def on_policy_batches(
    student: keras.Model,
    rows: Any,
    *,
    on_policy_fraction: float = 0.5,
    prompt_length: int = 8,
    temperature: float = 1.0,
    batch_size: int = 16,
    steps: int,
    seed: int = 0,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches for a `Distiller` with a teacher that answers, some written by the student.

    The student writes with the weights that it has when the batch is asked for: fit with
    `distiller.train_on_batch(ids, labels)` for each. In a batch that it wrote the prompt's labels
    are `IGNORED`, and compile with `alpha=0` or it would learn its own words as if they were right.

    Args:
        student: A language model of this package.
        rows: Token ids of text, int `[N, L]`.
        on_policy_fraction: Share of the batches that the student writes, in [0, 1]; whether a
            batch is one of them is drawn, as in the paper.
        prompt_length: Ids of a row that are kept as the prompt, an int in [1, L).
        temperature: Of the student's samples; 1 is the paper's.
        batch_size: Rows per batch.
        steps: Number of batches.
        seed: Seed of the order, of the choice and of the samples.

    Returns:
        An iterator of (ids, labels), int32 `[batch_size, L]` each.

    Raises:
        TypeError: If `on_policy_fraction` is not a number.
        ValueError: If an argument is out of range or the student no language model.
    """
    rows = np.asarray(rows, np.int32)
    _check_share(on_policy_fraction, argument="on_policy_fraction")
    if not 1 <= prompt_length < rows.shape[1]:
        raise ValueError(
            f"`prompt_length` must be an int in [1, {rows.shape[1]}), shorter than a row. "
            f"Received: prompt_length={prompt_length!r}."
        )
    sampler = Sampler(
        student,
        rows=batch_size,
        prompt_length=prompt_length,
        num_tokens=rows.shape[1] - prompt_length,
    )
    return _batches(rows, sampler, on_policy_fraction, prompt_length, temperature, steps, seed)


def _batches(
    rows: np.ndarray,
    sampler: Sampler,
    fraction: float,
    prompt_length: int,
    temperature: float,
    steps: int,
    seed: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    batch_size = sampler.rows
    for step in range(steps):
        rng = np.random.default_rng([seed, step])
        batch = rows[rng.choice(len(rows), batch_size, replace=len(rows) < batch_size)]
        labels = next_tokens(batch)
        if rng.random() < fraction:
            prompts = batch[:, :prompt_length]
            own = sampler(prompts, temperature=temperature, seed=int(rng.integers(2**31)))
            batch = np.concatenate([prompts, own.numpy()], axis=1)
            labels = next_tokens(batch, prompt_lengths=[prompt_length] * batch_size)
        yield batch, labels


def _check_share(value: object, *, argument: str) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"`{argument}` must be a float in [0, 1]. Received: {argument}={value!r}.")
    if not 0.0 <= float(value) <= 1.0:
        raise ValueError(
            f"`{argument}` must be a float in [0, 1]. Received: {argument}={value!r}. "
            "It is a share, not a percentage."
        )
