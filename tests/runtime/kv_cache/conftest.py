"""Fixtures of this folder's tests; they are described where they come from."""

from shared_fixtures.language_models import (  # noqa: F401
    bundles,
    generator,
    model,
    tokenizer,
)
