"""The members of a team that are models: several heads of one file, read once per text.

`HeadFile` runs the signatures of one `.tflite` file and keeps the last answers, so that two heads
that read the same text in one signature cost one run. `Classifier` and `Tagger` turn one output
of it into labels and spans.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfdistill.agents.team.bio_tags import TagOrder, allowed_tags, check_tags, decode_tags
from tfdistill.agents.team.member import Answer, Question
from tfdistill.agents.tokenization.encoders import Encoder, open_encoder
from tfdistill.agents.tokenization.text_encoder import TextEncoder
from tfdistill.agents.tokenization.word_spans import Words
from tfdistill.agents.trust.scores import doubt
from tfdistill.bundles.confidence import Confidence, check_confidence
from tfdistill.runtime.interpreter import Interpreter

__all__ = ["Classifier", "HeadFile", "Tagger"]

_KEPT = 8  # texts whose answers are kept: the parts of one request


class HeadFile:
    """Runs the signatures of one file that read token ids.

    Args:
        model: The `.tflite` file. A signature that is used here has one input, int32 `[1, L]`.
        tokenizer: The `tokenizer.json` that made the ids, of a tokenizer or of `NGrams`.
        threads: Threads for one run.

    Attributes:
        path: The model file.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or no signature reads token ids.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        tokenizer: str | os.PathLike[str],
        *,
        threads: int = 1,
    ) -> None:
        self.path = Path(model)
        self._interpreter = Interpreter(model, threads=threads)
        content = Path(tokenizer).read_text(encoding="utf-8")
        self._encoders: dict[str, Encoder] = {}
        self._input: dict[str, tuple[str, np.dtype]] = {}
        for name, signature in self._interpreter.signatures.items():
            inputs = list(signature.inputs.values())
            if len(inputs) == 1 and len(inputs[0].shape) == 2 and inputs[0].dtype.kind == "i":
                encoder = open_encoder(content, sequence_length=inputs[0].shape[1])
                first = next(iter(self._encoders.values()), encoder)
                if isinstance(encoder, TextEncoder) and isinstance(first, TextEncoder):
                    encoder.token_cache = first.token_cache
                self._encoders[name] = encoder
                self._input[name] = inputs[0].name, inputs[0].dtype
        if not self._encoders:
            raise ValueError(
                "`model` must have a signature that reads token ids [1, L]. Received: "
                f"{str(model)!r} with {dict(self._interpreter.signatures)}."
            )
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[dict[str, np.ndarray], Words]]
        self._kept = OrderedDict()

    def classes(self, signature: str, output: str) -> int:
        """Returns the number of classes of an output.

        Raises:
            ValueError: If there is no such signature or output.
        """
        known = {
            name: sorted(self._interpreter.signatures[name].outputs) for name in self._encoders
        }
        if output not in known.get(signature, ()):
            raise ValueError(
                f"`output` must be one of the file's outputs {known}. Received: {output!r} of "
                f"signature {signature!r}."
            )
        return self._interpreter.signatures[signature].outputs[output].shape[-1]

    def run(self, text: str, *, signature: str) -> tuple[dict[str, np.ndarray], Words]:
        """Reads a text with one signature, or remembers what it answered.

        Returns:
            The outputs, and where the words of the text are.

        Raises:
            UnusableTextError: If the text has no word that the tokenizer knows.
        """
        key = signature, text
        # A head that a team has given up on may still be inside: nobody else may enter then.
        with self._lock:
            if key in self._kept:
                return self._kept[key]
            ids, words = self._encoders[signature].encode_words(text)
            name, dtype = self._input[signature]
            outputs = self._interpreter.run(
                {name: ids[None].astype(dtype, copy=False)}, signature=signature
            )
            self._kept[key] = outputs, words
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return outputs, words

    def finds_words(self, signature: str) -> bool:
        """Says whether `run` finds words: tokens have their places in a text, a bag has not."""
        return isinstance(self._encoders[signature], TextEncoder)

    def unknown_share(self, text: str, *, signature: str) -> float:
        """Returns the share of a text's words that the tokenizer does not know, in [0, 1].

        Args:
            text: The text.
            signature: Which signature reads it.

        Raises:
            UnusableTextError: If the text cannot be tokenized.
        """
        with self._lock:
            return self._encoders[signature].unknown_share(text)

    def forget(self) -> None:
        """Drops the answers that are kept, for what measures time."""
        self._kept.clear()


class _Head:
    """What both kinds of heads have in common: a name, a tier, an output, and a table of hints."""

    kind: str

    def __init__(
        self,
        file: HeadFile,
        *,
        name: str,
        tier: str,
        signature: str,
        output: str,
        classes: Sequence[str],
        compatible: Mapping[str, Sequence[str]] | None = None,
        peer: str | None = None,
        expected_ms: float = 0.0,
    ) -> None:
        self.file, self.name, self.tier, self.expected_ms = file, name, tier, expected_ms
        self.signature, self.output, self.classes = signature, output, tuple(classes)
        self.compatible = {key: tuple(values) for key, values in (compatible or {}).items()}
        self.peer = peer
        self.hints = (peer,) if peer and self.compatible else ()
        found = file.classes(signature, output)
        if found != len(self.classes):
            raise ValueError(
                f"`classes` must name each class of {output!r} once. Received: "
                f"{len(self.classes)} names for {found} classes, for {name!r}."
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, tier={self.tier!r}, output={self.output!r})"


