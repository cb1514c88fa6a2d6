"""One Ray worker process as a pool sees it: is it there, is it still the same, is it stuck?

Ray takes two seconds to report a death to somebody who waits for an answer (it hopes to learn the
cause), though the next process answers after a tenth of that. So whoever waits here asks for a
pulse now and then: a pulse of another incarnation means that the answer will not come, and the
pulse also says on which text the worker is, and for how long.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from typing import Any

from tfdistill.agents.execution.stats import Memory, memory_of
from tfdistill.agents.execution.worker_executor import WorkerLostError
from tfdistill.agents.on_ray import actors
from tfdistill.cluster import session

__all__ = ["ProcessDiedError", "READY_S", "RayProcess", "StuckError", "last_line"]

READY_S = 60.0
_PULSE_S = 0.1
# A worker that does not even say that it is busy, such as in a regular expression that holds
# Python's lock, gets this much longer.
_SILENCE_S = 1.0


class ProcessDiedError(Exception):
    """The process is gone, and with it the answer that was awaited."""


class StuckError(Exception):
    """The process takes too long.

    Attributes:
        index: On which of the texts that it was given; None if it does not even say that.
    """

    def __init__(self, index: int | None) -> None:
        super().__init__(index)
        self.index = index


class RayProcess:
    """Starts a worker, calls it, and brings it back.

    Args:
        actor_class: The worker as a Ray actor class.
        arguments: What the worker is made with.
        packed: Reference to the packed folder, for a machine that does not have it.
        name: What the worker is called in Ray's dashboard.
        timeout_s: The longest that one text may take, in seconds; None is for ever.

    Attributes:
        state: "starting", "ready", "restarting", "lost" or "closed".
    """

    def __init__(
        self,
        actor_class: Any,
        *,
        arguments: tuple[Any, ...],
        packed: Any,
        name: str,
        timeout_s: float | None,
    ) -> None:
        self._ray = session.import_ray()
        self._actor_class = actor_class
        self._arguments = arguments
        self._packed = packed
        self._name = name
        self._timeout_s = timeout_s
        self._replacements = 0
        self._incarnation = ""
        self._pid = 0
        self._node = ""
        self._restarts = 0
        self.state = "starting"
        self._actor = self._start()

    def run(self, texts: list[str]) -> list[Any] | None:
        """Has texts answered; None if the worker was restarted before it saw them.

        Raises:
            ProcessDiedError: If the worker died meanwhile.
            StuckError: If a text takes too long.
            RayTaskError: If the call failed and the worker lives.
        """
        return self._await(self._actor.run.remote(self._incarnation, texts))

    def start_alone(self, text: str, *, quick_s: float) -> Any:
        """Begins with one text; returns a stream of messages for `next_message`."""
        # One message at a time: the worker goes on when we hold the one before.
        return self._actor.run_alone.options(
            num_returns="streaming", _generator_backpressure_num_objects=1
        ).remote(self._incarnation, text, quick_s)

    def next_message(self, messages: Any) -> tuple[str, Any]:
        """Waits for the next message of a text that is run alone; raises as `run` does."""
        self._watch(messages)
        try:
            return self._get(next(messages))
        except StopIteration as error:
            raise ProcessDiedError from error

    def kill(self) -> None:
        """Ends the process; Ray starts it again."""
        self._ray.kill(self._actor, no_restart=False)

    def revive(self) -> None:
        """Waits for the restarted worker, or starts a new one where Ray gave it up.

        Raises:
            WorkerLostError: If there will be none.
        """
        self.state = "restarting"
        deadline = time.monotonic() + READY_S
        try:
            try:
                self.wait_ready(deadline=deadline)
            except WorkerLostError:
                # Killed for good from outside (`ray.kill`), or its machine is gone.
                self._replacements += 1
                self._actor = self._start()
                self.wait_ready(deadline=deadline)
        except (WorkerLostError, TimeoutError) as error:
            raise WorkerLostError(
                f"The workers of this AgentPool are gone and do not come back: {error}. Look at "
                "Ray's logs, then create a new AgentPool."
            ) from error

    def wait_ready(self, *, deadline: float) -> None:
        """Waits until a process answers that is not the one before, and remembers it.

        Args:
            deadline: Latest moment on the clock of `time.monotonic`.

        Raises:
            TimeoutError: If it has not answered by then.
            WorkerLostError: If it cannot start.
        """
        exceptions = self._ray.exceptions
        while (left := deadline - time.monotonic()) > 0:
            probe = self._actor.pulse.remote()
            # A probe that is sent while the process is restarted hangs for two seconds; the next
            # one does not.
            if not self._ray.wait([probe], timeout=min(left, 0.5))[0]:
                continue
            try:
                pulse = self._ray.get(probe)
                if not pulse["is_open"]:
                    self._ray.get(self._actor.open.remote(self._packed), timeout=left)
            except exceptions.RayTaskError as error:
                raise WorkerLostError(
                    f"A worker of the AgentPool could not open its folder: {last_line(error)}"
                ) from error
            except exceptions.GetTimeoutError:
                continue
            except exceptions.ActorDiedError as error:
                raise WorkerLostError(
                    f"A worker of the AgentPool could not start: {last_line(error)}"
                ) from error
            except exceptions.RayActorError:  # on its way up
                time.sleep(0.02)
                continue
            if pulse["incarnation"] == self._incarnation:  # killed, and not dead yet
                time.sleep(0.02)
                continue
            self._restarts += bool(self._incarnation)
            self._incarnation = pulse["incarnation"]
            self._pid, self._node = pulse["pid"], pulse["node"]
            self.state = "ready"
            return
        raise TimeoutError(f"no answer within {READY_S:g} s")

    def time_handover(self) -> float:
        """Measures how long an empty batch takes, in seconds (median of 9)."""
        times = []
        for _ in range(9):
            start = time.perf_counter()
            self._ray.get(self._actor.run.remote(self._incarnation, []))
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    def describe(self) -> dict[str, Any]:
        """Returns process id, state, restarts, node, name, and memory."""
        return {
            "pid": self._pid,
            "state": self.state,
            "restarts": self._restarts,
            "node": self._node,
            "name": self._name,
            **self._memory(),
        }

    def close(self) -> None:
        """Ends the process for good."""
        self.state = "closed"
        if not self._ray.is_initialized():
            return
        # The session that had the worker may be gone, and another one running in its place.
        with contextlib.suppress(self._ray.exceptions.ActorHandleNotFoundError):
            self._ray.kill(self._actor, no_restart=True)

    def _start(self) -> Any:
        # Ray keeps the name of a dead actor for a moment.
        suffix = f"-again-{self._replacements}" if self._replacements else ""
        options = {**actors.WORKER_OPTIONS, "name": self._name + suffix}
        return self._actor_class.options(**options).remote(*self._arguments)

    def _memory(self) -> Memory:
        if self.state != "ready" or not self._ray.is_initialized():
            return {"private_bytes": None, "shared_bytes": None}
        if self._node == self._ray.get_runtime_context().get_node_id():
            return memory_of(self._pid)
        reference = self._actor.memory.remote()  # on another machine, which alone knows
        ready, _ = self._ray.wait([reference], timeout=1.0)
        with contextlib.suppress(self._ray.exceptions.RayError):
            if ready:
                return self._ray.get(reference)
        return {"private_bytes": None, "shared_bytes": None}

    def _await(self, reference: Any) -> Any:
        self._watch(reference)
        return self._get(reference)

    def _watch(self, awaited: Any) -> None:
        """Waits until something is there, unless whoever owes it has died or is stuck."""
        heard_at = time.monotonic()
        while not self._ray.wait([awaited], timeout=_PULSE_S)[0]:
            probe = self._actor.pulse.remote()
            ready, _ = self._ray.wait([probe, awaited], num_returns=1, timeout=_PULSE_S)
            if probe in ready:
                pulse = self._get(probe)
                if pulse["incarnation"] != self._incarnation:
                    raise ProcessDiedError
                heard_at = time.monotonic()
                if self._timeout_s is not None and pulse["busy_s"] > self._timeout_s:
                    raise StuckError(pulse["index"])
            elif self._timeout_s is not None:
                if time.monotonic() - heard_at > self._timeout_s + _SILENCE_S:
                    raise StuckError(None)

    def _get(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayActorError as error:
            raise ProcessDiedError from error


def last_line(error: BaseException) -> str:
    """Returns the last line of an error's message, which is where Ray puts the cause."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
