"""Makes a Keras 3 model smaller: a model goes in, a model comes out.

`prune_low_magnitude`, `cluster_weights` and `quantize_aware` return a `Compressed` model to train;
`strip` turns it into a plain one. Techniques compose in the order in which they are applied.

`share_layers` gives several blocks one set of weights; `factorize_embedding` and `tie_embeddings`
make tables smaller. `drop_layers`, `prune_heads`, `prune_ffn` and `prune_vocabulary` take parts
out, by importance measured on calibration data: they return the smaller model and a `Removal`.
Unlike zeros, what is taken out makes a TFLite file faster as well as smaller.

`survey` counts what is in a model or a file, `verify_compression` raises where a guarantee is gone,
and `sensitivity` measures how much accuracy each layer loses and proposes a recipe for a size.

A technique of your own is a `WeightTransform` with a `WeightState` for each weight and, if it
guarantees something, a `Guarantee`; it joins recipes like those of this package.
"""

import lazy_loader

# Keras finds the classes of a `.keras` file by the names that importing them registers. A
# `Compressed` model imports the techniques of its recipe by itself.
from tfdistill.compress import compressed_model as _compressed_model  # noqa: F401

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
