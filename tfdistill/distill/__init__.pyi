from . import callbacks as callbacks, losses as losses
from .distiller import Distiller as Distiller
from .features.feature_loss import FeatureLoss as FeatureLoss
from .losses.multitask import DistilledLoss as DistilledLoss, pack_targets as pack_targets
from .teacher_cache.cache import TeacherCache as TeacherCache
