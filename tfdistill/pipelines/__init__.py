"""What one command does from beginning to end.

`distill_text` makes a tiny model of labelled texts and says whether it won: a pretrained
teacher learns the labels, students learn from its answers, the cheapest rivals stand beside them.

    distillation.py   the order of it all: `distill_text`
    texts/            its parts: rows, teacher, copies, students, rivals, the proof
    run_folder.py     steps that are done once and found again
    progress.py       one bar
    silence.py        nothing else on the terminal

The demo has few labels and much text, and shows the way with fewer parts:

    text_classification.py   the order of it all: `run_demo`
    data.py                  texts as token ids, and which of them keep their label
    training.py              teacher, control, student, compression
    agents.py                the file as agents, and how fast each way of running them is
    evaluation.py            one row of the results table for each stage
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
