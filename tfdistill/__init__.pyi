__version__: str

from . import (
    agents as agents,
    bundles as bundles,
    compress as compress,
    datasets as datasets,
    distill as distill,
    export as export,
    introspection as introspection,
    language as language,
    pipelines as pipelines,
    reports as reports,
    rl as rl,
    runtime as runtime,
    students as students,
    teachers as teachers,
)
from .compress import (
    Compressed as Compressed,
    cluster_weights as cluster_weights,
    drop_layers as drop_layers,
    prune_ffn as prune_ffn,
    prune_heads as prune_heads,
    prune_low_magnitude as prune_low_magnitude,
    prune_vocabulary as prune_vocabulary,
    quantize_aware as quantize_aware,
    sensitivity as sensitivity,
    share_layers as share_layers,
    strip as strip,
    survey as survey,
)
from .distill import (
    Distiller as Distiller,
    FeatureLoss as FeatureLoss,
    TeacherCache as TeacherCache,
    callbacks as callbacks,
    losses as losses,
)
from .export import compare as compare, save_bundle as save_bundle, to_tflite as to_tflite
from .pipelines import distill_text as distill_text
from .runtime import measure as measure
