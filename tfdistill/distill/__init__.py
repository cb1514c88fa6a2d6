"""Knowledge distillation: the `Distiller`, its losses, and the teacher's logits on disk.

`Distiller` is a `keras.Model` that trains a student on labels and on a teacher's soft targets.
`FeatureLoss` adds a loss between hidden layers, `TeacherCache` stores the teacher's logits once
for many trainings, `losses` holds the equations and `callbacks` the schedules.
"""

import lazy_loader

# Keras finds the classes of a `.keras` file by the names that importing them registers.
from tfdistill import compress as _compress, students as _students  # noqa: F401
from tfdistill.distill import distiller as _distiller  # noqa: F401
from tfdistill.distill.losses import multitask as _multitask  # noqa: F401

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
