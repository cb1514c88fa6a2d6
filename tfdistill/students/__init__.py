"""Small models to distill into, and what starts them from the teacher's knowledge.

`text_encoder` classifies texts, `multi_head_encoder` answers several questions about one text,
`token_tagger` labels words, `causal_lm` writes. `cut_vocabulary` and `cut_byte_bpe` make the
teacher's tokenizer smaller, `start_embedding` brings the teacher's embeddings to the student's
width.
"""

import lazy_loader

# Keras finds the classes of a `.keras` file by the names that importing them registers.
from tfdistill.students import decoder_blocks as _decoder, encoder_blocks as _encoder  # noqa: F401

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