class Classifier(_Head):
    """Answers a text with one label: the most probable class of an output `[1, C]`.

    Args:
        file: The model.
        name: The agent's name.
        tier: Its tier.
        signature: Which signature reads the text.
        output: Which of its outputs.
        classes: The labels, in the order of the output.
        compatible: For each label the span labels that it goes with. Asked again with the spans
            of `peer`, the agent leaves out the labels that do not go with them.
        peer: The field whose spans those are.
        expected_ms: What one answer takes, for a budget of milliseconds.
        calibration: How its logits become a confidence, from `fit_confidence`, or the same as a
            `Confidence.to_dict()`; None takes the softmax. The rule for texts of no class is not
            used: what is done about an answer that is not sure is up to the team's policy.

    Raises:
        TypeError: If `calibration` is something else.
        ValueError: If the file has no such output, or it has another number of classes, or
            `calibration` is out of range.
    """

    kind = "label"

    def __init__(
        self,
        file: HeadFile,
        *,
        calibration: Confidence | Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(file, **settings)
        if isinstance(calibration, Mapping):
            calibration = Confidence.from_dict(calibration)
        self.calibration = check_confidence(calibration, argument="calibration")

    def answer(self, question: Question) -> Answer:
        """Classifies the question's text."""
        outputs, _ = self.file.run(question.text, signature=self.signature)
        logits = outputs[self.output][0]
        hint = question.hints.get(self.peer or "")
        if hint is not None:
            found = {span.label for span in hint.value}
            fits = np.array([found <= set(self.compatible.get(c, ())) for c in self.classes])
            if fits.any():
                logits = np.where(fits, logits, -np.inf)
        best = int(logits.argmax())
        behind = (logits - logits[best]).astype(np.float64)
        known = 1.0
        if self.calibration is not None:
            behind = behind / self.calibration.temperature
            share = self.file.unknown_share(question.text, signature=self.signature)
            known -= float(doubt(share, usual=self.calibration.usual_unknown_share))
        shares = np.exp(behind)
        confidence = 1.0 / float(shares.sum())
        shares[best] = 0.0
        margin = known * confidence * (1.0 - float(shares.max()))
        confidence = known * confidence + (1.0 - known) / len(self.classes)
        return Answer(self.classes[best], confidence, margin=margin)


class Tagger(_Head):
    """Answers a text with spans: the most probable tags of its words in an output `[1, L, C]`.

    Only sequences count in which "I-x" follows "B-x" or "I-x" (`TagOrder`). The confidence is the
    product of the words' probabilities: that of all being right, were they independent. The margin
    is the smallest of any word, 0 where another tag of the word is more probable.

    Args:
        file: The model.
        name: The agent's name.
        tier: Its tier.
        signature: Which signature reads the text.
        output: Which of its outputs.
        classes: The tags, "O", "B-x" and "I-x", in the order of the output.
        compatible: For each label of `peer` the span labels that go with it. Asked again with
            that label, the agent leaves out the others.
        peer: The field whose label that is.
        expected_ms: What one answer takes, for a budget of milliseconds.

    Raises:
        ValueError: If `classes` are no tags, the file has no such output, it has another number
            of classes, or it reads a bag of n-grams, in which words have no place.
    """

    kind = "spans"

    def __init__(self, file: HeadFile, *, classes: Sequence[str], **settings: Any) -> None:
        super().__init__(file, classes=check_tags(classes), **settings)
        if not file.finds_words(self.signature):
            raise ValueError(
                "`file` must have a tokenizer that says where words are. Received: "
                f"{str(file.path)!r} with n-grams, for {self.name!r}. A `Classifier` can read it."
            )
        self._order = TagOrder(self.classes)
        self._allowed = {
            label: allowed_tags(self.classes, labels) for label, labels in self.compatible.items()
        }

    def answer(self, question: Question) -> Answer:
        """Tags the words of the question's text and joins the tags into spans."""
        outputs, words = self.file.run(question.text, signature=self.signature)
        logits = outputs[self.output][0][words.first]
        hint = question.hints.get(self.peer or "")
        if hint is not None and hint.value in self._allowed:
            logits = np.where(self._allowed[hint.value], logits, -np.inf)
        best = self._order.best(logits)
        tags = [self.classes[index] for index in best.tolist()]
        spans = tuple(decode_tags(tags, words.starts, words.ends))
        confidence, margin = _certainty(logits, best)
        return Answer(spans, confidence, margin=margin)


def _certainty(logits: np.ndarray, chosen: np.ndarray) -> tuple[float, float]:
    """Returns Π p(chosen) over the rows `[N, C]`, and the least p(chosen) − p(best other)."""
    count, classes = logits.shape
    places = chosen + np.arange(0, count * classes, classes)
    own = logits.take(places)[:, None]
    # exp(z − z chosen), where 60 stands for all that is more: the share is 0 then anyway.
    others = np.exp(np.minimum(logits - own, 60.0))
    others.put(places, 0.0)
    product, least = 1.0, 1.0
    for total, best in zip(others.sum(axis=1).tolist(), others.max(axis=1).tolist(), strict=True):
        share = 1.0 / (1.0 + total)
        product *= share
        least = min(least, share * (1.0 - best))
    return product, max(0.0, least)
