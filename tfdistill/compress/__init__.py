"""Makes a trained Keras 3 model smaller: a model goes in, a model comes out.

`prune_low_magnitude`, `cluster_weights` and `quantize_aware` return a `Compressed` model to train;
`strip` turns it into a plain one. Techniques compose in the order in which they are applied.

`survey` counts what is in a model or a file, `check_survival` raises where a promise is gone, and
`sensitivity` measures which layer bears what and proposes a recipe for a size.
"""

from tfdistill.compress.clustering import Cluster, cluster_weights
from tfdistill.compress.layer_sensitivity import Sensitivity, SensitivityRow, sensitivity
from tfdistill.compress.promises import check_survival
from tfdistill.compress.pruning import Prune, prune_low_magnitude
from tfdistill.compress.quantization import Quantize, fake_quantize, quantize_aware
from tfdistill.compress.survival import Survey, TensorSurvey, survey
from tfdistill.compress.technique import WeightTransform
from tfdistill.compress.transform import Compressed, strip

__all__ = [
    "Cluster",
    "Compressed",
    "Prune",
    "Quantize",
    "Sensitivity",
    "SensitivityRow",
    "Survey",
    "TensorSurvey",
    "WeightTransform",
    "check_survival",
    "cluster_weights",
    "fake_quantize",
    "prune_low_magnitude",
    "quantize_aware",
    "sensitivity",
    "strip",
    "survey",
]
