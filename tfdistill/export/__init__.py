"""From a Keras model to files, and the proof that the files are as good.

================================  ================================================================
`to_tflite`                       Keras model → `.tflite` file, float or quantised
`Endpoint`                        a function as one of several signatures of the file
`compare`                         does the file answer as the model does? → `ParityReport`
`measure`                         latency and size of a file → `Measurement`
`save_bundle`, `open_bundle`      the folder that an agent opens alone → `Bundle`
`save_language_bundle`            the same for a `Generator`; `compare_language_model` checks it
`StageRow`, `PoolRow`             rows of the truth table and of the agents' throughput
`write_report`                    the truth table of all stages: JSON, Markdown and a plot
`format_table`, `markdown_table`  the same table for the terminal and for a README
`accuracy`, `macro_f1`, …         the numbers in it, as functions
================================  ================================================================

Importing this package is light: TensorFlow is imported when the first name that needs it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfdistill.export.bundle import Bundle, open_bundle, save_bundle
    from tfdistill.export.causal import language_to_tflite
    from tfdistill.export.describing import describe_bundle
    from tfdistill.export.endpoints import Endpoint
    from tfdistill.export.language_bundle import LanguageBundle, open_language_bundle
    from tfdistill.export.language_saving import (
        SignatureParity,
        compare_language_model,
        save_language_bundle,
    )
    from tfdistill.export.measurement import Measurement, measure
    from tfdistill.export.metrics import (
        accuracy,
        agreement,
        count_nonzero,
        count_parameters,
        gzip_weight_bytes,
        macro_f1,
        weight_bytes,
    )
    from tfdistill.export.parity import ParityReport, compare
    from tfdistill.export.report import (
        PoolRow,
        StageRow,
        format_table,
        markdown_table,
        write_report,
    )
    from tfdistill.export.tflite import to_tflite

__all__ = [
    "Bundle",
    "Endpoint",
    "LanguageBundle",
    "Measurement",
    "ParityReport",
    "PoolRow",
    "SignatureParity",
    "StageRow",
    "accuracy",
    "agreement",
    "compare",
    "compare_language_model",
    "count_nonzero",
    "count_parameters",
    "describe_bundle",
    "format_table",
    "gzip_weight_bytes",
    "language_to_tflite",
    "macro_f1",
    "markdown_table",
    "measure",
    "open_bundle",
    "open_language_bundle",
    "save_bundle",
    "save_language_bundle",
    "to_tflite",
    "weight_bytes",
    "write_report",
]

_MODULE_OF = {
    "Bundle": "bundle",
    "Endpoint": "endpoints",
    "LanguageBundle": "language_bundle",
    "Measurement": "measurement",
    "ParityReport": "parity",
    "PoolRow": "report",
    "SignatureParity": "language_saving",
    "StageRow": "report",
    "accuracy": "metrics",
    "agreement": "metrics",
    "compare": "parity",
    "compare_language_model": "language_saving",
    "count_nonzero": "metrics",
    "count_parameters": "metrics",
    "describe_bundle": "describing",
    "format_table": "report",
    "gzip_weight_bytes": "metrics",
    "language_to_tflite": "causal",
    "macro_f1": "metrics",
    "markdown_table": "report",
    "measure": "measurement",
    "open_bundle": "bundle",
    "open_language_bundle": "language_bundle",
    "save_bundle": "bundle",
    "save_language_bundle": "language_saving",
    "to_tflite": "tflite",
    "weight_bytes": "metrics",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    """Imports the module behind a public name when the name is first used (PEP 562)."""
    if name in _MODULE_OF:
        value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Lists the public names, whether or not their modules are imported yet."""
    return sorted({*globals(), *__all__})
