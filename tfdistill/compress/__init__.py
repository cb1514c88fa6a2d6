"""Makes a trained Keras 3 model smaller: a model goes in, a model comes out.

`prune_low_magnitude` and `quantize_aware` return a `Compressed` model to train; `strip` turns
it into a plain one. Techniques compose in the order in which they are applied.
"""

from tfdistill.compress.pruning import Prune, prune_low_magnitude
from tfdistill.compress.quantization import Quantize, fake_quantize, quantize_aware
from tfdistill.compress.technique import WeightTransform
from tfdistill.compress.transform import Compressed, strip

__all__ = [
    "Compressed",
    "Prune",
    "Quantize",
    "WeightTransform",
    "fake_quantize",
    "prune_low_magnitude",
    "quantize_aware",
    "strip",
]
