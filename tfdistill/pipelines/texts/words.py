"""Texts of a run as token ids: the teacher's vocabulary, and what the students keep of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from tfdistill.bundles.long_texts import content_of
from tfdistill.datasets.assets import MINILM, extract
from tfdistill.pipelines.texts.rows import Part, TextRows
from tfdistill.pipelines.texts.tasks import TextTask
from tfdistill.students.text_rows import encode_rows
from tfdistill.students.vocabulary import cut_vocabulary

__all__ = ["Words", "open_tokenizer", "read_words"]

_COMMON = 12_000  # ids of BERT's vocabulary, which is in order of frequency


@dataclass(frozen=True, eq=False)
class Words:
    """Texts as token ids, for the teacher and for the students.

    A text is one row of ids, or several where long texts are read in windows.

    Attributes:
        teacher: Name of the teacher, for people.
        checkpoint: Folder of the pretrained teacher; None for one that was brought as a model.
        whole: The teacher's tokenizer.
        tokenizer: The students' tokenizer: the words of the texts and common ones.
        kept_ids: The teacher's id of each of the students' ids, int32 `[V]`.
        sequence_length: Tokens of a row.
        long_texts: What is read of a longer text: "head", "head+tail" or "windows".
    """

    teacher: str
    checkpoint: Path | None
    whole: Tokenizer
    tokenizer: Tokenizer
    kept_ids: np.ndarray
    sequence_length: int
    long_texts: str = "head"

    @cached_property
    def special_ids(self) -> tuple[int, ...]:
        """The students' ids of padding, unknown words and the like."""
        own = {
            number for number, token in self.whole.get_added_tokens_decoder().items()
            if token.special
        }  # fmt: skip
        return tuple(int(row) for row in np.flatnonzero(np.isin(self.kept_ids, sorted(own | {0}))))

    @cached_property
    def around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The teacher's ids that stand before each text and behind it, such as [CLS] and [SEP]."""
        own = Tokenizer.from_str(self.whole.to_str())
        own.no_padding()  # MiniLM's tokenizer fills up to 128 ids
        encoding = own.encode("a")
        start, behind = content_of(encoding.special_tokens_mask)
        return tuple(encoding.ids[:start]), tuple(encoding.ids[behind:])

    @property
    def room(self) -> int:
        """Tokens of a row that are the text's own."""
        return max(1, self.sequence_length - sum(map(len, self.around)))

    def rows_for_teacher(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Returns ids of the whole vocabulary, int32 `[R, L]`, and the text of each row `[R]`."""
        return self._rows(self.whole, texts)

    def rows_for_student(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Returns ids of the students' vocabulary, int32 `[R, L]`, and the text of each row."""
        return self._rows(self.tokenizer, texts)

    def for_teacher(self, texts: Sequence[str]) -> np.ndarray:
        """Returns ids of the whole vocabulary, int32 `[R, L]`."""
        return self.rows_for_teacher(texts)[0]

    def for_student(self, texts: Sequence[str]) -> np.ndarray:
        """Returns ids of the students' vocabulary, int32 `[R, L]`."""
        return self.rows_for_student(texts)[0]

    def training_rows(
        self, part: Part, *, task: TextTask, teacher: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns ids and what is learned of them: each row has the target of its text.

        Args:
            part: The texts.
            task: What is asked of them.
            teacher: Whether the ids are the teacher's, or the students'.
        """
        ids, text_of_row = self._rows(self.whole if teacher else self.tokenizer, part.texts)
        return ids, task.learned(part.targets)[text_of_row]

    def _rows(
        self, tokenizer: Tokenizer, texts: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        return encode_rows(
            tokenizer, texts, sequence_length=self.sequence_length, long_texts=self.long_texts
        )


def read_words(
    rows: TextRows,
    *,
    checkpoint: Path | None = None,
    own: tuple[str, Tokenizer] | None = None,
    sequence_length: int,
    long_texts: str = "head",
) -> Words:
    """Cuts the vocabulary to the texts' words and the common ones of the language.

    Common words that no training text has cost a number in a list each, because they share the rows
    of near ones; users will say them.

    Args:
        rows: The texts.
        checkpoint: Folder of the pretrained teacher, or None for MiniLM.
        own: Name and tokenizer of a teacher that is none of these. One that is not a WordPiece
            tokenizer keeps all of its tokens.
        sequence_length: Most tokens of a row.
        long_texts: What is read of a longer text.

    Returns:
        The words.
    """
    if own is None:
        folder = _folder_of(checkpoint)
        name, whole = "MiniLM" if checkpoint is None else folder.name, open_tokenizer(checkpoint)
    else:
        folder, (name, whole) = None, own
    if json.loads(whole.to_str())["model"]["type"] != "WordPiece":
        rows_of_all = 1 + max(whole.get_vocab(with_added_tokens=True).values())
        kept_ids = np.arange(rows_of_all, dtype=np.int32)
        return Words(name, folder, whole, whole, kept_ids, sequence_length, long_texts)
    tokens = map(whole.id_to_token, range(min(_COMMON, whole.get_vocab_size())))
    common = [word for word in tokens if word and word.isalpha() and len(word) > 1]
    tokenizer, kept_ids = cut_vocabulary(
        whole, [*rows.train.texts, *rows.unlabeled, *common],
        sequence_length=sequence_length, long_texts=long_texts,
    )  # fmt: skip
    return Words(name, folder, whole, tokenizer, kept_ids, sequence_length, long_texts)


def open_tokenizer(checkpoint: Path | None = None) -> Tokenizer:
    """Opens the tokenizer of a pretrained teacher.

    Args:
        checkpoint: Its folder, or None for MiniLM.

    Returns:
        The tokenizer with its whole vocabulary.
    """
    return Tokenizer.from_file(str(_folder_of(checkpoint) / "tokenizer.json"))


def _folder_of(checkpoint: Path | None) -> Path:
    return extract(MINILM) if checkpoint is None else Path(checkpoint)
