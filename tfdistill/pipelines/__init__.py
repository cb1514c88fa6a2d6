"""What one command does from beginning to end.

`distill_text` makes a tiny model of labelled texts and says whether it won: a pretrained
teacher learns the labels, students learn from its answers, the cheapest rivals stand beside them.

    distillation.py   the order of it all: `distill_text`
    texts/            its parts: rows, teacher, copies, students, rivals, the proof
    run_folder.py     steps that are done once and found again
    progress.py       one bar
    silence.py        nothing else on the terminal

The demo is a call of it on news of which few have a label, and runs what ships as agents:

    demo.py           `run_demo`
    executors.py      how fast each way of running agents is, and whether all say the same
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
