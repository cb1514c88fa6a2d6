"""What runs the agents of a pool: the interface of executors, and what an executor is given."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal

from tfdistill.agents.execution.servable import Servable, open_servable
from tfdistill.agents.execution.stats import Counts, this_process
from tfdistill.agents.execution.timing import chunk_for, threads_for, time_per_text
from tfdistill.arguments.numeric import check_int, check_number

__all__ = ["Executor", "Job"]


class Job:
    """What an executor has to run; its arguments are those of `AgentPool`, checked.

    Attributes:
        path: The folder of the bundle or the team, absolute.
        num_agents: How many agents shall work at the same time.
        chunk_size: How many texts may be handed over at once, or "auto".
        threads: Threads for one call of a model, so that all agents together fit the cores.
        timeout_s: The longest that one text may take, in seconds; None is for ever. A text that
            takes longer gets a `TextTimeoutError`.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        num_agents: int,
        chunk_size: int | Literal["auto"],
        threads_per_agent: int,
        timeout_s: float | None,
    ) -> None:
        self.num_agents = check_int(num_agents, argument="num_agents", at_least=1)
        threads = check_int(threads_per_agent, argument="threads_per_agent", at_least=1)
        if chunk_size != "auto":
            check_int(chunk_size, argument="chunk_size", at_least=1, hint="Or give 'auto'.")
        if timeout_s is not None:
            hint = "None waits for ever."
            check_number(timeout_s, argument="timeout_s", interval="(0, inf)", hint=hint)
        self.chunk_size, self.timeout_s = chunk_size, timeout_s
        self.threads = threads_for(threads, num_agents=num_agents)
        self._measured = open_servable(bundle, threads=self.threads)
        self._opened = [self._measured]
        self._lock = threading.Lock()
        self.path: Path = self._measured.path
        self.sample_text = self._measured.sample_text()

    def open_agents(self, count: int) -> list[Servable]:
        """Opens agents in this process, each for one caller at a time.

        Args:
            count: How many. Those that were opened to measure are given out first.
        """
        with self._lock:
            agents, self._opened = self._opened[:count], self._opened[count:]
        return agents + self._open(count - len(agents))

    def try_agents(self) -> list[Servable]:
        """Opens as many agents as the pool will have, to measure with; `open_agents` has them."""
        self._opened += self._open(self.num_agents - len(self._opened))
        return list(self._opened)

    def chunk_for(self, *, handover_s: float, most: int) -> int:
        """Returns the number of texts to hand over at once: as asked for, or measured.

        Args:
            handover_s: Seconds to hand a batch over and get its answers back.
            most: The largest number that is measured.
        """
        if self.chunk_size != "auto":
            return self.chunk_size
        text_s = time_per_text(self._measured, self.sample_text)
        return chunk_for(text_s, handover_s=handover_s, most=most)

    def _open(self, count: int) -> list[Servable]:
        return [open_servable(self.path, threads=self.threads) for _ in range(count)]


class Executor(ABC):
    """Runs the agents of one pool. Derive from it to run them in a way of your own.

    The pool calls `start` once, then `submit` from any thread, and `close` once. `AgentPool` has
    an example.

    Attributes:
        name: What the pool calls it, as `AgentPool.executor`.
        chunk_size: How many texts it hands over at once; set it in `start` if that is not one.
        counts: What it counts of its texts; None has the pool count their futures.
    """

    name = "own"
    chunk_size = 1
    counts: Counts | None = None

    @abstractmethod
    def start(self, job: Job) -> None:
        """Opens the agents, and returns when they are ready.

        Args:
            job: Which agents, how many, and the limits that they keep.
        """

    @abstractmethod
    def submit(self, text: str) -> Future[Any]:
        """Hands over one text.

        Returns:
            The future of its answer. What is wrong with the text is the future's exception.
        """

    @abstractmethod
    def close(self, *, cancel: bool, patience_s: float | None) -> None:
        """Ends the agents; no text comes after that.

        Args:
            cancel: Whether texts that no agent has begun are cancelled rather than answered.
            patience_s: Longest wait for an agent, in seconds; None waits as long as it takes.
        """

    def scale(self, num_agents: int) -> None:
        """Changes the number of agents while texts are answered; this one refuses.

        Raises:
            RuntimeError: If the executor cannot do that.
        """
        raise RuntimeError(
            f"`num_agents` cannot be changed with the executor {self.name!r}. Received: "
            f"num_agents={num_agents!r}. Create the pool with as many agents as it needs."
        )

    def describe(self) -> list[dict[str, Any]]:
        """Describes the workers: "pid", "state", "restarts", "private_bytes", "shared_bytes"."""
        return [this_process()]
