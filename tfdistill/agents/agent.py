"""One agent: a bundle folder, opened, that answers texts with a class, labels or a number.

The sentence to remember: an agent is files plus an interpreter. It needs no TensorFlow, opens in
milliseconds, and gives the same answer in this process, on a thread, or in a Ray worker.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal, overload

import numpy as np

from tfdistill.agents.execution.servable import predict_each
from tfdistill.agents.predictions import (
    LabelsPrediction,
    NumberPrediction,
    Prediction,
    TypedPrediction,
)
from tfdistill.agents.tokenization.encoders import open_encoder
from tfdistill.agents.trust.scores import judge
from tfdistill.agents.trust.thresholds import sigmoid
from tfdistill.bundles.bundle import Bundle, open_bundle
from tfdistill.cluster.shipping import own_cache
from tfdistill.runtime.interpreter import Interpreter, TensorSpec
from tfdistill.runtime.shared_weights import SharedInterpreter

__all__ = ["Agent"]

_WORTH_SHARING_BYTES = 8 * 2**20


class Agent:
    """Answers texts with the model of a bundle, in this process.

    What an answer is follows from the bundle's task: a `Prediction` of one class, a
    `LabelsPrediction`, or a `NumberPrediction`.

    An agent is not safe to call from two threads at once: give each thread its own, or use an
    `AgentPool`. It takes raw text: it cuts and pads to the model's length itself, as the bundle
    states it; of a text that is read in windows the logits are averaged.

    Args:
        bundle: A folder written by `tfdistill.save_bundle`. Every file is checked against its
            hash before it is used.
        threads: Threads for one call of the model. Small models run fastest with 1.
        shared_weights: Whether the weights that the processor works with are kept once per machine
            (see `tfdistill.runtime.shared_weights`) and not in each process. It takes effect from
            8 MB on; a smaller model has nothing to gain. The answers are equal.

    Attributes:
        bundle: The opened `Bundle`.
        path: Its folder, absolute.
        labels: Class names; of a number, its name alone.
        task: "class", "labels" or "number".

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If the bundle is damaged or its model does not fit its manifest.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        threads: int = 1,
        shared_weights: bool = False,
    ) -> None:
        self.bundle: Bundle = open_bundle(bundle)
        self.path = self.bundle.path
        self.labels = self.bundle.labels
        self.task = self.bundle.task
        self._encoder = open_encoder(
            self.bundle.tokenizer_path.read_text(encoding="utf-8"),
            sequence_length=self.bundle.sequence_length,
            long_texts=self.bundle.long_texts,
        )
        interpreter = Interpreter(self.bundle.model_path, threads=threads)
        self._input, self._output = _classifier(interpreter, self.bundle)
        self._interpreter: Interpreter | SharedInterpreter = interpreter
        size_bytes = self.bundle.model_path.stat().st_size
        if shared_weights and size_bytes >= _WORTH_SHARING_BYTES:
            self._interpreter = _sharing(interpreter)

    @overload
    def predict(
        self, texts: Iterable[str], *, return_exceptions: Literal[False] = ...
    ) -> list[TypedPrediction]: ...

    @overload
    def predict(
        self, texts: Iterable[str], *, return_exceptions: bool
    ) -> list[TypedPrediction | Exception]: ...

    def predict(
        self, texts: Iterable[str], *, return_exceptions: bool = False
    ) -> list[TypedPrediction] | list[TypedPrediction | Exception]:
        """Answers texts.

        Each text is computed by itself, so its answer does not depend on its neighbours.

        Args:
            texts: Raw texts, at least one. A single str is refused.
            return_exceptions: What to do with a text that has no word the tokenizer knows (an
                empty one among them): False raises an error for the whole call, naming the text;
                True puts that error in its place and goes on, as `asyncio.gather` does.

        Returns:
            One `Prediction` per text, in order; of several labels a `LabelsPrediction`, of a
            number a `NumberPrediction`.

        Raises:
            TypeError: If `texts` is not a list of str.
            ValueError: If `texts` is empty, or a text has no known word (`UnusableTextError`).
            RuntimeError: If the model answers with something that is not a number.
        """
        return predict_each(self, texts, return_exceptions=return_exceptions)

    def answer(self, text: str) -> TypedPrediction | Exception:
        """Answers one text; what goes wrong with it is returned rather than raised.

        This is what a pool calls, where one text must not spoil the others.

        Args:
            text: Raw text.

        Returns:
            The answer, or the error that `predict` would raise for this text.
        """
        try:
            logits = self._logits(self._encoder.encode_rows(text))
            if self.bundle.scale is not None:
                return NumberPrediction(float(self.bundle.scale.units(logits[0])))
            if self.bundle.thresholds is not None:
                return self._labels_of(logits, self.bundle.thresholds)
            return self._class_of(text, logits)
        except Exception as error:  # whatever it is, it belongs to this text alone
            return error

    def _class_of(self, text: str, logits: np.ndarray) -> Prediction:
        stated = self.bundle.confidence
        score, in_scope = None, None
        if stated is None:
            probabilities = softmax(logits)
        else:
            share = self._encoder.unknown_share(text)
            probabilities, score, in_scope = judge(logits, stated, unknown_share=share)
        # A text of which nothing is known has equal probabilities, and still a nearest class.
        best = int(np.argmax(probabilities if stated is None else logits))
        return Prediction(
            label=self.labels[best],
            confidence=float(probabilities[best]),
            probabilities=tuple(probabilities.tolist()),
            in_scope=in_scope,
            score=score,
        )

    def _labels_of(self, logits: np.ndarray, thresholds: tuple[float, ...]) -> LabelsPrediction:
        probabilities = sigmoid(logits).tolist()
        return LabelsPrediction(
            labels=tuple(
                label
                for label, probability, least in zip(
                    self.labels, probabilities, thresholds, strict=True
                )
                if probability >= least
            ),
            probabilities=tuple(probabilities),
        )

    def evidence(self, text: str) -> tuple[np.ndarray, float]:
        """Returns what the answer to a text rests on, for whoever calibrates the bundle.

        Args:
            text: Raw text.

        Returns:
            The logits, float64 `[C]` (of a number, its standardized output `[1]`), and the share
            of words that the tokenizer does not know.

        Raises:
            UnusableTextError: If the text has no word that the tokenizer knows.
            RuntimeError: If the model answers with something that is not a number.
        """
        logits = self._logits(self._encoder.encode_rows(text))
        return logits, self._encoder.unknown_share(text)

    def sample_text(self) -> str | None:
        """Makes up a text that this agent can answer, about as long as its model takes.

        Returns:
            The text: words from all over the vocabulary, or the labels where those give none.
            None where the agent refuses both.
        """
        texts = (self._encoder.some_words(), " ".join(self.labels))
        return next((text for text in texts if not isinstance(self.answer(text), Exception)), None)

    def run_blank(self) -> None:
        """Runs the model on a row of padding, for what measures time: no text may be refused."""
        blank = np.zeros((1, self.bundle.sequence_length), dtype=self._input.dtype)
        self._interpreter.run({self._input.name: blank})

    def __repr__(self) -> str:
        names = {"class": f"classes={len(self.labels)}", "labels": f"labels={len(self.labels)}"}
        asked = names.get(self.task, "a number")
        return (
            f"Agent({str(self.bundle.path)!r}, {asked}, "
            f"sequence_length={self.bundle.sequence_length})"
        )

    def _logits(self, rows: np.ndarray) -> np.ndarray:
        """Runs the model on each row of ids `[K, L]`; the mean of its logits, float64 `[C]`."""
        found = []
        for ids in rows.astype(self._input.dtype):
            outputs = self._interpreter.run({self._input.name: ids[None]})
            found.append(outputs[self._output.name][0].astype(np.float64))
        logits = found[0] if len(found) == 1 else np.mean(found, axis=0)
        if not np.isfinite(logits).all():
            raise RuntimeError(
                f"The model in {str(self.bundle.path)!r} answered with logits that are not finite: "
                f"{logits.tolist()}. Export it again from finite weights."
            )
        return logits


