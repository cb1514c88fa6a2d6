"""Proof that a file answers as its Keras model does: outputs, layers, metrics."""
