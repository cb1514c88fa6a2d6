from .text_classification import run_demo as run_demo
from .training import Recipe as Recipe
