"""Fixtures of this folder's tests; they are described where they come from."""

from shared_fixtures.models_to_export import ids, small_encoder  # noqa: F401
from shared_fixtures.typed_bundles import moods_bundle, stars_bundle  # noqa: F401
