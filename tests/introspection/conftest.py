"""Fixtures of this folder's tests; they are described where they come from."""

from shared_fixtures.models_to_compress import (  # noqa: F401
    ids,
    inputs,
    kernel,
    linear,
    make_model,
    model,
    pytest_generate_tests,
    two_layers,
    x,
)
from shared_fixtures.models_to_export import subclassed  # noqa: F401
