"""Where soft targets come from: pretrained backbones with a head for the task.

`load_backbone` reads a KerasHub preset or a Hugging Face folder, `text_classifier` adds a head,
`text_features` runs the backbone once for all texts, and `with_head` joins a head trained on
those features to its backbone.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
