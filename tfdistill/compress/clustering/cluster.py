"""Weight clustering: a weight tensor takes few different values, which are trained.

In the forward pass each weight is replaced by the nearest of K shared values, its centroids. The
optimizer moves both: a centroid by the gradients of all weights that share it, a weight by its
own, until another centroid is nearer. A file of 16 values per tensor holds four bits of
information per weight, which `gzip` finds; it is not faster to run.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdistill.arguments import check_int
from tfdistill.compress.clustering.centroids import METHODS, initial_centroids, share_values
from tfdistill.compress.compressed_model import Compressed, append
from tfdistill.compress.guarantees import CLUSTERS, CLUSTERS_WITH_ZERO, Guarantee
from tfdistill.compress.technique import StateOwner, WeightState, WeightTransform
from tfdistill.introspection.weights import Patterns, Target

__all__ = ["Cluster", "cluster_weights"]


def cluster_weights(
    model: keras.Model,
    *,
    number_of_clusters: int = 16,
    centroids: str = "kmeans++",
    include: Patterns = None,
    exclude: Patterns = None,
    per_channel: bool = False,
    preserve_sparsity: bool | None = None,
    gradient_aggregation: str = "sum",
) -> Compressed:
    """Makes a copy of a model that trains on few different values per weight tensor.

    The model should be trained already: the first centroids are chosen among its weights.

    Args:
        model: A built Keras 3 model, or a `Compressed` one to add clustering to. Untouched.
        number_of_clusters: Different values in each tensor, zero included, an int of at least 2.
            16 fill four bits.
        centroids: How the first ones are chosen: "linear", "random", "density_based" or
            "kmeans++"; see `tfdistill.compress.clustering.centroids`.
        include: Globs over layer paths to cluster; None takes all kernels and embeddings.
        exclude: Globs over layer paths to leave alone.
        per_channel: Whether each output channel of a kernel has centroids of its own. An
            embedding table always shares one set: a row is too short for one.
        preserve_sparsity: Whether zero is one of the values and what is zero stays zero. None
            does so for weights that the recipe has pruned before; True for all, which a model
            that was pruned and stripped needs; False for none.
        gradient_aggregation: "sum" or "mean" of the gradients of the weights that share a
            centroid; the mean keeps the large clusters from moving faster than the small ones.

    Returns:
        A model to compile and fit; `strip` bakes the shared values into a plain one.

    Raises:
        TypeError: If `model` is not a Keras 3 model or a flag is no bool.
        ValueError: If a number or name is out of range, a glob matches nothing, or the recipe
            has a technique that clustering would undo.

    Example:
        >>> from tfdistill.compress.compressed_model import strip
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8)])
        >>> clustered = strip(cluster_weights(model, number_of_clusters=4))
        >>> np.unique(clustered.layers[0].kernel).size
        4

    References:
        Han, Mao, Dally. "Deep Compression", 2016, section 3. https://arxiv.org/abs/1510.00149
    """
    transform = Cluster(
        number_of_clusters=number_of_clusters,
        centroids=centroids,
        include=include,
        exclude=exclude,
        per_channel=per_channel,
        preserve_sparsity=preserve_sparsity,
        gradient_aggregation=gradient_aggregation,
    )
    return append(model, transform)


@keras.saving.register_keras_serializable(package="tfdistill")
class Cluster(WeightTransform):
    """Weight clustering as one step of a recipe; see `cluster_weights` for the arguments.

    With a `begin_step` the centroids are chosen when it begins, from the weights as they are then.
    """

    def __init__(
        self,
        *,
        number_of_clusters: int = 16,
        centroids: str = "kmeans++",
        include: Patterns = None,
        exclude: Patterns = None,
        per_channel: bool = False,
        preserve_sparsity: bool | None = None,
        gradient_aggregation: str = "sum",
        begin_step: int = 0,
    ) -> None:
        super().__init__(include=include, exclude=exclude, begin_step=begin_step)
        _check_flag("per_channel", per_channel)
        if preserve_sparsity is not None:
            _check_flag("preserve_sparsity", preserve_sparsity)
        _check_name("centroids", centroids, METHODS)
        _check_name("gradient_aggregation", gradient_aggregation, ("sum", "mean"))
        least = 3 if preserve_sparsity else 2
        self.number_of_clusters = _check_number(number_of_clusters, least=least)
        self.centroids = centroids
        self.per_channel = per_channel
        self.preserve_sparsity = preserve_sparsity
        self.gradient_aggregation = gradient_aggregation
        self.guarantees = (CLUSTERS_WITH_ZERO if preserve_sparsity else CLUSTERS,)

    def preserves(self, guarantee: Guarantee) -> bool:
        """Says whether a guarantee outlasts that weights come to share values, zero among them."""
        return self.preserve_sparsity is not False and "sharing" in guarantee.survives

    def create(self, owner: StateOwner, target: Target) -> WeightState:
        """Adds the centroids of one weight to the model."""
        return _ClusterState(self, owner, target)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "number_of_clusters": self.number_of_clusters,
            "centroids": self.centroids,
            "per_channel": self.per_channel,
            "preserve_sparsity": self.preserve_sparsity,
            "gradient_aggregation": self.gradient_aggregation,
        }


class _ClusterState(WeightState):
    """Centroids of one weight: variables of the model that the optimizer trains with the others."""

    def __init__(self, transform: Cluster, owner: StateOwner, target: Target) -> None:
        super().__init__(transform, target)
        # Guarantees that outlast any sharing of values but that of zero: an earlier technique's.
        pruned_before = any("sharing" in g.survives for g in owner.guarantees_before(target))
        wanted = transform.preserve_sparsity
        # Zero is shared as a constant and not as a centroid: no optimizer can move it.
        self._beside_zero = pruned_before if wanted is None else wanted
        if self._beside_zero:
            _check_number(transform.number_of_clusters, least=3)
        self._by_channel = transform.per_channel and target.kind == "kernel"
        self._step: tf.Variable = owner.step.value
        number = transform.number_of_clusters - int(self._beside_zero)
        groups = target.matrix_shape[1] if self._by_channel else 1
        variable = owner.add_state(
            target,
            "centroids",
            shape=(groups, number),
            initial=0.0,
            trainable=target.variable.trainable,
        )
        self._variables = {"centroids": variable}
        self._centroids: tf.Variable = variable.value
        self._mask: tf.Variable | None = None
        if wanted and not pruned_before:  # nobody else holds the zeros
            shape = target.variable.shape
            mask = owner.add_state(target, "cluster_mask", shape=shape, initial=1.0)
            self._variables["mask"] = mask
            self._mask = mask.value
        self._begin()
        # What `_chosen` calls cannot be compiled by XLA.
        self.supports_jit = transform.begin_step == 0

    @property
    def variables(self) -> dict[str, keras.Variable]:
        """The centroids, and the mask of zeros if there is one."""
        return self._variables

    def update(self) -> None:
        """Chooses the centroids when the technique begins."""
        begin = self.transform.begin_step
        if begin > 0:

            def begin_now() -> tf.Tensor:
                self._begin()
                return tf.constant(True)

            tf.cond(tf.equal(self._step, begin + 1), begin_now, lambda: tf.constant(False))

    def __call__(self, value: tf.Tensor, *, training: bool) -> tf.Tensor:
        """Replaces each weight by the nearest shared value."""
        if self._mask is not None:
            value = value * tf.cast(self._mask, value.dtype)
        lines = self._to_lines(value)
        centroids = tf.convert_to_tensor(self._centroids)
        begin = self.transform.begin_step
        if begin > 0 and not training:  # asked between the last step before and the first one
            now = tf.equal(self._step, begin)
            centroids = tf.cond(now, lambda: self._chosen(lines), lambda: centroids)
        return self._from_lines(self._shared(lines, tf.cast(centroids, lines.dtype)))

    def _begin(self) -> None:
        lines = self._to_lines(tf.convert_to_tensor(self.weight))
        centroids = self._chosen(lines)
        self._centroids.assign(centroids)
        if self._mask is not None:
            kept = tf.not_equal(self._from_lines(self._shared(lines, centroids)), 0)
            self._mask.assign(tf.cast(kept, self._mask.dtype))

    def _chosen(self, lines: tf.Tensor) -> tf.Tensor:
        """Chooses first centroids; TF-MOT's code for that runs outside of graphs only."""
        number = self._centroids.shape[1]

        def choose(groups: np.ndarray) -> np.ndarray:
            chosen = [
                initial_centroids(
                    group,
                    number=number,
                    method=self.transform.centroids,
                    beside_zero=self._beside_zero,
                )
                for group in groups
            ]
            return np.stack(chosen)

        chosen = tf.numpy_function(choose, [tf.cast(lines, tf.float32)], tf.float32)
        return tf.cast(tf.ensure_shape(chosen, self._centroids.shape), self._centroids.dtype)

    def _shared(self, lines: tf.Tensor, centroids: tf.Tensor) -> tf.Tensor:
        if self._beside_zero:
            centroids = tf.concat([tf.zeros_like(centroids[:, :1]), centroids], axis=1)
        return share_values(lines, centroids, aggregation=self.transform.gradient_aggregation)

    def _to_lines(self, value: tf.Tensor) -> tf.Tensor:
        matrix = self.target.to_matrix(value)
        return tf.transpose(matrix) if self._by_channel else tf.reshape(matrix, [1, -1])

    def _from_lines(self, lines: tf.Tensor) -> tf.Tensor:
        return self.target.from_matrix(tf.transpose(lines) if self._by_channel else lines)


def _check_number(number: object, *, least: int) -> int:
    return check_int(
        number,
        argument="number_of_clusters",
        at_least=least,
        hint="Zero takes one of them." if least == 3 else "16 fill four bits.",
    )


def _check_name(argument: str, name: Any, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ValueError(f"`{argument}` must be one of {known}. Received: {argument}={name!r}.")


def _check_flag(argument: str, flag: Any) -> None:
    if not isinstance(flag, bool):
        raise TypeError(f"`{argument}` must be True or False. Received: {argument}={flag!r}.")
