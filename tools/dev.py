"""One command for everything a developer does: sets up `.venv` once, then runs a target.

    python tools/dev.py test            # or: make test

Targets: demo, test, test-all, test-slow, check, notebooks, readme, wheel, soak, mutants, setup.
What follows the target is handed on, as in `python tools/dev.py demo --labels all`. Needs nothing
but Python 3.11 to 3.13 and, the first time, the package registry. The file stays readable for
older Pythons, so that they can say what is missing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
VENV = CHECKOUT / ".venv"
STAMP = VENV / "installed.sha256"
OLDEST, NEWEST = (3, 11), (3, 13)
# What decides the contents of `.venv`.
INSTALL_FILES = ("setup.cfg", "pyproject.toml", "constraints.txt")
WHEEL_FILES = ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE")
WHEEL_TESTS = (
    "test_imports.py",
    "test_api.py",
    "distill/losses/test_logits.py",
    "datasets",
    "bundles/test_classifier.py",
    "agents/test_agent.py",
)
NO_TESTS_COLLECTED = 5

# Goes beside the copied tests, so that nothing but the installed wheel can answer `import`.
WHEEL_CONFTEST = """
import sys
from pathlib import Path

checkout, site = Path({checkout!r}), Path({site!r})
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != checkout]
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "")]

import tfdistill

found = Path(tfdistill.__file__).resolve()
if site.resolve() not in found.parents:
    raise SystemExit(f"tfdistill was imported from {{found}} and not from the wheel in {{site}}.")
"""


class DevError(Exception):
    """Says in one line why a target cannot run, and what to do."""


def check_python(version: tuple[int, ...], executable: str) -> None:
    """Refuses a Python that the dependencies do not support."""
    if not OLDEST <= tuple(version[:2]) <= NEWEST:
        raise DevError(
            f"tfdistill needs Python 3.11, 3.12 or 3.13. This is Python {version[0]}.{version[1]} "
            f"({executable}). Name another one: `python3.12 tools/dev.py test`, or "
            "`make test PYTHON=python3.12`."
        )
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise DevError(
            f"{executable} cannot make virtual environments: its venv or ensurepip module is "
            "missing. Install it (Debian, Ubuntu: `apt-get install python3-venv`)."
        )


def venv_python(venv: Path) -> Path:
    """Returns the path of the interpreter inside a virtual environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fingerprint(checkout: Path) -> str:
    """Returns one hash over the files that decide what gets installed."""
    digest = hashlib.sha256()
    for name in INSTALL_FILES:
        digest.update(name.encode() + b"\0" + (checkout / name).read_bytes() + b"\0")
    return digest.hexdigest()


def run(*command: str | Path, cwd: Path = CHECKOUT, env: dict[str, str] | None = None) -> int:
    """Shows a command, runs it and returns its exit code."""
    words = [str(word) for word in command]
    print("$", " ".join(words), flush=True)
    return subprocess.call(words, cwd=str(cwd), env={**os.environ, **(env or {})})


def need(*command: str | Path, cwd: Path = CHECKOUT) -> None:
    """Runs a command that must succeed."""
    if run(*command, cwd=cwd) != 0:
        raise DevError("The command above failed; its own message says why.")


def set_up() -> Path:
    """Makes `.venv` when it is missing or broken, installs when it is out of date."""
    python = venv_python(VENV)
    asks = f"import sys; sys.exit(not {OLDEST} <= sys.version_info[:2] <= {NEWEST})"
    if not python.exists() or subprocess.call([str(python), "-c", asks]) != 0:
        print(f"Making {VENV} with Python {sys.version.split()[0]}.", flush=True)
        need(sys.executable, "-m", "venv", "--clear", VENV)
    expected = fingerprint(CHECKOUT)
    if not STAMP.exists() or STAMP.read_text(encoding="utf-8") != expected:
        print("Installing the pinned dependencies; the first time takes minutes.", flush=True)
        need(python, "-m", "pip", "install", "-c", "constraints.txt", "-e", ".[all]")
        fresh = STAMP.with_suffix(".new")
        fresh.write_text(expected, encoding="utf-8")
        os.replace(str(fresh), str(STAMP))
    return python


def demo(python: Path, rest: list[str]) -> int:
    """Runs the whole pipeline on Reuters news."""
    return run(python.with_name("tfdistill"), "demo", *rest)


# Files of tests side by side; `-n 0` after the target runs them in one process. One process more
# than cores, because tests of Ray and of limits on time wait.
SIDE_BY_SIDE = ("-n", str(min(4, (os.cpu_count() or 1) + 1)), "--dist", "loadgroup")


def test(python: Path, rest: list[str]) -> int:
    """Runs the default tests."""
    return run(python, "-m", "pytest", *SIDE_BY_SIDE, "--durations=10", *rest)


def test_all(python: Path, rest: list[str]) -> int:
    """Runs every test, the slow ones included, and prints the coverage."""
    marked = ("-m", "not soak")
    return run(python, "-m", "pytest", *SIDE_BY_SIDE, "--cov", "--durations=10", *marked, *rest)


def test_slow(python: Path, rest: list[str]) -> int:
    """Runs the slow tests alone; having none is no failure."""
    marked = ("-m", "slow and not soak")
    code = run(python, "-m", "pytest", *SIDE_BY_SIDE, "--durations=10", *marked, *rest)
    return 0 if code == NO_TESTS_COLLECTED else code


