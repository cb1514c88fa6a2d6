from .distillation import TextRun as TextRun, distill_text as distill_text
from .text_classification import run_demo as run_demo
from .training import Recipe as Recipe
