"""The two Ray Serve deployments: a gateway that speaks HTTP, and replicas that answer texts.

Both classes are made inside a function, because Ray then sends them to its workers as they are and
not by name; so they make `tfdistill` importable themselves, as the pool's workers do.

The gateway reads, checks and counts; the replicas gather texts of several requests into batches.
A batch saves transport, not computing. A replica that is stuck on a text reports itself as ill,
and Serve replaces it.
"""

from __future__ import annotations

from typing import Any

__all__ = ["make_application"]


def make_application(
    folder: dict[str, Any],
    *,
    package_root: str,
    num_replicas: int,
    max_batch_size: int,
    batch_wait_s: float,
    max_request_bytes: int,
    most_texts: int,
    timeout_s: float,
) -> Any:
    """Returns the Serve application that answers with what a folder holds.

    Args:
        folder: As `actors.ship` returns it.
        package_root: The folder of the package `tfdistill`.
        num_replicas: Processes that answer.
        max_batch_size: Most texts in one batch.
        batch_wait_s: How long the first text of a batch waits for others, in seconds.
        max_request_bytes: Largest body of a request.
        most_texts: Most texts of a request.
        timeout_s: Longest time for one request, in seconds.
    """
    from ray import serve

    @serve.deployment(
        num_replicas=num_replicas,
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=2.0,
        health_check_timeout_s=10.0,
        max_ongoing_requests=4 * max_batch_size,
    )
    class Answerer:
        def __init__(self, folder: dict[str, Any]) -> None:
            import sys

            import ray

            if package_root not in sys.path:
                sys.path.insert(0, package_root)
            from concurrent.futures import ThreadPoolExecutor

            from tfdistill.agents.execution import servable
            from tfdistill.cluster import shipping
            from tfdistill.serving.app import to_plain

            path = shipping.local_folder(
                folder["path"],
                digest=folder["digest"],
                packed=lambda: ray.get(folder["packed"][0]),
            )
            self._servable = servable.open_servable(path)
            self._answer_of, self._to_plain = servable.answer_of, to_plain
            self._thread = ThreadPoolExecutor(max_workers=1)  # one caller at a time
            self._began: float | None = None

        @serve.batch(max_batch_size=max_batch_size, batch_wait_timeout_s=batch_wait_s)
        async def answer(self, texts: list[str]) -> list[Any]:
            import asyncio

            return await asyncio.get_running_loop().run_in_executor(self._thread, self._work, texts)

        def _work(self, texts: list[str]) -> list[tuple[dict[str, Any], int]]:
            import time

            answers = []
            try:
                for text in texts:
                    self._began = time.monotonic()
                    answers.append((self._plain(text), len(texts)))
            finally:
                self._began = None
            return answers

        def _plain(self, text: str) -> dict[str, Any]:
            try:
                return self._to_plain(self._answer_of(self._servable, text))
            except TypeError as error:  # an answer that no JSON can hold
                return self._to_plain(error)

        async def check_health(self) -> None:
            import time

            began = self._began
            if began is not None and time.monotonic() - began > timeout_s:
                raise RuntimeError(f"One text has taken longer than {timeout_s:g} s.")

        def describe(self) -> dict[str, Any]:
            return {
                "name": self._servable.path.name,
                "labels": list(getattr(self._servable, "labels", ())),
            }

    @serve.deployment(
        ray_actor_options={"num_cpus": 0}, max_ongoing_requests=1024, max_queued_requests=1024
    )
    class Gateway:
        def __init__(self, answerer: Any) -> None:
            import sys

            if package_root not in sys.path:
                sys.path.insert(0, package_root)
            from tfdistill.serving.app import Routes

            async def answer(text: str) -> Any:
                return await answerer.answer.remote(text)

            async def describe() -> dict[str, Any]:
                return await answerer.describe.remote()

            self._routes = Routes(
                answer=answer,
                describe=describe,
                max_request_bytes=max_request_bytes,
                most_texts=most_texts,
                timeout_s=timeout_s,
            )

        async def __call__(self, request: Any) -> Any:
            return await self._routes.respond(request)

    answerer: Any = Answerer  # `serve.deployment` has made both something else than a class
    gateway: Any = Gateway
    return gateway.bind(answerer.bind(folder))