def soak(python: Path, rest: list[str]) -> int:
    """Runs what takes longest: kills in numbers, and everything that is tried on many models."""
    return run(python, "-m", "pytest", "-m", "soak", "--timeout=3600", "--durations=10", *rest)


def mutants(python: Path, rest: list[str]) -> int:
    """Changes the code in small ways and runs the tests that should notice."""
    return run(python, CHECKOUT / "tools" / "mutants.py", *rest)


def check(python: Path, rest: list[str]) -> int:
    """Lints, checks formatting, types and the order of the rooms; runs all before it says no."""
    folders = ("tfdistill", "tests", "tools", "benchmarks", "notebooks")
    here = [name for name in folders if (CHECKOUT / name).is_dir()]
    codes = [
        run(python, "-m", "ruff", "check", "setup.py", *here, *rest),
        run(python, "-m", "ruff", "format", "--check", *here),
        run(python, "-m", "mypy"),
        run(python.with_name("lint-imports"), "setup.cfg"),
    ]
    return max(codes)


def notebooks(python: Path, rest: list[str]) -> int:
    """Writes each notebook's `.ipynb`, with outputs, from its `.py`."""
    sources = sorted((CHECKOUT / "notebooks").glob(rest[0] if rest else "[0-9]*.py"))
    if not sources:
        raise DevError("There is no such notebook in notebooks/.")
    for source in sources:
        target = source.with_suffix(".ipynb")
        with tempfile.TemporaryDirectory() as folder:
            fresh = Path(folder) / target.name
            need(python, "-m", "jupytext", "--to", "ipynb", "--output", fresh, source)
            need(python, "-c", EXECUTE, fresh, cwd=source.parent)
            shutil.copyfile(str(fresh), str(target) + ".new")
        os.replace(str(target) + ".new", str(target))
        print("wrote", target.relative_to(CHECKOUT), flush=True)
    return 0


EXECUTE = """
import os, sys, nbclient, nbformat
os.environ.pop("MPLBACKEND", None)  # a notebook without its inline backend has no pictures
book = nbformat.read(sys.argv[1], as_version=4)
for number, cell in enumerate(book.cells, start=1):
    cell["id"] = f"cell-{number:02d}"  # random ids would make every regeneration a change
quiet = ["--IPKernelApp.capture_fd_output=False"]  # without TensorFlow's start-up notes
nbclient.NotebookClient(
    book, timeout=600, kernel_name="python3", record_timing=False, extra_arguments=quiet
).execute()
nbformat.write(book, sys.argv[1])
"""


def readme(python: Path, rest: list[str]) -> int:
    """Puts the tables of reports into the README, or runs its blocks of code: `--run`."""
    return run(python, CHECKOUT / "tools" / "readme.py", *rest)


def wheel(python: Path, rest: list[str]) -> int:
    """Builds the wheel, installs it outside the checkout and runs quick tests against it."""
    absent = [test for test in WHEEL_TESTS if not (CHECKOUT / "tests" / test).exists()]
    if absent:
        raise DevError(f"WHEEL_TESTS names what is not in tests: {', '.join(absent)}.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        # A copy, because a `build` folder left from earlier would leak old files into the wheel.
        source, site, outside = folder / "source", folder / "site", folder / "outside"
        shutil.copytree(
            str(CHECKOUT / "tfdistill"),
            str(source / "tfdistill"),
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        for file in WHEEL_FILES:
            shutil.copy(str(CHECKOUT / file), str(source))
        need(python, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, ".", cwd=source)
        built = next(folder.glob("tfdistill-*.whl"))
        need(python, "-m", "pip", "install", "--no-deps", "--target", site, built, cwd=folder)
        listed = {path.relative_to(source) for path in (source / "tfdistill").rglob("*.py")}
        missing = sorted(str(path) for path in listed if not (site / path).is_file())
        if missing:
            raise DevError(f"The wheel lacks {', '.join(missing)}.")
        shutil.copytree(str(CHECKOUT / "tests"), str(outside / "tests"))
        shutil.copy(str(CHECKOUT / "setup.cfg"), str(outside))
        text = WHEEL_CONFTEST.format(checkout=str(CHECKOUT), site=str(site))
        (outside / "conftest.py").write_text(text, encoding="utf-8")
        tests = [outside / "tests" / test for test in WHEEL_TESTS]
        marks = "not slow and not ray and not network"
        alone = {"PYTHONPATH": str(site)}
        return run(python, "-m", "pytest", "-m", marks, *tests, *rest, cwd=outside, env=alone)


TARGETS = {
    "demo": demo,
    "test": test,
    "test-all": test_all,
    "test-slow": test_slow,
    "check": check,
    "notebooks": notebooks,
    "readme": readme,
    "wheel": wheel,
    "soak": soak,
    "mutants": mutants,
    "setup": lambda python, rest: 0,
}


def main(arguments: list[str]) -> int:
    """Runs the target that the command line names and returns its exit code."""
    if not arguments or arguments[0] not in TARGETS:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        check_python(sys.version_info[:3], sys.executable)
        return TARGETS[arguments[0]](set_up(), arguments[1:])
    except DevError as error:
        print(f"dev.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
