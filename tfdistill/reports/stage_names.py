"""What the stages of a run are called, and what each of them is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["STAGES", "explained_stages", "stage_title"]

# Name in tables and files: name in a sentence, and what it is.
STAGES: Mapping[str, tuple[str, str]] = {
    "teacher": ("teacher", "the large model that the student learns from"),
    "teacher_8bit": ("teacher in 8 bits", "the same teacher as an 8-bit file, without a student"),
    "control": ("control", "the same student, trained on the labels alone, for as many steps"),
    "bag_of_words_labels": (
        "bag of words on labels",
        "a linear classifier over words and pieces of words, trained on the labels",
    ),
    "bag_of_words_teacher": (
        "bag of words on the teacher's answers",
        "the same classifier, trained on what the teacher says",
    ),
    "distilled": ("distilled", "the student after distillation, before compression"),
    "pruned": ("pruned", "the student with its small weights set to zero"),
    "quantization_aware": (
        "quantization-aware",
        "the student after training with the rounding of its 8-bit file",
    ),
    "file": ("encoder's file", "the distilled encoder as one .tflite file"),
    # What the demo calls some of them.
    "tfidf": ("bag of words on labels", "TF-IDF of words and a linear classifier"),
    "compressed": ("compressed", "the student after pruning and training in 8 bits"),
    "tflite": ("file", "the student as it ships: one .tflite file"),
}


def stage_title(stage: str) -> str:
    """Returns the name of a stage as it stands in a sentence.

    Args:
        stage: A name of `STAGES`, or any other.

    Example:
        >>> stage_title("bag_of_words_labels"), stage_title("fast_text")
        ('bag of words on labels', 'fast text')
    """
    return STAGES[stage][0] if stage in STAGES else stage.replace("_", " ")


def explained_stages(stages: Iterable[str]) -> list[tuple[str, str]]:
    """Returns what those stages are that have an explanation here.

    Args:
        stages: Names, in the order of a table.

    Returns:
        Pairs of a name and what it is.
    """
    return [(stage, STAGES[stage][1]) for stage in stages if stage in STAGES]
