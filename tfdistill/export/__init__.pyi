from .convert.causal_lm import language_to_tflite as language_to_tflite
from .convert.converter import Endpoint as Endpoint
from .parity.comparison import compare as compare
from .parity.report import ParityReport as ParityReport
from .saving import (
    SignatureParity as SignatureParity,
    compare_language_model as compare_language_model,
    save_bundle as save_bundle,
    save_language_bundle as save_language_bundle,
)
from .tflite import to_tflite as to_tflite
