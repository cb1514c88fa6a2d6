from .clustering.cluster import Cluster as Cluster, cluster_weights as cluster_weights
from .compressed_model import Compressed as Compressed, strip as strip
from .guarantees import Guarantee as Guarantee, WeightMatrix as WeightMatrix
from .inspection.statistics import (
    Survey as Survey,
    TensorSurvey as TensorSurvey,
    survey as survey,
    verify_compression as verify_compression,
)
from .pruning.prune import Prune as Prune, prune_low_magnitude as prune_low_magnitude
from .quantization.weights import (
    Quantize as Quantize,
    fake_quantize as fake_quantize,
    quantize_aware as quantize_aware,
)
from .sensitivity_analysis.layer_sensitivity import (
    Sensitivity as Sensitivity,
    SensitivityRow as SensitivityRow,
    sensitivity as sensitivity,
)
from .structured.depth_pruning import drop_layers as drop_layers
from .structured.embedding_factorization import (
    factorize_embedding as factorize_embedding,
    tie_embeddings as tie_embeddings,
)
from .structured.importance import Removal as Removal
from .structured.layer_sharing import share_layers as share_layers
from .structured.vocabulary_pruning import prune_vocabulary as prune_vocabulary
from .structured.width_pruning import prune_ffn as prune_ffn, prune_heads as prune_heads
from .technique import (
    StateOwner as StateOwner,
    WeightState as WeightState,
    WeightTransform as WeightTransform,
)
