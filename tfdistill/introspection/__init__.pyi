from .backend import check_model as check_model, tfmot as tfmot
from .clone import copy_model as copy_model
from .weights import (
    count_nonzero as count_nonzero,
    count_parameters as count_parameters,
    gzip_weight_bytes as gzip_weight_bytes,
    weight_bytes as weight_bytes,
)
