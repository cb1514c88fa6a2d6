"""LiteRT at work: opens `.tflite` files, runs them, and benchmarks them.

`Interpreter` runs a file, `measure` tells its latency, size and resource usage. `sandbox` opens a
stranger's file in a child process first; `shared_weights` keeps one copy of a model's weights for
all processes of a machine; `kv_cache` holds what a language model remembers of a text. Nothing
here imports TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
