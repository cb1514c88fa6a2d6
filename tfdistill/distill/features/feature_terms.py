"""The feature losses of one Distiller, resolved: layers found, widths matched, terms computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfdistill.distill.features.feature_loss import FeatureLoss, position_losses
from tfdistill.distill.losses.soft import masked_mean
from tfdistill.distill.teacher_cache.cache import TeacherCache
from tfdistill.distill.teacher_cache.logit_records import split_features
from tfdistill.introspection.hooks import Parts, Point, capturing
from tfdistill.introspection.layer_paths import find_attention, find_layer, list_layers, match_path
from tfdistill.introspection.shapes import shapes_of

__all__ = ["FeatureTerms"]

_Specs = Mapping[str, tf.TensorSpec]
_OWN_LOGS = ("loss", "hard_loss", "soft_loss")


@dataclass(frozen=True)
class _Term:
    """One feature loss with the layers that it means."""

    name: str
    feature_loss: FeatureLoss
    teacher: Point | str  # a path of the cache is all there is of a cached layer
    student: Point


class FeatureTerms:
    """Finds the layers of feature losses and computes the losses from what they hold.

    Args:
        feature_losses: The losses, or an empty sequence.
        student: The student.
        teachers: The teachers: Keras models, or one cache with the layers stored.

    Raises:
        TypeError: If `feature_losses` is no list of `FeatureLoss`.
        ValueError: If a layer is not there, or is not clear, or does not fit its counterpart.
    """

    def __init__(
        self,
        feature_losses: Sequence[FeatureLoss],
        *,
        student: keras.Model,
        teachers: Sequence[Any],
    ) -> None:
        _check_losses(feature_losses)
        self.projectors: dict[str, keras.layers.Dense] = {}
        self._terms: list[_Term] = []
        if not feature_losses:
            return
        cache = teachers[0] if isinstance(teachers[0], TeacherCache) else None
        models = [one for one in teachers if isinstance(one, keras.Model)]
        if cache is None:
            _check_models(models, teachers)
        names = _unique_names(feature_losses)
        for name, loss in zip(names, feature_losses, strict=True):
            there: Point | str
            if cache is not None:
                there = _stored_layer(loss, cache)
            else:
                there = _point(models, loss, argument="teacher")
            here = _point([student], loss, argument="student")
            self._terms.append(_Term(name, loss, there, here))
        ours = _shapes([student], [t.student for t in self._terms], argument="student")
        points = [t.teacher for t in self._terms if isinstance(t.teacher, Point)]
        theirs: dict[Any, _Specs] = dict(cache.layer_specs() if cache is not None else {})
        theirs.update(_shapes(models, points, argument="teacher"))
        for term in self._terms:
            self._match(term, ours[term.student], theirs[term.teacher])

    @property
    def names(self) -> list[str]:
        """Names of the terms in the logs."""
        return [term.name for term in self._terms]

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Weights of the projectors."""
        layers = self.projectors.values()
        return [variable for layer in layers for variable in layer.trainable_variables]

    @property
    def feature_losses(self) -> list[FeatureLoss]:
        """The losses as they were given."""
        return [term.feature_loss for term in self._terms]

    @property
    def weights(self) -> dict[str, float]:
        """Weights of the terms by name."""
        return {term.name: term.feature_loss.weight for term in self._terms}

    def watch_teacher(self) -> AbstractContextManager[dict[Any, Parts]]:
        """Records the teacher's layers while it is called once in the body."""
        return capturing([term.teacher for term in self._terms if isinstance(term.teacher, Point)])

    def watch_student(self) -> AbstractContextManager[dict[Any, Parts]]:
        """Records the student's layers while it is called once in the body."""
        return capturing([term.student for term in self._terms])

    def from_batch(self, x: Any) -> dict[Any, Parts]:
        """Takes what a cache has stored of the teacher's layers out of a batch."""
        return dict(split_features(x)) if self._terms else {}

    def losses(
        self,
        teacher: Mapping[Any, Parts],
        student: Mapping[Any, Parts],
        *,
        sample_weight: tf.Tensor | None,
    ) -> dict[str, tf.Tensor]:
        """Computes the terms by name, not yet weighted: Σ m · w · ℓ / max(Σ m, 1) of each.

        Args:
            teacher: What was recorded of the teacher's layers.
            student: What was recorded of the student's.
            sample_weight: Weights of shape `[B]` or that of the positions, or None.

        Returns:
            Scalars; under a strategy each replica's share.
        """
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        terms = {}
        for term in self._terms:
            parts = self._projected(term, student[term.student])
            values, mask = position_losses(term.feature_loss, teacher[term.teacher], parts)
            _check_sample_weight(sample_weight, values, term)
            mean = masked_mean(values, mask=mask, sample_weight=sample_weight)
            terms[term.name] = mean / replicas
        return terms

    def weighted_sum(self, terms: Mapping[str, tf.Tensor]) -> tf.Tensor | float:
        """Adds up Σ wᵢ · Lᵢ.

        Args:
            terms: The terms by name; others are left out.

        Returns:
            A scalar, 0.0 if there are no feature losses.
        """
        return sum((term.feature_loss.weight * terms[term.name] for term in self._terms), 0.0)

    def _projected(self, term: _Term, parts: Parts) -> Parts:
        if term.name not in self.projectors:
            return parts
        return {**parts, "states": self.projectors[term.name](parts["states"])}

    def _match(self, term: _Term, ours: _Specs, theirs: _Specs) -> None:
        """Compares the shapes of a pair and makes its projector."""
        if term.feature_loss.kind == "states":
            _check_positions(term, ours["states"].shape, theirs["states"].shape)
            width, target = ours["states"].shape[-1], theirs["states"].shape[-1]
            if width != target:
                # In float32, whatever the student computes in: all that it learns about the
                # teacher's width goes through here.
                projector = keras.layers.Dense(
                    target, dtype="float32", name=f"projector_{term.name}"
                )
                projector.build((None, width))
                self.projectors[term.name] = projector
        self._try(term, ours, theirs)

    def _try(self, term: _Term, ours: _Specs, theirs: _Specs) -> None:
        """Traces a term once, so that what does not fit is said before the first batch."""

        def values(teacher: Parts, student: Parts) -> tf.Tensor:
            return position_losses(term.feature_loss, teacher, self._projected(term, student))[0]

        traced = tf.function(values, autograph=False).get_concrete_function(theirs, ours)
        shape = traced.structured_outputs.shape
        positions = ours["states"].shape[:-1] if "states" in ours else ours["query"].shape[:2]
        if not shape.is_compatible_with(positions):
            raise ValueError(
                "`loss` of a FeatureLoss must return one loss per position, without an average. "
                f"Received: {term.feature_loss!r}, which makes {_show(shape)} of positions "
                f"{_show(positions)}."
            )


