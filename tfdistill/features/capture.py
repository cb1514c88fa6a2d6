"""What layers make inside a model, recorded while the model runs once.

A forward pass is expensive and draws one dropout mask, so it must not be repeated to look at a
hidden state. For the time of one call the chosen layers get an attribute of their own in place
of a method, which notes what goes in and out; afterwards, also after an exception, it is gone.
Nothing is rebuilt, so nested, subclassed and compressed models are recorded alike, and the
gradient flows through what was recorded.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tfdistill.features.layer_parts import (
    CaptureError,
    Parts,
    Point,
    attention_parts,
    keras_mask,
    named_arguments,
    state_parts,
)

__all__ = ["capturing"]

_CHANGES = threading.RLock()


@contextlib.contextmanager
def capturing(points: Iterable[Point]) -> Iterator[dict[Point, Parts]]:
    """Records what happens at some points of a model while it is called once.

    Args:
        points: What to record; each layer must run exactly once in the body, in this thread.

    Yields:
        What was recorded, filled while the body runs: `state_parts` or `attention_parts` of
        each point. Tensors of a graph, if that is what is being made.

    Raises:
        CaptureError: If a layer ran more than once, or not at all, or somewhere that its output
            cannot be taken out of, or returned something else than one tensor.

    Example:
        >>> layer = keras.layers.Dense(1, kernel_initializer="ones", name="scores")
        >>> model = keras.Sequential([keras.Input((2,)), layer, keras.layers.ReLU()])
        >>> point = Point("scores", layer, "states")
        >>> with capturing([point]) as recorded:
        ...     _ = model(tf.constant([[-1.0, -1.0]]))
        >>> float(recorded[point]["states"][0, 0])
        -2.0
    """
    recorded: dict[Point, Parts] = {}
    listeners = [_Listener(point, recorded) for point in dict.fromkeys(points)]
    with contextlib.ExitStack() as stack:
        for listener in listeners:
            stack.enter_context(_listening(listener))
        yield recorded
    for listener in listeners:
        listener.check()


class _Listener:
    """Writes down one point, for one `capturing`."""

    def __init__(self, point: Point, recorded: dict[Point, Parts]) -> None:
        self.point = point
        self._recorded = recorded
        # The replicas of a tf.distribute strategy trace the same layers, in alternating threads.
        self.thread = threading.get_ident()
        self._graph = _current_graph()
        self._problem: CaptureError | None = None

    def hear(self, make_parts: Callable[[], Parts]) -> None:
        """Keeps the parts, or why there are none: here an error would end up in Keras' hands."""
        try:
            self._keep(make_parts())
        except CaptureError as error:
            self._problem = self._problem or error

    def check(self) -> None:
        """Raises what went wrong."""
        if self._problem is not None:
            raise self._problem
        if self.point not in self._recorded:
            raise CaptureError(
                f"Layer {self.point.path!r} must run once per call to be distilled. It did not "
                "run. Name a layer that the model's output depends on, in a model whose `call` is "
                "no tf.function of its own."
            )

    def _keep(self, parts: Parts) -> None:
        if self.point in self._recorded:
            raise CaptureError(
                f"Layer {self.point.path!r} must run once per call to be distilled. It ran more "
                "than once, as a shared layer does. Name a layer around it."
            )
        if any(
            tf.is_symbolic_tensor(part) and part.graph is not self._graph for part in parts.values()
        ):
            raise CaptureError(
                f"Layer {self.point.path!r} must run in the model's own graph to be distilled. "
                "It runs in a loop, a condition or a tf.function, which its output cannot leave. "
                "Name a layer around that."
            )
        self._recorded[self.point] = parts


class _Tap:
    """Stands in for a method of one layer while somebody listens."""

    def __init__(
        self, layer: keras.layers.Layer, function: Callable[..., Any], *, shadowed: Any
    ) -> None:
        self.layer = layer
        self.function = function
        self.shadowed = shadowed  # an attribute that was there before
        self.listeners: list[_Listener] = []
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        heard = [item for item in self.listeners if item.thread == threading.get_ident()]
        given = named_arguments(self.function, args, kwargs)
        mask = None
        if any(item.point.kind == "states" for item in heard):
            # Before the call: attention layers take the Keras mask off what they are given.
            mask = keras_mask(self.layer, given)
        outputs = self.function(*args, **kwargs)
        for item in heard:
            if item.point.kind == "states":
                item.hear(functools.partial(state_parts, item.point, given, outputs, mask))
            else:
                item.hear(functools.partial(attention_parts, item.point, given))
        return outputs


@contextlib.contextmanager
def _listening(listener: _Listener) -> Iterator[None]:
    layer = listener.point.layer
    method = "_compute_attention"
    if listener.point.kind == "states":
        method = "call" if layer.quantization_mode is None else "quantized_call"
    own = vars(layer)  # no setattr: Keras would track what is only there for a moment
    with _CHANGES:
        tap = own.get(method)
        if not isinstance(tap, _Tap):
            tap = own[method] = _Tap(layer, getattr(layer, method), shadowed=own.get(method))
        tap.listeners.append(listener)
    try:
        yield
    finally:
        with _CHANGES:
            tap.listeners.remove(listener)
            if not tap.listeners:
                own.pop(method)
                if tap.shadowed is not None:
                    own[method] = tap.shadowed


def _current_graph() -> tf.Graph | None:
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
