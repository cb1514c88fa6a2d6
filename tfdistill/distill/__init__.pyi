from . import callbacks as callbacks, losses as losses
from .backup import Backup as Backup
from .distiller import Distiller as Distiller
from .epoch_rows import EpochRows as EpochRows
from .features.feature_loss import FeatureLoss as FeatureLoss
from .length_batches import batches_of_like_length as batches_of_like_length
from .losses.multitask import DistilledLoss as DistilledLoss, pack_targets as pack_targets
from .optimizers import muon as muon
from .teacher_cache.cache import TeacherCache as TeacherCache
