"""A team of tiny students beside a team of fine-tuned MiniLMs, on compound requests (SNIPS).

    python benchmarks/compound_snips.py --data FOLDER

FOLDER holds the files of `sonos/nlu-benchmark` (Coucke et al. 2018, CC0), as `train_*_full.json`
and `validate_*.json`. A request is one to three utterances, joined as people join them. A team
splits it, finds the intent and the slots of each part, and verifies that they go together; it is
right if all of it is.

Every step is kept under `--folder`, so the script can be stopped at any moment and started again:
the fine-tuned teacher, its answers to the training texts, the two students, the teams' files, and
what each team answered to the test requests.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from compound_snips_data import CONNECTORS, Utterance, load
from compound_snips_students import SIZES, distill, start, training_rows
from compound_snips_tags import Rows, slot_tags
from compound_snips_teacher import build, fine_tune, predict
from tokenizers import Tokenizer

from tfdistill import datasets
from tfdistill.students import cut_vocabulary, token_features

COMMON = 12_000


@dataclass(frozen=True)
class Task:
    """What all steps share: the texts, both tokenizers, the tags."""

    utterances: dict[str, list[Utterance]]
    whole: Tokenizer
    cut: Tokenizer
    kept_ids: np.ndarray
    tags: tuple[str, ...]
    words: list[str]
    folder: Path


def prepare(options: argparse.Namespace) -> Task:
    """Reads the texts; cuts the vocabulary to the training texts and to frequent words."""
    options.folder.mkdir(parents=True, exist_ok=True)
    utterances = load(options.data)
    whole = Tokenizer.from_file(str(datasets.extract(datasets.MINILM) / "tokenizer.json"))
    # BERT's vocabulary is in order of frequency: words that users say and no training text has.
    words = [whole.id_to_token(token) for token in range(COMMON)]
    words = [word for word in words if word.isalpha() and word.isascii() and len(word) > 1]
    texts = [*(utterance.text for utterance in utterances["train"]), *CONNECTORS, *words]
    cut, kept_ids = cut_vocabulary(whole, texts, sequence_length=64)
    names = sorted({slot.name for u in utterances["train"] for slot in u.slots})
    return Task(utterances, whole, cut, kept_ids, slot_tags(names), words, options.folder)


def teacher(task: Task, options: argparse.Namespace) -> keras.Model:
    """Fine-tunes the teacher, or reads it."""
    keras.utils.set_random_seed(0)
    model = build(len(task.tags))
    fine_tune(
        model,
        task.utterances["train"],
        task.whole,
        tags=task.tags,
        rounds=options.teacher_rounds,
        folder=options.folder,
    )
    return model


def answered_rows(task: Task, options: argparse.Namespace) -> tuple[Rows, dict[str, np.ndarray]]:
    """Returns the students' rows and the teacher's answers to them, which are kept."""
    rows = training_rows(
        task.utterances["train"],
        task.whole,
        tags=task.tags,
        words=task.words,
        copies=options.copies,
    )
    path = options.folder / f"answers_{options.teacher_rounds}_{options.copies}.npz"
    if not path.exists():
        answers = predict(teacher(task, options), rows)
        fresh = path.with_name(f"new.{path.name}")
        np.savez(fresh, **{head: logits.astype(np.float16) for head, logits in answers.items()})
        fresh.replace(path)
    answers = dict(np.load(path))
    # The same texts in the students' vocabulary: every token of them is in it.
    new_id = np.full(task.whole.get_vocab_size(), -1, np.int32)
    new_id[task.kept_ids] = np.arange(len(task.kept_ids))
    ids = new_id[rows.ids]
    if (ids < 0).any():
        raise ValueError("a training text has a token that the cut vocabulary has not")
    return Rows(ids, rows.split, rows.slots, rows.intent, rows.is_first, rows.is_single), answers


def students(task: Task, options: argparse.Namespace) -> dict[str, keras.Model]:
    """Distils the students of both tiers, or reads them."""
    table = build_table(task, options)
    paths = {size: options.folder / student_file(size, options) for size in SIZES}
    rows, answers = None, {}
    if not all(path.exists() for path in paths.values()):
        rows, answers = answered_rows(task, options)
    found = {}
    for size in ("small", "tiny"):
        student = start(
            size,
            kept_ids=np.arange(len(task.kept_ids)),
            teacher_table=table,
            num_slot_tags=len(task.tags),
            seed=options.seed,
        )
        epochs = options.epochs
        distill(student, rows, answers, epochs=epochs, seed=options.seed, path=paths[size])
        found[size] = student
    return found


def build_table(task: Task, options: argparse.Namespace) -> np.ndarray:
    """Returns what the teacher knows of each kept id, float32 `[V, 2 D]`, which is kept too.

    Half of it is the word's row in the pretrained table, half the fine-tuned teacher's state of a
    text of that one word; each half centered, and its rows of length one.
    """
    path = task.folder / "vectors.npy"
    if not path.exists():
        model = teacher(task, options)
        backbone = next(layer for layer in model.layers if hasattr(layer, "token_embedding"))
        table = keras.ops.convert_to_numpy(backbone.token_embedding.embeddings)[task.kept_ids]
        pooled = keras.Model(model.input, model.get_layer("pooling").output)
        answers = token_features(pooled, token_ids=task.kept_ids, before=(101,), after=(102,))
        np.save(path, np.concatenate([_unit_rows(table), _unit_rows(answers)], axis=1))
    return np.load(path)


def _unit_rows(table: np.ndarray) -> np.ndarray:
    centered = table - table.mean(axis=0)
    return centered / np.linalg.norm(centered, axis=1, keepdims=True)


def student_file(size: str, options: argparse.Namespace) -> str:
    """Names the weights of a student after what they depend on."""
    settings = f"{options.teacher_rounds}_{options.copies}x{options.epochs}"
    return f"{size}_{options.seed}_{settings}.weights.h5"


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the SNIPS files")
    parser.add_argument("--folder", type=Path, default=Path("runs/compound_snips"))
    parser.add_argument("--teacher-rounds", type=int, default=4)
    parser.add_argument("--copies", type=int, default=12, help="varied copies of each utterance")
    parser.add_argument("--epochs", type=int, default=12, help="of the students")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--requests", type=int, default=1500, help="test requests")
    parser.add_argument("--only", choices=("students", "teams"), help="stop after this step")
    return parser.parse_args()


def main() -> None:
    """Does what is not done yet and prints the table."""
    options = arguments()
    task = prepare(options)
    models = students(task, options)
    for size, student in models.items():
        print(size, f"{student.count_params():,} parameters", flush=True)
    if options.only == "students":
        return
    from compound_snips_teams import save_teams

    folders = save_teams(task, models, lambda: teacher(task, options), options)
    if options.only == "teams":
        return
    from compound_snips_score import score, table

    report = table(score(task, folders, options))
    (options.folder / "report.md").write_text(f"# Compound SNIPS\n\n{report}\n", encoding="utf-8")
    print(report)
    print(json.dumps({"requests": options.requests}))


if __name__ == "__main__":
    main()
