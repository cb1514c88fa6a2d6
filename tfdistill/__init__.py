"""tfdistill: distil a Keras model, compress it, prove the TFLite file agrees, run a crew of it.

The whole library is one line. A Keras 3 model goes in and a Keras 3 model comes out, until
`export`; after that there are only files::

    teacher, data ─ Distiller ─▶ student ─ compress ─▶ student′ ─ export ─▶ bundle ─ agents ─▶ team
      Model                       Model    Model→Model   Model              files     files
                                                           └───── compare ──┘

==========  =================================================  ================================
stage       names                                              where
==========  =================================================  ================================
data        `datasets`                                         `datasets/`
teacher     `teachers`, `TeacherCache`                         `teachers.py`, `answers/`
student     `students`                                         `students/`
generate    `language`: causal language models                 `language/`
distil      `Distiller`, `FeatureLoss`, `losses`               `distiller.py`, `features/`,
            `callbacks`: schedules, `LossMonitor`              `losses.py`, `callbacks.py`
shrink      `compress`: `prune_low_magnitude`,                 `compress/`
            `quantize_aware`, `cluster_weights`, `strip`,
            `Compressed`, `sensitivity`, `survey`
            `structure`: `share_layers`, `drop_layers`,        `structure/`
            `prune_heads`, `prune_ffn`, `prune_vocabulary`
TFLite      `export`: `to_tflite`, `compare`, `measure`,       `export/`
            `save_bundle`
run         `agents` (imports no TensorFlow at all)            `agents/`
spend       `rl`: Q-learning for a team under a budget         `rl/`
==========  =================================================  ================================

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

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfdistill import (
        agents,
        callbacks,
        compress,
        datasets,
        export,
        language,
        losses,
        rl,
        structure,
        students,
        teachers,
    )
    from tfdistill.answers import TeacherCache
    from tfdistill.compress import (
        Compressed,
        cluster_weights,
        prune_low_magnitude,
        quantize_aware,
        sensitivity,
        strip,
        survey,
    )
    from tfdistill.distiller import Distiller
    from tfdistill.export import compare, measure, save_bundle, to_tflite
    from tfdistill.features import FeatureLoss
    from tfdistill.structure import (
        drop_layers,
        prune_ffn,
        prune_heads,
        prune_vocabulary,
        share_layers,
    )

__version__ = "0.1.0"

__all__ = [
    "Compressed",
    "Distiller",
    "FeatureLoss",
    "TeacherCache",
    "agents",
    "callbacks",
    "cluster_weights",
    "compare",
    "compress",
    "datasets",
    "drop_layers",
    "export",
    "language",
    "losses",
    "measure",
    "prune_ffn",
    "prune_heads",
    "prune_low_magnitude",
    "prune_vocabulary",
    "quantize_aware",
    "rl",
    "save_bundle",
    "sensitivity",
    "share_layers",
    "strip",
    "structure",
    "students",
    "survey",
    "teachers",
    "to_tflite",
]

_SUBMODULES = frozenset(
    {
        "agents",
        "callbacks",
        "compress",
        "datasets",
        "export",
        "language",
        "losses",
        "rl",
        "structure",
        "students",
        "teachers",
    }
)
_MODULE_OF = {
    "Compressed": "compress",
    "Distiller": "distiller",
    "FeatureLoss": "features",
    "TeacherCache": "answers",
    "cluster_weights": "compress",
    "compare": "export",
    "drop_layers": "structure",
    "measure": "export",
    "prune_ffn": "structure",
    "prune_heads": "structure",
    "prune_low_magnitude": "compress",
    "prune_vocabulary": "structure",
    "quantize_aware": "compress",
    "save_bundle": "export",
    "sensitivity": "compress",
    "share_layers": "structure",
    "strip": "compress",
    "survey": "compress",
    "to_tflite": "export",
}


def __getattr__(name: str) -> Any:
    """Imports the module behind a public name when the name is first used (PEP 562)."""
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _MODULE_OF:
        value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Lists the public names, whether or not their modules are imported yet."""
    return sorted({*globals(), *__all__})
