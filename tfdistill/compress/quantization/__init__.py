"""Quantization-aware training: the grids of weights and of activations."""
