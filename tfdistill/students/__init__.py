"""Small models to distill into, and what starts them from the teacher's knowledge.

`text_encoder` classifies texts, `multi_head_encoder` answers several questions about one text,
`token_tagger` labels words, `causal_lm` writes, `bag_of_words` adds up n-grams. `cut_vocabulary`
and `cut_byte_bpe` make the teacher's tokenizer smaller, `start_embedding` brings the teacher's
embeddings to the student's width.
"""

import lazy_loader

# Keras finds the classes of a `.keras` file by the names that importing them registers.
from tfdistill.students import (  # noqa: F401
    decoder_blocks as _decoder,
    encoder_blocks as _encoder,
    ngram_bag as _bag,
)

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
