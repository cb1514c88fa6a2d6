"""Causal language models: load a teacher, sample from it, distil it, measure the student.

===================================  ============================================================
`load_gguf`                          a GGUF file of the Llama family → `PretrainedLM`
`language_model`                     a KerasHub backbone → ids in, logits of the next token out
`pack_texts`, `prompted_rows`        texts → rows of ids; `next_tokens` → their labels
`sample`, `Sampler`                  many rows sampled from a model during training
`on_policy_batches`                  batches sampled from the student; `generalized_loss` is GKD's
`score_language_model`               perplexity, agreement with the teacher, KL
===================================  ============================================================

The student is `tfdistill.students.causal_lm`, or the teacher cut by `tfdistill.compress`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
