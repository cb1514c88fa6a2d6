"""Makes a model smaller by its architecture: a model goes in, a model comes out.

`share_layers` gives several blocks one set of weights; `factorize_embedding` and `tie_embeddings`
make tables smaller. `drop_layers`, `prune_heads`, `prune_ffn` and `prune_vocabulary` take parts
out, by importance measured on calibration data: they return the smaller model and a `Removal`.
Unlike zeros, what is taken out here makes a TFLite file faster as well as smaller.
"""

from tfdistill.structure.embedding_sharing import factorize_embedding, tie_embeddings
from tfdistill.structure.ffn_pruning import prune_ffn
from tfdistill.structure.head_pruning import prune_heads
from tfdistill.structure.layer_removal import drop_layers
from tfdistill.structure.removal import Removal
from tfdistill.structure.sharing import share_layers
from tfdistill.structure.vocabulary_pruning import prune_vocabulary

__all__ = [
    "Removal",
    "drop_layers",
    "factorize_embedding",
    "prune_ffn",
    "prune_heads",
    "prune_vocabulary",
    "share_layers",
    "tie_embeddings",
]
