from .answer_kinds import NumberScale as NumberScale
from .bundle import Bundle as Bundle, open_bundle as open_bundle
from .chat_format import chat_prompt as chat_prompt
from .confidence import Confidence as Confidence, OutOfScope as OutOfScope
from .language import LanguageBundle as LanguageBundle, open_language_bundle as open_language_bundle
from .long_texts import LONG_TEXTS as LONG_TEXTS, how_much_is_read as how_much_is_read
from .model_card import (
    describe_bundle as describe_bundle,
    state_confidence as state_confidence,
    state_thresholds as state_thresholds,
)
