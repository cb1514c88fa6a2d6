"""The whole road in one command: `tfdistill demo`.

The case that people really have: few labels, much text. A pretrained teacher learns from the few
labels, a tiny student learns from the teacher on all of the text, and every step says what it
cost and what it gained, beside the controls that could prove it pointless.

    data.py       texts as token ids, and which of them keep their label
    training.py   teacher, control, student, compression
    serving.py    the file as agents, and how fast each way of running them is
    truth.py      one row of the table for each stage
    run.py        the order of it all
"""

from tfdistill.demo.run import run_demo

__all__ = ["run_demo"]
