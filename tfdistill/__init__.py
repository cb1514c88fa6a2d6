"""tfdistill: distil a Keras model, compress it, prove the TFLite file agrees, run agents on it.

The whole library is one line. A Keras 3 model goes in and a Keras 3 model comes out, until
`export`; after that there are only files::

    teacher, data ─ Distiller ─▶ student ─ compress ─▶ student′ ─ export ─▶ bundle ─ agents ─▶ team
      Model                       Model    Model→Model   Model              files     files
                                                           └───── compare ──┘

===========  =======================================================  ==========================
stage        names                                                    room
===========  =======================================================  ==========================
data         `datasets`: texts and pretrained files                   `datasets/`
teacher      `teachers`, `TeacherCache`                               `teachers/`, `distill/`
student      `students`                                               `students/`
distill      `distill`: `Distiller`, `FeatureLoss`, `losses`          `distill/`
             `callbacks`: schedules, `LossMonitor`                    `distill/`
compress     `compress`: `prune_low_magnitude`, `quantize_aware`,     `compress/`
             `cluster_weights`, `strip`, `Compressed`,
             `sensitivity`, `survey`; structured: `share_layers`,
             `drop_layers`, `prune_heads`, `prune_ffn`,
             `prune_vocabulary`
generate     `language`: causal language models                       `language/`
export       `export`: `to_tflite`, `compare`, `save_bundle`          `export/`, `bundles/`
run          `agents` (imports no TensorFlow at all), `measure`       `agents/`, `runtime/`
serve        `tfdistill serve`, `serving`                             `serving/`
spend        `rl`: Q-learning for a team under a budget               `rl/`
one command  `distill_text`, `pipelines`: `tfdistill distill`, `demo` `pipelines/`, `cli/`
===========  =======================================================  ==========================

Below them lie `arguments` (their checks), `files`, `cluster`, `runtime`, `bundles`, `reports` and
`introspection` (Keras models looked into). A room imports only rooms that come earlier
in this list::

    arguments files cluster runtime datasets reports bundles introspection students agents
    serving compress distill language export teachers rl pipelines cli

Shape letters used in every docstring: `B` batch, `L` tokens, `C` classes, `V` vocabulary,
`D` hidden size, `H` heads. (`T` is the temperature, only.)

Importing this package is light: TensorFlow is imported when the first name that needs it is used.

Example:
    >>> import tfdistill as td
    >>> td.__version__.count(".")
    2
    >>> "Distiller" in dir(td)
    True
"""

import lazy_loader

from tfdistill._version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
