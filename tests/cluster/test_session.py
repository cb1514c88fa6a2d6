from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tfdistill
from tfdistill.cluster import session

SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])  # only this process knows where tfdistill is
import ray
from tfdistill.agents import AgentPool, RayAgent
seen = [ray.is_initialized()]
with AgentPool(sys.argv[2], executor="ray", num_agents=1) as first:
    seen.append(ray.is_initialized())
    with AgentPool(sys.argv[2], executor="ray", num_agents=1) as second:
        labels = [p.predict(["wheat"])[0].label for p in (first, second)]
    seen.append(ray.is_initialized())  # the first pool still needs it
seen.append(ray.is_initialized())
agent = RayAgent.remote(sys.argv[2])
labels += [each.label for each in ray.get(agent.predict.remote(["brent"]))]
print(json.dumps([seen, labels]))
"""

SHARING = """
import json, sys
sys.path.insert(0, sys.argv[1])
import ray
from tfdistill.agents import AgentPool, RayAgent
bundle, labels = sys.argv[2], []
pool = AgentPool(bundle, executor="ray", num_agents=1)
ray.shutdown()  # by the user, behind the pool's back
other = AgentPool(bundle, executor="ray", num_agents=1)
pool.close()
labels += [each.label for each in other.predict(["wheat"])]
agent = RayAgent.options(num_cpus=0, name="reader").remote(bundle)
other.close()
labels += [each.label for each in ray.get(agent.predict.remote(["brent"]))]
labels += [ray.get_actor("reader") is not None]
print(json.dumps(labels))
"""


def test_missing_ray_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(ImportError, match="need Ray. Install it with `pip install ray`"):
        session.import_ray()


@pytest.mark.ray
@pytest.mark.slow
def test_session_that_a_pool_started_ends_with_the_last_pool(bundle: Path, tmp_path: Path):
    done = run_script(SCRIPT, bundle, tmp_path)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [
        [False, True, True, False],
        ["grain", "grain", "oil"],
    ]
    # Quiet: neither a banner nor the workers' output.
    assert "Started a local Ray instance" not in done.stderr
    assert "(RayAgent" not in done.stdout + done.stderr


@pytest.mark.ray
@pytest.mark.slow
def test_closing_a_pool_ends_neither_agents_nor_the_pool_of_a_later_session(
    bundle: Path, tmp_path: Path
):
    done = run_script(SHARING, bundle, tmp_path)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["grain", "oil", True]


def run_script(code: str, bundle: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a program that starts and ends Ray, which this process must not."""
    (folder / "script.py").write_text(code)
    root = Path(tfdistill.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "script.py", str(root), str(bundle)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=180,
    )
