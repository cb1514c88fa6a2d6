"""Lanes whose agents live in Ray worker processes, and what happens when one of them dies.

Ray places, starts and restarts the processes. Whose fault a death was is decided here:

1. A batch whose worker died goes back to the queue, and its texts become *suspects*: from then on
   each is run by itself, and the worker says "started" before it touches it.
2. A death after "started" is charged to that text. Other texts are never charged.
3. From its second charge on a text is run on a worker that has nothing else to do. When three
   workers have died there, each within 100 ms, the text is *quarantined*: its future receives a
   `QuarantinedTextError`, and everything else goes on. Processes that are killed from outside do
   not fit this pattern.
4. A text that is slower to kill would be tried for ever. It is given up after `_MAX_CHARGES`.

Ray takes two seconds to report a death to somebody who waits for an answer (it hopes to learn the
cause), though the next process answers after a tenth of that. So a lane that waits asks for a
pulse now and then, and a pulse of another incarnation means that the answer will not come.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from typing import Any

from tfdistill.agents import ray_session, ray_worker
from tfdistill.agents.executors import LaneLostError
from tfdistill.agents.work import WorkItem, WorkQueue

__all__ = ["QuarantinedTextError", "RayLane", "open_ray_lanes"]

_READY_S = 60.0
_PULSE_S = 0.1
_QUICK_S = 0.1
_MAX_CHARGES = 20


class QuarantinedTextError(RuntimeError):
    """Says that a text ends the process that works on it, and will not be tried again."""


class _WorkerLostError(Exception):
    """The process behind a lane is gone, and with it the answer that was awaited."""


class RayLane:
    """A lane that answers with a worker process of Ray.

    Args:
        actor_class: The worker as a Ray actor class, with its options.
        bundle: Absolute path of the bundle folder.
        threads: Threads for one call of the model.
    """

    def __init__(self, actor_class: Any, *, bundle: str, threads: int) -> None:
        self._ray = ray_session.import_ray()
        self._actor_class = actor_class
        self._arguments = (ray_worker.PACKAGE_ROOT, bundle, threads)
        self._actor = actor_class.remote(*self._arguments)
        self._incarnation = ""
        self._pid = 0
        self._state = "starting"
        self._restarts = 0

    def serve(self, items: list[WorkItem], queue: WorkQueue) -> None:
        """Has the worker answer the items, and deals with its death."""
        try:
            if items[0].suspect:
                self._serve_suspect(items[0], queue)
            else:
                self._serve_batch(items, queue)
        except BaseException:
            self._state = "lost"
            raise

    def describe(self) -> dict[str, Any]:
        """Returns the process id, the state and the number of restarts."""
        return {"pid": self._pid, "state": self._state, "restarts": self._restarts}

    def close(self) -> None:
        """Ends the worker process."""
        self._state = "closed"
        if not self._ray.is_initialized():
            return
        # The session that had the worker may be gone, and another one running in its place.
        with contextlib.suppress(self._ray.exceptions.ActorHandleNotFoundError):
            self._ray.kill(self._actor, no_restart=True)

    def wait_ready(self, *, deadline: float) -> None:
        """Waits until the worker answers, and remembers its incarnation.

        Args:
            deadline: Latest moment on the clock of `time.monotonic`.

        Raises:
            TimeoutError: If it has not answered by then.
            LaneLostError: If it cannot start, such as for a bundle that is gone.
        """
        exceptions = self._ray.exceptions
        while (left := deadline - time.monotonic()) > 0:
            probe = self._actor.pulse.remote()
            # A probe that is sent while the process is restarted hangs for two seconds; the next
            # one does not.
            if not self._ray.wait([probe], timeout=min(left, 0.5))[0]:
                continue
            try:
                incarnation, self._pid = self._ray.get(probe)
            except exceptions.ActorDiedError as error:
                raise LaneLostError(
                    f"A worker of the AgentPool could not start: {_last_line(error)}"
                ) from error
            except exceptions.RayActorError:  # on its way up
                time.sleep(0.02)
                continue
            if self._incarnation and incarnation != self._incarnation:
                self._restarts += 1
            self._incarnation = incarnation
            self._state = "ready"
            return
        raise TimeoutError

    def time_handover(self) -> float:
        """Measures how long an empty batch takes, in seconds (median of 9)."""
        times = []
        for _ in range(9):
            start = time.perf_counter()
            self._ray.get(self._actor.run.remote(self._incarnation, []))
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    def _serve_batch(self, items: list[WorkItem], queue: WorkQueue) -> None:
        reference = self._actor.run.remote(self._incarnation, [item.text for item in items])
        try:
            answers = self._await(reference)
        except _WorkerLostError:
            _suspect(items, queue)
            self._revive()
            return
        except self._ray.exceptions.RayTaskError:  # no answers, though the worker lives
            _suspect(items, queue)
            return
        if answers is None:
            queue.put_back(items)
            self._revive()
            return
        for item, answer in zip(items, answers, strict=True):
            queue.finish(item, answer)

    def _serve_suspect(self, item: WorkItem, queue: WorkQueue) -> None:
        # One message at a time: the worker goes on when we hold the one before.
        messages = self._actor.run_alone.options(
            num_returns="streaming", _generator_backpressure_num_objects=1
        ).remote(self._incarnation, item.text, _QUICK_S)
        kinds: list[str] = []
        try:
            while True:
                kind, answer = self._await_next(messages)
                if kind == "answer":
                    queue.finish(item, answer)
                    return
                kinds.append(kind)
                if kind == "stale":
                    queue.put_back([item])
                    self._revive()
                    return
        except self._ray.exceptions.RayTaskError as error:
            text = f"The text {_shown(item.text)} failed: {_last_line(error)}"
            queue.finish(item, RuntimeError(text))
            return
        except _WorkerLostError:
            if "started" in kinds:
                _charge(item, quick="slow" not in kinds)
            verdict = _verdict(item)
            if verdict is None:
                queue.put_back([item])
            else:
                queue.finish(item, verdict)
        self._revive()

    def _await(self, reference: Any) -> Any:
        """Returns the value behind a reference, unless the worker that owes it has died."""
        while not self._ray.wait([reference], timeout=_PULSE_S)[0]:
            self._raise_if_replaced(reference)
        return self._get(reference)

    def _await_next(self, messages: Any) -> Any:
        while not self._ray.wait([messages], timeout=_PULSE_S)[0]:
            self._raise_if_replaced(messages)
        try:
            return self._get(next(messages))
        except StopIteration as error:
            raise _WorkerLostError from error

    def _raise_if_replaced(self, awaited: Any) -> None:
        probe = self._actor.pulse.remote()
        ready, _ = self._ray.wait([probe, awaited], num_returns=1, timeout=_PULSE_S)
        if probe in ready and self._get(probe)[0] != self._incarnation:
            raise _WorkerLostError

    def _get(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayActorError as error:
            raise _WorkerLostError from error

    def _revive(self) -> None:
        """Waits for the restarted worker, or starts a new one where Ray gave it up."""
        self._state = "restarting"
        deadline = time.monotonic() + _READY_S
        try:
            try:
                self.wait_ready(deadline=deadline)
            except LaneLostError:
                # Killed for good from outside (`ray.kill`), or its node is gone.
                self._actor = self._actor_class.remote(*self._arguments)
                self.wait_ready(deadline=deadline)
        except (LaneLostError, TimeoutError) as error:
            raise LaneLostError(
                f"The workers of this AgentPool are gone and do not come back: {error}. Look at "
                "the bundle and at Ray's logs, then create a new AgentPool."
            ) from error


def open_ray_lanes(bundle: str, *, num_agents: int, threads: int) -> list[RayLane]:
    """Starts worker processes and waits until all of them answer.

    Args:
        bundle: Absolute path of the bundle folder.
        num_agents: How many.
        threads: Threads for one call of the model.

    Raises:
        RuntimeError: If they are not ready within 60 s, naming requested and free CPUs, or one
            cannot start.
    """
    ray = ray_session.import_ray()
    actor_class = ray.remote(concurrency_groups={"health": 1})(
        ray_worker.make_pool_worker()
    ).options(**ray_worker.WORKER_OPTIONS)
    lanes = [RayLane(actor_class, bundle=bundle, threads=threads) for _ in range(num_agents)]
    deadline = time.monotonic() + _READY_S
    ready = 0
    try:
        for lane in lanes:
            lane.wait_ready(deadline=deadline)
            ready += 1
    except BaseException as error:
        for lane in lanes:
            lane.close()
        if not isinstance(error, TimeoutError):
            raise
        raise RuntimeError(
            f"The workers of the AgentPool were not ready within {_READY_S:g} s: {ready} of "
            f"{num_agents} answered. Each asks Ray for 1 CPU to start and holds none afterwards. "
            f"Requested CPUs: {num_agents - ready}. Free CPUs: "
            f"{ray.available_resources().get('CPU', 0.0):g} of "
            f"{ray.cluster_resources().get('CPU', 0.0):g}. End what holds them (actors made with "
            "`num_cpus=`), or use executor='threads'."
        ) from error
    return lanes


def _suspect(items: list[WorkItem], queue: WorkQueue) -> None:
    for item in items:
        item.suspect = True
    queue.put_back(items)


def _charge(item: WorkItem, *, quick: bool) -> None:
    # A lane runs a suspect only when its worker has nothing else; what counts as "alone" is the
    # attempt after the second charge.
    if item.charges >= 2 and quick:
        item.lonely_charges += 1
    item.charges += 1


def _verdict(item: WorkItem) -> Exception | None:
    """Returns the error that ends a text's attempts, or None if it may be tried again."""
    shown = _shown(item.text)
    if item.lonely_charges >= 3:
        return QuarantinedTextError(
            f"The text {shown} is quarantined: {item.charges} workers died on it, the last "
            "ones alone and at once. The other texts were not affected. Try it in a process "
            "that you can lose: `Agent(bundle).predict([text])`."
        )
    if item.charges >= _MAX_CHARGES:
        return QuarantinedTextError(
            f"The text {shown} is given up: {item.charges} workers died while they had it. "
            "The other texts were not affected."
        )
    return None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")


def _last_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
