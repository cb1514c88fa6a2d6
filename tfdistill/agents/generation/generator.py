"""A generating agent: a language model's bundle, opened, that continues texts.

Like every agent it needs no TensorFlow. It keeps keys and values of the text at hand, so each new
token costs one call of the model, whatever came before it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import tokenizers

from tfdistill.agents.generation.sampling import check_sampling, draw, next_probabilities
from tfdistill.agents.generation.speculative import SpeculativeText
from tfdistill.agents.generation.streaming_text import TextPieces, check_stop
from tfdistill.agents.tokenization.text_encoder import panics_as_errors
from tfdistill.bundles.language import LanguageBundle, open_language_bundle
from tfdistill.runtime.interpreter import Interpreter
from tfdistill.runtime.kv_cache import TextCache, find_lengths

__all__ = ["Generator", "WrittenText"]


@dataclass(frozen=True)
class WrittenText:
    """Is what a generating agent answers in a pool or a team.

    Attributes:
        text: What was written behind the prompt.
        num_tokens: Number of tokens that took.
        finished: Whether the text came to its end, rather than to the limit of tokens.
    """

    text: str
    num_tokens: int
    finished: bool


class Generator:
    """Continues texts with the language model of a bundle, in this process.

    It is not safe to call from two threads at once: give each thread its own.

    A text that outgrows the context slides: the older half of the context is forgotten, the newer
    half is read again from position 0, and writing goes on. Memory does not grow with the text.

    Args:
        bundle: A folder written by `tfdistill.export.save_language_bundle`.
        threads: Threads for one call of the model.
        draft: A smaller language model's bundle with the same tokenizer, which proposes tokens
            for this one to check; see `tfdistill.agents.generation.speculative`. It changes the
            speed and the use of the seed, not the distribution of the texts. None, the default,
            is faster unless the draft is many times smaller and mostly right.

    Attributes:
        bundle: The opened `LanguageBundle`.
        path: Its folder, absolute.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it is not a language model's bundle, or damaged, or the draft does not fit.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        threads: int = 1,
        draft: str | os.PathLike[str] | None = None,
    ) -> None:
        self.bundle: LanguageBundle = open_language_bundle(bundle)
        self.path: Path = self.bundle.path
        self._tokenizer = _open_tokenizer(self.bundle)
        interpreter = Interpreter(self.bundle.model_path, threads=threads)
        self._cache = TextCache(_checked(interpreter, self.bundle))
        self._pair: SpeculativeText | None = None
        if draft is not None:
            other = Generator(draft, threads=threads)
            if other._tokenizer.get_vocab() != self._tokenizer.get_vocab():
                raise ValueError(
                    "`draft` must have the tokenizer of the bundle. Received: "
                    f"draft={str(draft)!r}, whose tokens differ. Distil it with that tokenizer."
                )
            self._pair = SpeculativeText(self._cache, other._cache)

    @overload
    def generate(self, prompt: str, **settings: Any) -> str: ...

    @overload
    def generate(self, prompt: Sequence[str], **settings: Any) -> list[str]: ...

    def generate(self, prompt: str | Sequence[str], **settings: Any) -> str | list[str]:
        """Continues one prompt, or each of several.

        Each prompt of a list is written as if it were alone, with the same seed.

        Args:
            prompt: A text or a list of texts.
            **settings: As for `stream`.

        Returns:
            What was written behind the prompt, without it; a list for a list.

        Raises:
            TypeError: If a prompt is not a str or a setting of another type.
            ValueError: If a prompt is empty or longer than the context, or a setting out of range.
        """
        if isinstance(prompt, str):
            return "".join(self.stream(prompt, **settings))
        if not isinstance(prompt, Sequence) or not prompt:
            raise TypeError(
                "`prompt` must be a str or a list of at least one str. "
                f"Received: prompt={prompt!r}."
            )
        return ["".join(self.stream(each, **settings)) for each in prompt]

    def stream(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 64,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop: str | Sequence[str] = (),
        seed: int = 0,
    ) -> Iterator[str]:
        """Continues a prompt piece by piece, each as soon as it is certain.

        The first piece comes after the prompt was read and one token drawn. A piece is held back
        while it may be the beginning of a stop string or of a character of several tokens.

        Args:
            prompt: The text to continue.
            max_new_tokens: Most tokens to write, an int of at least 1.
            temperature: 0 takes the most probable token each time; 1 samples what the model
                believes.
            top_k: Draw from the k most probable tokens; None from all.
            top_p: Draw from the fewest tokens whose mass reaches p; None from all.
            stop: Texts at which writing ends; they are not part of the result.
            seed: Seed of the draws. Equal seeds write equal texts, wherever they run.

        Returns:
            An iterator of texts; joined they are the result of `generate`.

        Raises:
            TypeError: If `prompt` is not a str or a setting of another type.
            ValueError: If `prompt` is empty or longer than the context, or a setting out of range.
        """
        check_sampling(
            temperature=temperature, top_k=top_k, top_p=top_p,
            max_new_tokens=max_new_tokens, seed=seed,
        )  # fmt: skip
        pieces = TextPieces(self._tokenizer, stop=check_stop(stop))
        ids = self._encode(prompt)
        sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        tokens = self._tokens(ids, seed=seed, limit=max_new_tokens, sampling=sampling)
        return self._texts(tokens, pieces)

    def answer(self, text: str) -> WrittenText | Exception:
        """Continues one text with the bundle's own settings; errors are returned.

        This is what a pool or a team calls.

        Args:
            text: The prompt.

        Returns:
            The `WrittenText`, or the error that `stream` would raise.
        """
        settings = self.bundle.generation
        try:
            ids = self._encode(text)
            pieces = TextPieces(self._tokenizer, stop=())
            sampling = {"temperature": settings.temperature, "top_k": None, "top_p": None}
            limit = settings.max_new_tokens
            tokens = list(self._tokens(ids, seed=0, limit=limit, sampling=sampling))
            written = "".join(self._texts(iter(tokens), pieces))
        except Exception as error:  # whatever it is, it belongs to this text alone
            return error
        return WrittenText(written, len(tokens), finished=len(tokens) < limit)

    def sample_text(self) -> str | None:
        """Returns a prompt to measure time with: a token of the vocabulary."""
        special = {token.content for token in self._tokenizer.get_added_tokens_decoder().values()}
        for token_id in range(self._tokenizer.get_vocab_size()):
            text = self._tokenizer.decode([token_id]).strip()
            if text and text not in special and "\ufffd" not in text:
                return text
        return None

    def run_blank(self) -> None:
        """Reads one token, for what measures time without a text."""
        self._cache.clear()
        self._cache.read([0])

    def __repr__(self) -> str:
        return f"Generator({str(self.path)!r}, context_length={self._cache.context_length})"

    def _encode(self, prompt: str) -> list[int]:
        if not isinstance(prompt, str):
            raise TypeError(f"`prompt` must be a str. Received: prompt={prompt!r}.")
        begin = self.bundle.generation.bos_id
        ids = [] if begin is None else [begin]
        try:
            with panics_as_errors():
                ids += self._tokenizer.encode(prompt, add_special_tokens=False).ids
        except Exception as error:  # the library raises plain Exception
            raise ValueError(
                "`prompt` must be text that the tokenizer takes. Received: "
                f"prompt={prompt[:80]!r} ({error})."
            ) from error
        if not ids:
            raise ValueError(
                "`prompt` must hold at least one character that the tokenizer knows. Received: "
                f"prompt={prompt[:80]!r}. The model has to continue something."
            )
        if len(ids) >= self._cache.context_length:
            raise ValueError(
                f"`prompt` must be shorter than the context of {self._cache.context_length} "
                f"tokens. Received: a prompt of {len(ids)} tokens. Shorten it, or export the model "
                "with a larger context_length."
            )
        return ids

    def _tokens(
        self, ids: list[int], *, seed: int, limit: int, sampling: dict[str, Any]
    ) -> Iterator[int]:
        """Draws tokens until one ends the text or there are enough."""
        uniforms = np.random.default_rng(seed)
        if self._pair is None:
            tokens = self._alone(ids, uniforms=uniforms, sampling=sampling)
        else:
            tokens = self._pair.tokens(ids, uniforms=uniforms, sampling=sampling)
        for token in itertools.islice(tokens, limit):
            if token in self.bundle.generation.eos_ids:
                return
            yield token

    def _alone(
        self, ids: list[int], *, uniforms: np.random.Generator, sampling: dict[str, Any]
    ) -> Iterator[int]:
        self._cache.clear()
        logits = self._cache.read(ids)
        while True:
            token = draw(next_probabilities(logits, **sampling), uniforms.random())
            yield token
            self._cache.slide(room=1)
            logits = self._cache.read([token])

    def _texts(self, tokens: Iterator[int], pieces: TextPieces) -> Iterator[str]:
        for token in tokens:
            piece = pieces.add(token)
            if piece:
                yield piece
            if pieces.stopped:
                return
        rest = pieces.rest()
        if rest:
            yield rest


