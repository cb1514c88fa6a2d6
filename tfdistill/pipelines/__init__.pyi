from .demo import run_demo as run_demo
from .distillation import TextRun as TextRun, distill_text as distill_text
from .executors import compare_executors as compare_executors
