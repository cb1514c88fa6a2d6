"""Compression as a transform of weights, not a wrapper of layers.

A `Compressed` model holds a plain copy of the student and an ordered list of transforms for
each of its weights. In the forward pass the student runs, unchanged, on the transformed values.
So whatever layer owns the weight, a Dense, an attention projection, an embedding, a layer nested
in a model of somebody else's, is covered alike, and techniques compose: a recipe is a list. Pruned
weights are brought back to zero at the end of each epoch, as TF-MOT's callback does.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import tensorflow as tf

from tfdistill.compress import recipe as recipes
from tfdistill.compress.guarantees import Guarantee
from tfdistill.compress.technique import (
    WeightState,
    WeightTransform,
    assign_across_replicas,
    conditional_assign,
)
from tfdistill.introspection.backend import check_model
from tfdistill.introspection.clone import copy_model
from tfdistill.introspection.layer_pairs import paired_variables
from tfdistill.introspection.layer_paths import StudentWrapper
from tfdistill.introspection.optimizer_state import build_optimizer
from tfdistill.introspection.seed_state import load_seeds, save_seeds
from tfdistill.introspection.weights import Target, find_targets, select

__all__ = [
    "Compressed",
    "Masked",
    "append",
    "guarantees_of",
    "plain_model",
    "strip",
    "with_masks_reapplied",
]


@keras.saving.register_keras_serializable(package="tfdistill")
class Compressed(StudentWrapper, keras.Model):
    """Runs a copy of a student on transformed weights, and trains it through them.

    Args:
        student: A built Keras 3 model. It is copied, never changed.
        recipe: Transforms in the order in which they apply to a weight. None may undo what an
            earlier one guarantees: prune, then cluster, then quantize. They are trained at the
            same time, or one after the other by their `begin_step`.
        name: Name of the model.

    Attributes:
        student: The copy of the student.
        recipe: The transforms.
        step: Training steps so far, an int64 scalar.
        weight_states: One `WeightState` for each transform and weight, in the recipe's order.

    Raises:
        TypeError: If `student` is not a Keras 3 model or the recipe not a list of transforms.
        ValueError: If the model cannot be copied, has nothing to compress, or a transform undoes
            what an earlier one guarantees.

    Example:
        >>> import numpy as np
        >>> from tfdistill.compress import Prune, Quantize
        >>> student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> small = Compressed(student, recipe=[Prune(sparsity=0.5, steps=10), Quantize(bits=8)])
        >>> small.compile("sgd", loss="mse")
        >>> _ = small.fit(np.ones((10, 4)), np.ones((10, 2)), batch_size=1, verbose=0)
        >>> float(np.mean(strip(small).layers[0].kernel.numpy() == 0))
        0.5
    """

    def __init__(
        self,
        student: keras.Model,
        *,
        recipe: Sequence[WeightTransform],
        name: str = "compressed",
    ) -> None:
        check_model(student, argument="student")
        recipes.check_recipe(recipe)
        if isinstance(student, Compressed):
            raise TypeError(
                "`student` must be a plain Keras model, not a compressed one. Received: student="
                f"{student.name!r}. Put all transforms into one recipe, or use `quantize_aware` "
                "and `prune_low_magnitude`, which add to the recipe."
            )
        super().__init__(name=name, dtype=student.dtype_policy)
        self.student = copy_model(student)
        self.recipe = tuple(recipe)
        self.step = self.add_weight(
            name="step", shape=(), dtype="int64", initializer="zeros", trainable=False
        )
        targets = find_targets(self.student)
        recipes.check_order(self.recipe, targets)
        self.weight_states: list[WeightState] = []
        for transform in self.recipe:
            chosen = select(targets, include=transform.include, exclude=transform.exclude)
            self.weight_states += transform.create_all(self, chosen)
        if not all(state.supports_jit for state in self.weight_states):
            self.supports_jit = False
        self.built = True

    def add_state(
        self,
        target: Target,
        name: str,
        *,
        shape: tuple[int, ...],
        initial: float,
        dtype: str | None = None,
        aggregation: str = "none",
        trainable: bool = False,
    ) -> keras.Variable:
        """Adds a variable that belongs to one weight; called by the transforms.

        Args:
            target: The weight it belongs to.
            name: What it holds.
            shape: Its shape.
            initial: The value it starts with.
            dtype: Its type; None takes that of the weight.
            aggregation: What becomes of the values that replicas assign, as Keras names it.
            trainable: Whether the optimizer trains it with the student's weights.

        Returns:
            The variable.
        """
        return self.add_weight(
            name=f"{target.path.replace('/', '_')}_{name}",
            shape=shape,
            dtype=dtype or target.variable.dtype,
            initializer=keras.initializers.Constant(initial),
            trainable=trainable,
            aggregation=aggregation,
        )

    def guarantees_before(self, target: Target) -> tuple[Guarantee, ...]:
        """Lists what the transforms that have a state for a weight guarantee about it.

        Args:
            target: The weight.

        Returns:
            Guarantees in the order of the recipe; called by a transform that makes its states,
            those of the transforms before it.
        """
        return tuple(
            guarantee
            for state in self.weight_states
            if state.target.variable is target.variable
            for guarantee in state.transform.guarantees
        )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Runs the student on its transformed weights."""
        if training:
            assign_across_replicas(self._begin_step)
        effective = self.effective_weights(training=bool(training))
        with contextlib.ExitStack() as stack:
            for state in self.weight_states:
                begun = self._has_begun(state, training=bool(training))
                stack.enter_context(state.around_call(training=bool(training), begun=begun))
            scope = stack.enter_context(keras.StatelessScope(collect_losses=True))
            for pair in effective:  # `state_mapping=` would round them to the policy's precision
                scope.add_update(pair)
            outputs = self.student(inputs, training=training)
        given = {id(variable) for variable, _ in effective}
        for variable in self.student.non_trainable_variables:  # dropout seeds, batch statistics
            value = scope.get_current_value(variable)
            if value is not None and id(variable) not in given:  # a frozen kernel stays as it is
                variable.assign(value)
        for loss in scope.losses:
            self.add_loss(loss)
        return outputs

    def effective_weights(self, *, training: bool) -> list[tuple[keras.Variable, tf.Tensor]]:
        """Lists each compressed variable with the value that the forward pass sees.

        Args:
            training: Whether ranges are taken as a training step does.

        Returns:
            Pairs of variable and value.
        """
        values: dict[int, tuple[keras.Variable, tf.Tensor]] = {}
        for state in self.weight_states:
            variable = state.target.variable
            value = values.get(id(variable), (variable, tf.convert_to_tensor(state.weight)))[1]
            changed = state(value, training=training)
            begun = self._has_begun(state, training=training)
            if begun is not True:
                changed = tf.where(begun, changed, value)
            values[id(variable)] = (variable, changed)
        return list(values.values())

    def _has_begun(self, state: WeightState, *, training: bool) -> tf.Tensor | bool:
        begin, step = state.transform.begin_step, self.step.value
        return begin == 0 or (step > begin if training else step >= begin)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Makes Keras' own training step, then lets the transforms follow the optimizer."""
        logs = super().train_step(data)
        self.after_update()
        return logs

    def after_update(self) -> None:
        """Lets the transforms follow the optimizer; runs after each of its steps."""
        assign_across_replicas(lambda: self._for_each_begun(lambda state: state.after_update()))

    def _begin_step(self) -> None:
        self.step.value.assign_add(1)
        self._for_each_begun(lambda state: state.update())

    def _for_each_begun(self, act: Callable[[WeightState], None]) -> None:
        for state in self.weight_states:
            begin = state.transform.begin_step
            if begin == 0:
                act(state)
            else:
                conditional_assign(self.step.value > begin, functools.partial(act, state))

    def reapply_masks(self) -> None:
        """Brings the weights back to their masks, as TF-MOT does at the end of an epoch."""
        for state in self.weight_states:
            state.reapply_mask()

    def fit(self, *args: Any, callbacks: Any = None, **kwargs: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit` does, and reapplies the masks at each epoch's end."""
        build_optimizer(self, self.trainable_weights)
        return super().fit(*args, callbacks=with_masks_reapplied(callbacks, self), **kwargs)

    def save_own_variables(self, store: Any) -> None:
        """Writes the state of the transforms and the dropout seeds, which Keras leaves out."""
        super().save_own_variables(store)
        save_seeds(self, store)

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` wrote."""
        super().load_own_variables(load_seeds(self, store))

    def get_config(self) -> dict[str, Any]:
        """Returns the student and the recipe, for `.keras` files."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "student": serialize(self.student),
            "recipe": [serialize(transform) for transform in self.recipe],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Compressed:
        """Rebuilds the model from its config; the weights follow from the file."""
        deserialize = keras.saving.deserialize_keras_object
        student = deserialize(config["student"], custom_objects=custom_objects)
        for item in config["recipe"]:  # imports, and so registers, a technique of this package
            getattr(importlib.import_module("tfdistill.compress"), item["class_name"], None)
        recipe = [deserialize(item, custom_objects=custom_objects) for item in config["recipe"]]
        model = cls(student, recipe=recipe, name=config["name"])
        # Keras forgets the policy of Sequential and Functional students.
        model.dtype_policy = keras.dtype_policies.deserialize(config["dtype"])
        return model


def append(model: keras.Model, transform: WeightTransform) -> Compressed:
    """Adds a transform to a model's recipe and keeps the state reached so far.

    It comes last, or before those whose guarantees it would undo, and begins with the next step.

    Args:
        model: A Keras 3 model, compressed or not. Left untouched.
        transform: The technique to add.

    Returns:
        A new model.

    Raises:
        TypeError: If `model` is not a Keras 3 model.
        ValueError: If there is no place in the recipe at which no guarantee is undone.
    """
    check_model(model, argument="model")
    if not isinstance(model, Compressed):
        return Compressed(model, recipe=[transform], name=f"compressed_{model.name}")
    later = transform.delayed(int(model.step.numpy()))
    recipe = recipes.insert(model.recipe, later, find_targets(model.student))
    grown = Compressed(model.student, recipe=recipe, name=model.name)
    grown.step.assign(model.step)
    kept = (state for state in grown.weight_states if state.transform is not later)
    for old, new in zip(model.weight_states, kept, strict=True):
        for name, variable in old.variables.items():
            new.variables[name].assign(variable)
    return grown


def strip(model: keras.Model) -> keras.Model:
    """Turns a compressed model into a plain one that holds the compressed values.

    Args:
        model: A `Compressed` model; any other Keras 3 model is returned as it is.

    Returns:
        A plain Keras 3 model of the student's architecture, with zeros and grid baked in.

    Raises:
        TypeError: If `model` is not a Keras 3 model.

    Example:
        >>> from tfdistill.compress import quantize_aware
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> type(strip(quantize_aware(model))).__name__
        'Sequential'
    """
    check_model(model, argument="model")
    if not isinstance(model, Compressed):
        return model
    steps = int(model.step.numpy())
    unreached = [text for state in model.weight_states if (text := _unmet_target(state, steps))]
    if unreached:
        warnings.warn(
            f"Stripped after {steps} training steps, before the schedule's end: "
            f"{unreached[0]}" + (f" (and {len(unreached) - 1} more)." if unreached[1:] else "."),
            stacklevel=2,
        )
    baked = {id(own): value for own, value in model.effective_weights(training=False)}
    plain = copy_model(model.student)
    for variable, own in paired_variables(plain, model.student):
        if id(own) in baked:
            variable.assign(baked[id(own)])
    return plain


def _unmet_target(state: WeightState, steps: int) -> str | None:
    transform = state.transform
    if steps >= transform.begin_step:
        return state.unmet_target()
    name = type(transform).__name__
    return f"{state.target.path}: {name} begins after step {transform.begin_step}"


class Masked(Protocol):
    """A model whose weights can be brought back to their masks."""

    def reapply_masks(self) -> None:
        """Assigns the masked weights."""


class _MasksAtEpochEnd(keras.callbacks.Callback):
    def __init__(self, compressed: Masked) -> None:
        super().__init__()
        self._compressed = compressed

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._compressed.reapply_masks()


def with_masks_reapplied(callbacks: Any, compressed: Masked) -> list[Any]:
    """Adds a callback that reapplies the masks at each epoch's end, before a user's callbacks.

    Args:
        callbacks: None, a callback, or a list of them, as `fit` takes.
        compressed: The model with the masks.

    Returns:
        A new list; the masks come first, so that checkpoints are written from masked weights.
    """
    if callbacks is None:
        callbacks = []
    elif not isinstance(callbacks, (list, tuple)):
        callbacks = [callbacks]
    return [_MasksAtEpochEnd(compressed), *callbacks]


def guarantees_of(model: object) -> tuple[Guarantee, ...]:
    """Lists what the recipe of a `Compressed` model guarantees, each once; nothing for others."""
    recipe = model.recipe if isinstance(model, Compressed) else ()
    return tuple(dict.fromkeys(each for transform in recipe for each in transform.guarantees))


def plain_model(model: keras.Model) -> keras.Model:
    """Returns the plain Keras model inside a `Compressed` one, any other model as it is.

    Args:
        model: A built Keras 3 model.

    Raises:
        TypeError: If it is not a Keras 3 model.
        ValueError: If it has no weights yet.
    """
    check_model(model, argument="model")
    return strip(model) if isinstance(model, Compressed) else model
