"""The routes without Ray: requests as Starlette hands them over, answers from a function."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tfdistill.serving import Server
from tfdistill.serving.app import Routes
from tfdistill.serving.server import check_port

requests = pytest.importorskip("starlette.requests", reason="the extra `serve` is not installed")


async def answer(text: str) -> tuple[dict[str, Any], int]:
    if text == "slow":
        await asyncio.Event().wait()  # for ever
    if text == "broken":
        raise OSError("the replica died")
    if text == "bad":
        return {"error": {"type": "UnusableTextError", "message": "no \ud800 word"}}, 1
    return {"label": text.upper()}, 2


async def describe() -> dict[str, Any]:
    return {"name": "topics", "labels": ["a"]}


def routes_with(*, timeout_s: float) -> Routes:
    return Routes(
        answer=answer, describe=describe, max_request_bytes=200, most_texts=3, timeout_s=timeout_s
    )


@pytest.fixture
def routes() -> Routes:
    return routes_with(timeout_s=300.0)


def send(
    routes: Routes,
    method: str,
    path: str,
    body: Any = None,
    *,
    length: str | None = None,
    content_type: str = "application/json",
) -> tuple[int, str, Any]:
    """Returns status, body and headers of the response."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    pieces: Iterator[bytes] = (raw[start : start + 64] for start in range(0, len(raw) + 1, 64))
    parts = list(pieces)

    async def receive() -> dict[str, Any]:
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    headers = [(b"content-type", content_type.encode())]
    headers += [(b"content-length", length.encode())] if length is not None else []
    scope = {"type": "http", "method": method, "path": path, "headers": headers,
             "query_string": b"", "server": ("localhost", 80), "scheme": "http"}  # fmt: skip
    response = asyncio.run(routes.respond(requests.Request(scope, receive)))
    return response.status_code, response.body.decode(), response.headers


def test_texts_are_answered_each_in_its_place(routes: Routes):
    status, body, _ = send(routes, "POST", "/predict", {"texts": ["a", "bad", "b"]})
    answers = json.loads(body)["answers"]

    assert status == 200
    assert (answers[0], answers[2]) == ({"label": "A"}, {"label": "B"})
    assert answers[1]["error"]["type"] == "UnusableTextError"
    assert send(routes, "POST", "/predict", {"text": "a"})[:2] == (
        200,
        '{"answer": {"label": "A"}}',
    )


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("GET", "/nothing", None, 404, "There is no '/nothing' here"),
        ("GET", "/predict", None, 405, "/predict takes POST. Received: GET"),
        ("POST", "/health", None, 405, "/health takes GET. Received: POST"),
        ("POST", "/predict", b"{", 400, "must be JSON"),
        ("POST", "/predict", {"text": "bad"}, 422, "word"),
        ("POST", "/predict", {"text": "broken"}, 503, r"could answer \(OSError\)"),
        ("POST", "/predict", {"text": "x" * 300}, 413, "at most 200 bytes"),
    ],
)
def test_what_goes_wrong_has_a_status_and_a_message(
    routes: Routes, method: str, path: str, body: Any, status: int, message: str
):
    import re

    found, content, _ = send(routes, method, path, body)

    assert found == status
    assert re.search(message, json.loads(content)["error"]["message"])


def test_a_request_that_takes_too_long_has_a_status_and_a_message():
    status, content, _ = send(routes_with(timeout_s=0.2), "POST", "/predict", {"text": "slow"})

    assert status == 504
    assert "took longer than 0.2 s" in json.loads(content)["error"]["message"]


def test_large_body_is_refused_by_its_length_before_it_is_read(routes: Routes):
    status, content, _ = send(routes, "POST", "/predict", {"text": "a"}, length="99999999")

    assert status == 413
    assert "Received: 99999999 or more" in content


def test_length_that_lies_does_not_help(routes: Routes):
    status, content, _ = send(routes, "POST", "/predict", {"text": "x" * 5000}, length="10")

    assert status == 413
    assert "Received: 256 or more" in content  # it stopped after the piece that was too much


def test_metrics_count_what_was_served(routes: Routes):
    send(routes, "POST", "/predict", {"texts": ["a", "bad", "b"]})
    send(routes, "GET", "/nothing")
    _, text, headers = send(routes, "GET", "/metrics")

    assert 'tfdistill_requests_total{status="200"} 1.0' in text
    assert 'tfdistill_requests_total{status="404"} 1.0' in text
    assert 'tfdistill_texts_total{outcome="answered"} 2.0' in text
    assert 'tfdistill_texts_total{outcome="error"} 1.0' in text
    assert "tfdistill_batch_size_sum 5.0" in text  # 2 + 1 + 2
    assert headers["content-type"].startswith("text/plain; version=0.0.4")


def test_health_says_what_is_served_or_that_nobody_answers(routes: Routes):
    assert json.loads(send(routes, "GET", "/health")[1]) == {
        "status": "ok",
        "name": "topics",
        "labels": ["a"],
    }

    async def dead() -> dict[str, Any]:
        raise OSError

    ill = Routes(answer=answer, describe=dead, max_request_bytes=9, most_texts=1, timeout_s=1.0)
    assert send(ill, "GET", "/health")[:2] == (503, '{"status": "unavailable", "error": "OSError"}')


def test_page_loads_nothing_from_elsewhere(routes: Routes):
    for path in ("/", "/page.css", "/page.js"):
        status, text, headers = send(routes, "GET", path)
        assert status == 200
        assert "http" not in text.replace("http.", "")
        assert "innerHTML" not in text
        assert headers["content-security-policy"].startswith("default-src 'none'")


def test_port_in_use_is_a_clear_error_before_anything_starts(served_bundle: Path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=rf"port={port}, which cannot be taken \(Address already"):
            Server(served_bundle, port=port)

    check_port("127.0.0.1", port)  # free again


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"port": 70000}, ValueError, r"`port` must be in \[1, 65535\]. Received: port=70000"),
        ({"port": "80"}, TypeError, "`port` must be an int"),
        ({"num_replicas": 0}, ValueError, "`num_replicas` must be an int of at least 1"),
    ],
)
def test_arguments_are_checked(
    served_bundle: Path, arguments: dict[str, Any], kind: type[Exception], message: str
):
    with pytest.raises(kind, match=message):
        Server(served_bundle, **arguments)


def test_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="existing bundle folder"):
        Server(tmp_path / "gone")
