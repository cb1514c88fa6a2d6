"""A run says what it was."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta, timezone

from tfdistill._version import __version__
from tfdistill.reports import run_facts


def test_the_facts_are_in_the_order_of_the_page() -> None:
    facts = run_facts(
        data="mails",
        rows={"training": 8000, "test": 2000},
        classes=12,
        arguments=["distill", "my mails.csv", "--epochs", "3"],
        when=datetime(2026, 1, 2, 1, 30, tzinfo=timezone(timedelta(hours=2))),
    )
    assert list(facts) == ["Data set", "Date", "Command", "Versions", "Machine"]
    assert facts["Data set"] == "mails: 8,000 training rows, 2,000 test rows, 12 classes"
    assert facts["Date"] == "2026-01-01 23:30 UTC"
    assert facts["Command"] == "tfdistill distill 'my mails.csv' --epochs 3"
    assert f"tfdistill {__version__}" in facts["Versions"]
    assert "numpy " in facts["Versions"] and facts["Versions"].startswith("Python 3.")


def test_what_is_not_known_is_left_out() -> None:
    facts = run_facts(data="prices", rows={})
    assert facts["Data set"] == "prices"
    assert "Command" not in facts


def test_versions_are_found_without_importing_what_they_are_of() -> None:
    code = (
        "import sys\nfrom tfdistill.reports import run_facts\n"
        "assert 'tensorflow ' in run_facts(data='d', rows={})['Versions']\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