def _point(models: Sequence[keras.Model], loss: FeatureLoss, *, argument: str) -> Point:
    path = loss.teacher if argument == "teacher" else loss.student
    where = f"the {argument} {' or '.join(repr(model.name) for model in models)}"
    whole, layer = find_layer(models, path, argument=argument, where=where)
    if loss.kind == "attention":
        whole, layer = find_attention(whole, layer, argument=argument)
    return Point(whole, layer, loss.kind)


def _stored_layer(loss: FeatureLoss, cache: TeacherCache) -> str:
    if loss.kind == "attention":
        raise ValueError(
            "`loss` of a FeatureLoss must be 'hidden_mse', 'hidden_cosine' or a function with a "
            f"TeacherCache, which holds no queries and keys. Received: {loss!r}. "
            "Give the teacher itself, or a loss on hidden states."
        )
    if not cache.layers:
        raise ValueError(
            "`teacher` must be a cache with layers for feature losses. Received: a TeacherCache "
            f"without any, and {loss!r}. Build it with TeacherCache.build(..., "
            f"layers=({loss.teacher!r},))."
        )
    longer = [path for path in cache.layers if loss.teacher.endswith(f"/{path}")]
    if len(longer) == 1:  # stored by the end of the path, asked for by more of it
        return longer[0]
    where = "the TeacherCache, whose `layers` are fixed when it is built"
    return match_path(loss.teacher, cache.layers, argument="teacher", where=where)


def _shapes(
    models: Sequence[keras.Model], points: Sequence[Point], *, argument: str
) -> Mapping[Point, _Specs]:
    found: dict[Point, _Specs] = {}
    for model in models:
        inside = {id(layer) for same in list_layers(model).values() for layer in same}
        own = [point for point in points if id(point.layer) in inside]
        shapes = shapes_of(model, own) if own else {}
        if shapes is None:
            raise ValueError(
                f"`{argument}` must say what it takes, so that its layers' shapes are known. "
                f"Received: {argument}={model.name!r} of class {type(model).__name__}. Wrap it: "
                "inputs = keras.Input(...); keras.Model(inputs, model(inputs))."
            )
        found.update(shapes)
    return found


def _check_losses(feature_losses: Sequence[FeatureLoss]) -> None:
    if not isinstance(feature_losses, (list, tuple)) or not all(
        isinstance(loss, FeatureLoss) for loss in feature_losses
    ):
        raise TypeError(
            "`feature_losses` must be a list of FeatureLoss. "
            f"Received: feature_losses={feature_losses!r}. For example "
            "[FeatureLoss(teacher='encoder_5', student='encoder_1', loss='hidden_mse')]."
        )


def _check_models(models: Sequence[keras.Model], teachers: Sequence[Any]) -> None:
    if not models:
        raise ValueError(
            "`teacher` must be a Keras model, or a TeacherCache with layers, for feature losses. "
            f"Received: teacher={teachers[0]!r}, whose layers cannot be seen."
        )


def _check_positions(term: _Term, ours: tf.TensorShape, theirs: tf.TensorShape) -> None:
    if (
        len(ours) != len(theirs)
        or not ours[1:-1].is_compatible_with(theirs[1:-1])
        or None in (ours[-1], theirs[-1])
    ):
        raise ValueError(
            "`teacher` and `student` of a FeatureLoss must name layers with the same positions "
            f"and a known width. Received: {term.feature_loss!r}, teacher → {_show(theirs)}, "
            f"student → {_show(ours)}. Only the last axis may differ."
        )


def _check_sample_weight(sample_weight: tf.Tensor | None, values: tf.Tensor, term: _Term) -> None:
    if sample_weight is None or sample_weight.shape.num_elements() == 1:
        return
    shape = sample_weight.shape
    if len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    if not shape.is_compatible_with(values.shape[: len(shape)]):
        raise ValueError(
            "`sample_weight` must have the shape [B], or that of the positions of each feature "
            f"loss. Received: sample_weight of shape {_show(sample_weight.shape)}, "
            f"{term.feature_loss!r} with positions {_show(values.shape)}."
        )


def _unique_names(feature_losses: Sequence[FeatureLoss]) -> list[str]:
    names: list[str] = []
    for loss in feature_losses:
        name, count = loss.name, 1
        while name in names or name in _OWN_LOGS:
            count += 1
            name = f"{loss.name}_{count}"
        names.append(name)
    return names


def _show(shape: tf.TensorShape) -> str:
    return str(tuple(shape))
