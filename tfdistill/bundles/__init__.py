"""Bundles: the folders that agents open, with all that they need.

A bundle holds a `.tflite` file, its tokenizer, its labels, a model card and a manifest with the
SHA-256 of each file. `open_bundle` and `open_language_bundle` check it and read it,
`describe_bundle` fills the card and `state_confidence` says how its logits become probabilities
(`Confidence`, `OutOfScope`). A bundle answers one class, several labels, each with a threshold
(`state_thresholds`), or a number on a `NumberScale`. Bundles are written by `tfdistill.export`,
which needs TensorFlow; nothing here does.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
