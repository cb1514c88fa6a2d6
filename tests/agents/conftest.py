"""Fixtures of this folder's tests; they are described where they come from."""

from shared_fixtures.agents_at_work import (  # noqa: F401
    bundle,
    keras_model,
    panicking_bundle,
    ray_session,
    texts,
    tokenizer,
)
from shared_fixtures.typed_bundles import moods_bundle, stars_bundle  # noqa: F401
