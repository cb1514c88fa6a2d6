"""What one command does from beginning to end.

The case that people really have: few labels, much text. A pretrained teacher learns from the few
labels, a tiny student learns from the teacher on all of the text, and every step says what it
cost and what it gained, beside the controls that could prove it pointless.

    data.py                  texts as token ids, and which of them keep their label
    training.py              teacher, control, student, compression
    agents.py                the file as agents, and how fast each way of running them is
    evaluation.py            one row of the results table for each stage
    text_classification.py   the order of it all
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
