"""Structured pruning and sharing: layers, heads, units and rows leave the model."""
