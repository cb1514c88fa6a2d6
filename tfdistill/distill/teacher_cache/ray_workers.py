"""Who asks the teacher of a cache: this process, or several of Ray's, on several machines.

A worker gets the teacher as the bytes of a `.keras` file and the rows of one shard at a time; the
answers come back to this process, which alone writes files. So nothing has to be shared between
machines, and a worker that dies costs at most the shard that it was at: Ray starts it again.
"""

from __future__ import annotations

import collections
import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

import tfdistill
from tfdistill.cluster import session
from tfdistill.distill.teacher_cache.inference import make_asker
from tfdistill.distill.teacher_cache.logit_records import records

__all__ = ["answer_rows", "answers_of_workers", "check_finite", "open_teacher"]

Arrays = dict[str, np.ndarray]

# The folder that holds the package `tfdistill`: site-packages, or a checkout.
_PACKAGE_ROOT = str(Path(tfdistill.__file__).resolve().parents[1])
_READY_S = 120.0
# A teacher that kills its worker on some rows would be started again for ever.
_TRIES = 3


def answer_rows(
    ask: Callable[[Any], Arrays],
    x: Any,
    *,
    batch_size: int,
    top_k: int | None,
    first_row: int,
    advance: Callable[[int], object] = lambda rows: None,
) -> Arrays:
    """Asks a teacher about the rows of one shard.

    Args:
        ask: What `make_asker` returned.
        x: The inputs of the shard, rows first.
        batch_size: Rows per call.
        top_k: How many classes to keep, or None.
        first_row: Number of the first row among all, for messages.
        advance: Told the number of rows after each call.

    Returns:
        What is stored of the answers, rows first.

    Raises:
        ValueError: If an answer is NaN or infinite.
    """
    rows = len(keras.tree.flatten(x)[0])
    answers = []
    for start in range(0, rows, batch_size):
        taken = slice(start, start + batch_size)
        answers.append(ask(keras.tree.map_structure(lambda array, taken=taken: array[taken], x)))
        check_finite(answers[-1]["logits"], first_row=first_row + start)
        advance(len(answers[-1]["logits"]))
    whole = {name: np.concatenate([one[name] for one in answers]) for name in answers[0]}
    return {**records(whole.pop("logits"), top_k=top_k), **whole}


def check_finite(logits: np.ndarray, *, first_row: int) -> None:
    """Refuses answers that no student could learn from.

    Args:
        logits: Float array `[rows, ..., C]`. Minus infinity, an impossible class, is allowed
            beside a finite score.
        first_row: Number of the first row among all.

    Raises:
        ValueError: If a row holds NaN or plus infinity, or nothing but minus infinity.

    Example:
        >>> check_finite(np.float32([[0.0, 1.0], [np.nan, 0.0]]), first_row=64)
        Traceback (most recent call last):
            ...
        ValueError: `teacher` must return finite logits. Received: NaN or infinity in row 65 ...
    """
    bad = ~np.isfinite(logits.max(axis=-1)).reshape(len(logits), -1).all(axis=1)
    if bad.any():
        raise ValueError(
            "`teacher` must return finite logits. Received: NaN or infinity in row "
            f"{first_row + int(np.argmax(bad))} of `x` (counted from 0). Look at what it makes of "
            "that row; half precision that overflows is a usual cause. Shards that were written "
            "before are kept."
        )


def answers_of_workers(
    teacher: keras.Model,
    parts: Sequence[tuple[int, int, Any]],
    *,
    layers: Sequence[str],
    batch_size: int,
    top_k: int | None,
    workers: int,
) -> Iterator[tuple[int, Arrays]]:
    """Has Ray workers ask copies of a teacher, each about one shard at a time.

    A Ray session that runs is used and left running; else one is started for the time being.

    Args:
        teacher: A Keras 3 model that `keras.saving.load_model` can open in another process.
        parts: For each shard its number, its first row, and its inputs.
        layers: Whole paths of the layers to keep.
        batch_size: Rows per call of the teacher.
        top_k: How many classes to keep, or None.
        workers: Number of workers, at least 1.

    Yields:
        The number of a shard and its arrays, as they get ready.

    Raises:
        ImportError: If Ray is not installed.
        RuntimeError: If no worker starts, or workers die again and again on the same rows.
        ValueError: If a worker cannot open the teacher, or an answer is NaN or infinite.
    """
    if not parts:
        return
    model = _keras_file(teacher)
    started = session.acquire()
    ray = session.import_ray()
    actors = []
    try:
        # In a list, because only a worker that has just started, or started again, fetches it.
        stored = [ray.put(model)]
        for _ in range(min(workers, len(parts))):
            actors.append(_worker_class().remote(_PACKAGE_ROOT, list(layers)))
        settings = {"stored": stored, "batch_size": batch_size, "top_k": top_k}
        yield from _hand_out(ray, actors, list(parts), settings)
    finally:
        for actor in actors:
            ray.kill(actor, no_restart=True)
        if started:
            session.release(started)


