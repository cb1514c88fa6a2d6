"""A teacher that the user brings: a Keras model from token ids to logits, used as it is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from tokenizers import Tokenizer

from tfdistill.distill.teacher_cache.inference import teacher_fingerprint
from tfdistill.introspection.backend import check_model, refuse_probabilities
from tfdistill.pipelines.texts.tasks import TextTask
from tfdistill.pipelines.texts.words import Words
from tfdistill.students.encoder_blocks import TokenLookup
from tfdistill.students.initialization import token_features
from tfdistill.teachers.single_words import centered_directions

__all__ = ["OwnTeacher", "own_teacher"]


@dataclass(frozen=True, eq=False)
class OwnTeacher:
    """A model from token ids to logits, which is not trained further.

    Attributes:
        network: The model, int ids `[B, L]` to logits `[B, C]`.
        tokenizer: What makes its ids.
        task: What is asked; the model answers a number in its units, and what is learned of it is
            standardized.
    """

    network: keras.Model
    tokenizer: Tokenizer
    task: TextTask

    @property
    def sequence_length(self) -> int | None:
        """Number of ids that the model takes; None for any."""
        return self.network.input_shape[1]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the model's layers and weights."""
        return teacher_fingerprint(self.network, None)

    def model(
        self, *, sequence_length: int | None = None, kept_ids: np.ndarray | None = None
    ) -> keras.Model:
        """Makes the teacher for texts of one length; a model of a fixed length is given padding.

        Args:
            sequence_length: Number of ids per text; None takes the model's own.
            kept_ids: If the ids are those of a cut vocabulary, the teacher's id of each.

        Returns:
            A Functional model, int32 ids `[B, L]` to logits `[B, C]`, which shares the weights.
        """
        fixed = self.sequence_length
        length = sequence_length or fixed
        ids = keras.Input((length,), dtype="int32", name="ids")
        tokens = ids if kept_ids is None else TokenLookup(kept_ids, name="lookup")(ids)
        if fixed and length and length < fixed:
            tokens = ops.pad(tokens, ((0, 0), (0, fixed - length)))
        wanted = self.network.inputs[0].dtype
        if wanted != "int32":
            tokens = ops.cast(tokens, wanted)
        logits = self.network(tokens)
        if self.task.scale is not None:
            scale = self.task.scale
            logits = (logits - scale.mean) / scale.standard_deviation
        return keras.Model(ids, logits, name="teacher")

    def word_vectors(self, words: Words) -> np.ndarray:
        """Returns a vector for each of the students' words: what it knows of them one by one.

        That is its logits for the word alone, beside its row of the model's table, where one of
        the model's weights has a row for each token.

        Args:
            words: The students' vocabulary.

        Returns:
            float32 `[V, D]`.
        """
        before, after = words.around
        alone = self.model(sequence_length=len(before) + 1 + len(after))
        logits = token_features(alone, token_ids=words.kept_ids, before=before, after=after)
        rows = 1 + _largest_id(self.tokenizer)
        tables = [
            weight for weight in self.network.weights
            if len(weight.shape) == 2 and weight.shape[0] >= rows and "embed" in weight.path.lower()
        ]  # fmt: skip
        halves = [ops.convert_to_numpy(table)[words.kept_ids] for table in tables[:1]]
        return np.concatenate([centered_directions(half) for half in [*halves, logits]], axis=1)


def own_teacher(
    model: keras.Model, tokenizer: Tokenizer | str | os.PathLike[str] | None, *, task: TextTask
) -> OwnTeacher:
    """Checks a teacher that was brought, and tries it on the tokenizer's largest id.

    Args:
        model: Token ids to logits over the classes or labels, in the order of their sorted names,
            or to the number.
        tokenizer: What makes the ids, or its `tokenizer.json`; id 0 is padding.
        task: What is asked of the texts.

    Returns:
        The teacher.

    Raises:
        FileNotFoundError: If the tokenizer's file is not there.
        TypeError: If `model` or `tokenizer` is something else.
        ValueError: If the model has other inputs or outputs, returns probabilities or what is no
            number, has no row for an id, or id 0 is not padding.
    """
    check_model(model, argument="teacher")
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or ()]
    outputs = [tuple(tensor.shape) for tensor in getattr(model, "outputs", None) or ()]
    if [len(shape) for shape in (*shapes, *outputs)] != [2, 2] or len(shapes) != 1:
        raise ValueError(
            "`teacher` must be a model with one input of token ids (batch, length) and one output "
            f"of logits (batch, classes). Received: a model from {shapes} to {outputs}. Wrap it in "
            "a functional keras.Model."
        )
    if outputs[0][1] != task.num_outputs:
        raise ValueError(
            f"`teacher` must have a logit for each of the {task.num_outputs} classes of the texts, "
            f"in the order of their sorted names. Received: a model with {outputs[0][1]} outputs. "
            "Train its head on these classes, or leave out rows of others."
        )
    refuse_probabilities(model, argument="teacher")
    opened = _opened(tokenizer)
    padding = opened.id_to_token(0)
    if padding is None or "pad" not in padding.lower():
        raise ValueError(
            "`tokenizer` must have its padding token at id 0. Received: tokenizer with "
            f"{padding!r} there. Id 0 is what the students take for padding."
        )
    teacher = OwnTeacher(model, opened, task)
    _try(teacher)
    return teacher


def _opened(tokenizer: Tokenizer | str | os.PathLike[str] | None) -> Tokenizer:
    if isinstance(tokenizer, Tokenizer):
        return tokenizer
    if not isinstance(tokenizer, (str, os.PathLike)):
        raise TypeError(
            "`tokenizer` must be a tokenizers.Tokenizer or its file where `teacher` is a "
            f"keras.Model. Received: tokenizer={tokenizer!r} ({type(tokenizer).__name__}). It is "
            "what makes the ids that the model was trained on."
        )
    if not Path(tokenizer).is_file():
        raise FileNotFoundError(
            "`tokenizer` must be an existing tokenizer.json. Received: tokenizer="
            f"{os.fspath(tokenizer)!r}. Tokenizer.save writes one."
        )
    try:
        return Tokenizer.from_file(os.fspath(tokenizer))
    except Exception as error:  # the library raises plain Exception
        raise ValueError(
            "`tokenizer` must be a tokenizer.json that the installed `tokenizers` reads. Received: "
            f"tokenizer={os.fspath(tokenizer)!r}, which is not ({error}). Save it again."
        ) from error


def _try(teacher: OwnTeacher) -> None:
    largest = _largest_id(teacher.tokenizer)
    ids: Any = np.full((1, teacher.sequence_length or 4), largest, np.int32)
    try:
        logits = np.asarray(teacher.model(sequence_length=ids.shape[1]).predict(ids, verbose=0))
    except Exception as error:  # TensorFlow has many kinds
        raise ValueError(
            f"`teacher` must take the ids of its tokenizer, up to {largest}. Received: a model "
            f"that fails on them ({str(error).strip().splitlines()[0][:200]}). Give the tokenizer "
            "that it was trained with."
        ) from error
    if not np.isfinite(logits).all():
        raise ValueError(
            "`teacher` must answer with finite logits. Received: "
            f"{logits[0].tolist()} for a row of ids {largest}. Train it again, more slowly."
        )


def _largest_id(tokenizer: Tokenizer) -> int:
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
