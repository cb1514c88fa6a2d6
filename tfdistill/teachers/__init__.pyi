from .compiled import (
    CompiledTeacher as CompiledTeacher,
    TeacherFidelity as TeacherFidelity,
    compile_teacher as compile_teacher,
    length_buckets as length_buckets,
)
from .pretrained import (
    load_backbone as load_backbone,
    text_classifier as text_classifier,
    text_features as text_features,
    with_head as with_head,
)
from .single_words import word_vectors as word_vectors
from .training import (
    CutPadding as CutPadding,
    TrainedTeacher as TrainedTeacher,
    best_teacher as best_teacher,
    fine_tune as fine_tune,
    train_head as train_head,
)
