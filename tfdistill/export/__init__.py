"""From a Keras model to files, and the proof that the files are as good.

================================  ================================================================
`to_tflite`                       Keras model → `.tflite` file, float or quantized
`Endpoint`                        a function as one of several signatures of the file
`compare`                         does the file answer as the model does? → `ParityReport`
`save_bundle`                     the folder that an agent opens alone
`save_language_bundle`            the same for a `Generator`; `compare_language_model` checks it
================================  ================================================================
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
