"""The package's Jinja2 templates, in which every text is escaped."""

from __future__ import annotations

import functools
import re
from typing import Any

import jinja2
from markupsafe import Markup, escape

__all__ = ["render"]


def render(name: str, **values: Any) -> Markup:
    """Fills a template of the folder `templates`.

    Args:
        name: File name of the template.
        **values: What it names. A text is escaped, unless it comes from this function: so one
            rendered template may stand in another.

    Returns:
        The text.

    Raises:
        jinja2.TemplateNotFound: If there is no such template.
        jinja2.UndefinedError: If it names a value that is not given.
    """
    return Markup(_environment().get_template(name).render(**values))  # noqa: S704


@functools.lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfdistill.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["with_code"] = _with_code
    return environment


def _with_code(text: str) -> Markup:
    """Escapes a text; names in backticks become code."""
    parts = re.split(r"`([^`]+)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part)
        for index, part in enumerate(parts)
    )