def _sharing(interpreter: Interpreter) -> Interpreter | SharedInterpreter:
    """Returns an interpreter of the same file with shared weights, where that is possible."""
    (signature,) = interpreter.signatures.values()
    try:
        return SharedInterpreter(
            interpreter.path,
            signature=signature,
            cache=own_cache(),
            threads=interpreter.threads,
        )
    except (OSError, RuntimeError, ValueError):  # it is only memory that is lost
        return interpreter


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turns logits into probabilities: exp(z − max z) / Σ exp(z − max z).

    Subtracting the maximum changes nothing mathematically and keeps `exp` from overflowing.

    Args:
        logits: Float64 array of shape `[C]`.

    Returns:
        Float64 array of shape `[C]` that sums to 1.

    Example:
        >>> softmax(np.array([1000.0, 1000.0 + np.log(3.0)])).round(6).tolist()
        [0.25, 0.75]
    """
    scaled = np.exp(logits - logits.max())
    return scaled / scaled.sum()


def _classifier(interpreter: Interpreter, bundle: Bundle) -> tuple[TensorSpec, TensorSpec]:
    """Returns the input and the output of the bundle's one signature, if all of it fits."""
    described = bundle.signatures
    if interpreter.signatures == described and len(described) == 1:
        signature = next(iter(described.values()))
        inputs, outputs = list(signature.inputs.values()), list(signature.outputs.values())
        if (
            [spec.shape[1:] for spec in inputs] == [(bundle.sequence_length,)]
            and [spec.shape[1:] for spec in outputs] == [(len(bundle.labels),)]
            and (inputs[0].dtype.kind, outputs[0].dtype.kind) == ("i", "f")
        ):
            return inputs[0], outputs[0]
    raise ValueError(
        f"The bundle {str(bundle.path)!r} must hold one classifier that fits its manifest: "
        f"{bundle.sequence_length} token ids in, {len(bundle.labels)} logits out. Received: "
        f"{dict(interpreter.signatures)}. Save the bundle again."
    )
