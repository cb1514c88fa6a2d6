from __future__ import annotations

from shared_fixtures.browser import browser  # noqa: F401