def _hand_out(
    ray: Any, actors: list[Any], parts: list[tuple[int, int, Any]], settings: dict[str, Any]
) -> Iterator[tuple[int, Arrays]]:
    """Gives the next shard to whichever worker is free, and again those whose worker died."""
    died = ray.exceptions.RayActorError
    opening = {actor.open.remote(settings["stored"]): actor for actor in actors}
    running: dict[Any, tuple[Any, tuple[int, int, Any]]] = {}
    waiting = list(reversed(parts))
    deaths: collections.Counter[int] = collections.Counter()
    deadline = time.monotonic() + _READY_S
    while waiting or running:
        done, _ = ray.wait([*opening, *running], timeout=1.0)
        if not running and not done and time.monotonic() > deadline:
            free = ray.available_resources().get("CPU", 0.0)
            raise RuntimeError(
                f"Workers must be ready within {_READY_S:.0f} s. Received: workers={len(actors)}, "
                f"of which none is, with {free:g} free CPUs. Ask for fewer, or free some."
            )
        for reference in done:
            try:
                result = _result(ray, reference)
            except died as error:
                # A call that comes too early fails at once, so give Ray time to start it again.
                time.sleep(0.2)
                actor = opening.pop(reference, None)
                if actor is None:
                    actor, part = running.pop(reference)
                    deaths[part[0]] += 1
                    if deaths[part[0]] == _TRIES:
                        raise RuntimeError(_deadly(part[1])) from error
                    waiting.append(part)
                    deadline = time.monotonic() + _READY_S
                opening[actor.open.remote(settings["stored"])] = actor
                continue
            if reference in opening:
                actor = opening.pop(reference)
            else:
                actor, part = running.pop(reference)
                yield part[0], result
            if waiting:
                part = waiting.pop()
                answer = actor.answer.remote(part[2], first_row=part[1], **settings)
                running[answer] = (actor, part)


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise ValueError(str(error.cause)) from error


def _deadly(row: int) -> str:
    return (
        f"Workers must survive their rows. Received: {_TRIES} deaths of a worker at the shard that "
        f"begins with row {row} of `x`. Too little memory is a usual cause: ask for fewer workers "
        "or a smaller batch_size. Shards that were written before are kept."
    )


def _keras_file(teacher: keras.Model) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "teacher.keras")
        teacher.save(path)
        return Path(path).read_bytes()


def open_teacher(model: bytes, layers: Sequence[str]) -> Callable[[Any], Arrays]:
    """Makes an asker from the bytes of a `.keras` file.

    Args:
        model: The file.
        layers: Whole paths of the layers to keep.

    Returns:
        What `make_asker` returns.

    Raises:
        ValueError: If Keras cannot open it in this process.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "teacher.keras")
        Path(path).write_bytes(model)
        try:
            teacher = keras.saving.load_model(path, compile=False)
        except (ImportError, TypeError, ValueError) as error:
            raise ValueError(
                "`teacher` must be a model that Keras can open in a fresh process, for workers "
                f"above 1. Received: {str(error).splitlines()[0]} Use built-in layers, or "
                "workers=1."
            ) from error
    return make_asker(teacher, layers=layers)


@functools.cache
def _worker_class() -> Any:
    """Makes the class inside a function, so that Ray sends it as it is and not by name."""
    ray = session.import_ray()

    class CacheWorker:
        def __init__(self, package_root: str, layers: list[str]) -> None:
            import os
            import sys

            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
            if package_root not in sys.path and os.path.isdir(package_root):
                sys.path.insert(0, package_root)
            self._layers = layers
            self._ask: Any = None

        def open(self, stored: list[Any]) -> None:
            """Opens the teacher; a worker that was started again does so at its next shard."""
            import ray

            pass

            if self._ask is None:
                self._ask = open_teacher(ray.get(stored[0]), self._layers)

        def answer(self, x: Any, *, stored: list[Any], **settings: Any) -> Any:
            """Answers one shard."""
            pass

            self.open(stored)
            return answer_rows(self._ask, x, **settings)

    return ray.remote(max_restarts=-1, max_task_retries=0)(CacheWorker)
