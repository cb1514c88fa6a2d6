"""The losses of distillation as equations: tensors in, one loss per example or token out.

`forward_kl`, `reverse_kl`, `jensen_shannon` and `skewed_kl` compare logits; `hidden_mse`,
`hidden_cosine`, `attention_kl` and `relation_kl` compare hidden layers. They are reached as
`tfdistill.losses`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
