"""How far an answer can be trusted: calibrated probabilities, and texts of no class."""