def _open_tokenizer(bundle: LanguageBundle) -> tokenizers.Tokenizer:
    try:
        with panics_as_errors():
            tokenizer = tokenizers.Tokenizer.from_file(str(bundle.tokenizer_path))
            tokenizer.no_padding()
            tokenizer.no_truncation()
    except Exception as error:  # the library raises plain Exception
        raise ValueError(
            f"The bundle {str(bundle.path)!r} must hold a tokenizer that `tokenizers` "
            f"{tokenizers.__version__} reads ({error}). Save the bundle again."
        ) from error
    return tokenizer


def _checked(interpreter: Interpreter, bundle: LanguageBundle) -> Interpreter:
    """Refuses a file that does not fit its manifest, before anything is computed with it."""
    try:
        lengths = find_lengths(interpreter.signatures)
        decode = interpreter.signatures[lengths["prefill"][1]]
        slots = decode.inputs["keys"].shape[2]
        if interpreter.signatures != bundle.signatures:
            raise ValueError("its signatures are not those that the manifest states")
        if slots != bundle.generation.context_length:
            raise ValueError(f"its cache has {slots} slots")
    except ValueError as error:
        raise ValueError(
            f"The bundle {str(bundle.path)!r} must hold one language model that fits its manifest. "
            f"Received: one that does not ({error}). Save the bundle again."
        ) from error
    return interpreter
