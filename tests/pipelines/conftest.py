"""Fixtures of this folder's tests; they are described where they come from."""

from shared_fixtures.agents_at_work import (  # noqa: F401
    bundle,
    keras_model,
    panicking_bundle,
    texts,
    tokenizer,
)
from shared_fixtures.topics import tiny_teacher  # noqa: F401
