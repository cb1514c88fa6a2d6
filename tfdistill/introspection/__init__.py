"""Keras models looked into: their weights, their layers by path, hooks on layers, copies.

This room decides which Keras is used (`backend`), finds layers by path, records what layers
compute, copies models, and names their inputs and outputs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
