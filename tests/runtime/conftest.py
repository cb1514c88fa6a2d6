"""Fixtures of this folder's tests; they are described where they come from."""

from shared_fixtures.agents_at_work import (  # noqa: F401
    bundle,
    keras_model,
    panicking_bundle,
    ray_session,
    texts,
    tokenizer,
)
from shared_fixtures.models_to_export import (  # noqa: F401
    bert,
    bert_of,
    encoder,
    encoder_file,
    ids,
)
