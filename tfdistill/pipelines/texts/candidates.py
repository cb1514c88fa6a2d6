"""The students that may ship: an encoder and a bag of words, each with its bundle."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfdistill.agents.calibration import calibrate_bundle, calibrate_thresholds
from tfdistill.agents.tokenization.ngrams import NGrams
from tfdistill.distill.backup import Backup
from tfdistill.distill.distiller import Distiller
from tfdistill.export.saving import save_bundle
from tfdistill.files.atomic import replacing
from tfdistill.pipelines.progress import EpochBar, Progress
from tfdistill.pipelines.run_folder import RunFolder
from tfdistill.pipelines.texts import students
from tfdistill.pipelines.texts.material import Material
from tfdistill.pipelines.texts.rows import TextRows
from tfdistill.pipelines.texts.students import StudentRecipe
from tfdistill.students.ngram_bag import bag_of_words, bag_of_words_for_size
from tfdistill.students.sizes import EncoderSizes

__all__ = ["Candidate", "bag_candidate", "encoder_candidate"]

_BAG_RATE, _BAG_TEXTS = 1e-2, 60_000
_CHUNK = 20_000  # texts whose n-grams are found at once


@dataclass(frozen=True, eq=False)
class Candidate:
    """A student that may ship.

    Attributes:
        bundle: Its bundle, calibrated on the held-out rows: confidences or thresholds.
        model: The Keras model that the file was made from.
        model_path: The same as a `.keras` file.
        stages: The Keras models on the way to the file, by the names of their stages.
    """

    bundle: Path
    model: keras.Model
    model_path: Path
    stages: dict[str, keras.Model] = field(default_factory=dict)


def encoder_candidate(
    rows: TextRows,
    material: Material,
    sizes: EncoderSizes,
    recipe: StudentRecipe,
    *,
    sparsity: float | None,
    bits: int,
    run: RunFolder,
    progress: Progress,
) -> Candidate:
    """Distils an encoder, compresses it if that is asked, and saves its bundle.

    Args:
        rows: The texts.
        material: What it learns from.
        sizes: Its sizes.
        recipe: How it trains.
        sparsity: Share of zeros, or None.
        bits: 4 or 8.
        run: Where it is kept.
        progress: The bar.

    Returns:
        The candidate.
    """
    outputs, rate = rows.task.outputs, recipe.rate_of(sizes)
    key: dict[str, Any] = {
        "material": material.key,
        "sizes": dataclasses.asdict(sizes),
        "recipe": dataclasses.asdict(recipe),
    }

    def distil(folder: Path) -> None:
        student = students.start_student(
            material, sizes, num_outputs=rows.task.num_outputs, seed=recipe.seed
        )
        students.distill_student(
            student, material, recipe,
            outputs=outputs, rate=rate, folder=folder, progress=progress,
        )  # fmt: skip
        students.save_model(student, folder / "student.keras")

    with progress.part("train the student"):
        path = run.step("student", key, distil) / "student.keras"
    model = keras.saving.load_model(path)
    stages = {"distilled": model}
    if sparsity or bits != 8:
        key = {**key, "sparsity": sparsity, "bits": bits}

        def compress(folder: Path) -> None:
            small = students.compress_student(
                model, material, recipe, sparsity=sparsity, bits=bits,
                outputs=outputs, rate=rate, folder=folder, progress=progress,
            )  # fmt: skip
            students.save_model(small, folder / "student.keras")

        with progress.part("compress the student"):
            path = run.step("compressed", key, compress) / "student.keras"
        model = keras.saving.load_model(path)
        stages["compressed" if sparsity else "quantization_aware"] = model
    mode = "int4" if bits == 4 else "dynamic"
    bundle = run.step(
        "encoder_bundle", {**key, "mode": mode},
        lambda folder: _bundle(
            model, folder, rows,
            tokenizer=material.words.tokenizer, mode=mode, long_texts=material.words.long_texts,
        ),
    )  # fmt: skip
    return Candidate(bundle / "bundle", model, path, stages)


def bag_candidate(
    rows: TextRows,
    material: Material,
    recipe: StudentRecipe,
    *,
    max_kb: float,
    run: RunFolder,
    progress: Progress,
) -> Candidate:
    """Distils a bag of words from the same answers, and saves its bundle.

    Args:
        rows: The texts.
        material: What it learns from.
        recipe: How the encoder trains: the bag reads as much.
        max_kb: Largest size of file and n-grams together, in KB of 1,024 bytes.
        run: Where it is kept.
        progress: The bar.

    Returns:
        The candidate.
    """
    size = bag_of_words_for_size(max_kb * 1.024, rows.task.num_outputs)
    key: dict[str, Any] = {
        "material": material.key,
        "max_bytes": size.max_bytes,
        "width": size.embedding_dim,
        "passes": recipe.passes,
        "seed": recipe.seed,
    }

    def train(folder: Path) -> None:
        ngrams, features = _features(rows, material, size, folder, seed=recipe.seed)
        student = bag_of_words(
            num_rows=ngrams.num_rows,
            sequence_length=ngrams.sequence_length,
            embedding_dim=size.embedding_dim,
            num_classes=rows.task.num_outputs,
            seed=recipe.seed,
        )
        _train_bag(student, features, rows, material, recipe, folder=folder, progress=progress)
        students.save_model(student, folder / "bag.keras")
        del features
        (folder / "features.npy").unlink()

    with progress.part("train the bag of words"):
        folder = run.step("bag", key, train)
    model = keras.saving.load_model(folder / "bag.keras")
    long_texts = material.words.long_texts
    content = (folder / "ngrams.json").read_text(encoding="utf-8")
    ngrams = NGrams.from_json(content, long_texts=long_texts)
    bundle = run.step(
        "bag_bundle", key,
        lambda own: _bundle(
            model, own, rows, tokenizer=ngrams, mode="dynamic", long_texts=long_texts
        ),
    )  # fmt: skip
    return Candidate(bundle / "bundle", model, folder / "bag.keras")


def _features(
    rows: TextRows, material: Material, size: Any, folder: Path, *, seed: int
) -> tuple[NGrams, np.ndarray]:
    """Lists n-grams by what the teacher says of texts and copies; reads all of them into a file."""
    ids, decode = material.ids, material.words.tokenizer.decode_batch
    path, listed = folder / "features.npy", folder / "ngrams.json"
    if listed.exists():
        content = listed.read_text(encoding="utf-8")
        ngrams = NGrams.from_json(content, long_texts=material.words.long_texts)
    else:
        chosen = np.random.default_rng(seed).permutation(len(ids))[:_BAG_TEXTS]
        chosen = np.sort(chosen)
        said = material.cache.logits(chosen)
        labels = rows.task.groups(said).tolist()
        ngrams = NGrams.fit(
            decode([row[row != 0].tolist() for row in ids[chosen]]),
            labels=labels,
            max_bytes=size.max_bytes,
            bytes_per_row=size.embedding_dim,
            long_texts=material.words.long_texts,
        )
        with replacing(listed) as temporary:
            temporary.write_text(ngrams.to_json(), encoding="utf-8")
    if not path.exists():
        with replacing(path) as temporary:
            shape = (len(ids), ngrams.sequence_length)
            features = np.lib.format.open_memmap(temporary, "w+", np.int32, shape)
            for start in range(0, len(ids), _CHUNK):
                texts = decode([row[row != 0].tolist() for row in ids[start : start + _CHUNK]])
                features[start : start + _CHUNK] = ngrams.encode_batch(texts)
            features.flush()
            del features
    return ngrams, np.load(path, mmap_mode="r", allow_pickle=False)


def _train_bag(
    student: keras.Model,
    features: np.ndarray,
    rows: TextRows,
    material: Material,
    recipe: StudentRecipe,
    *,
    folder: Path,
    progress: Progress,
) -> None:
    steps = students.steps_of(material.ids, recipe.passes)
    per_pass = students.backups_of(material.ids)
    keras.utils.set_random_seed(recipe.seed)
    distiller = Distiller(student=student, teacher=material.cache)
    schedule = keras.optimizers.schedules.CosineDecay(_BAG_RATE, steps)
    distiller.compile(
        keras.optimizers.Adam(schedule), alpha=0.0,
        temperature=students.temperature_of(rows.task.outputs, recipe),
        outputs=rows.task.outputs,
    )  # fmt: skip
    batches = material.cache.dataset(
        material.ids,
        students.no_labels(len(material.ids), rows.task.outputs, material.cache.num_classes),
        student_x=features,
        batch_size=students.BATCH,
        seed=recipe.seed,
        epochs_per_pass=per_pass,
    )
    distiller.fit(
        batches,
        epochs=recipe.passes * per_pass,
        callbacks=[
            Backup(folder / "backup"),
            EpochBar(progress),
        ],
        verbose=0,
    )


def _bundle(
    model: keras.Model,
    folder: Path,
    rows: TextRows,
    *,
    tokenizer: Any,
    mode: str,
    long_texts: str,
) -> None:
    names, path, task = rows.task.label_names, folder / "bundle", rows.task
    save_bundle(
        model, path, tokenizer=tokenizer, labels=names, quantize=mode, task=task.kind,
        scale=task.scale, long_texts=long_texts,
    )  # fmt: skip
    texts, targets = rows.held_out.texts, rows.held_out.targets
    if task.kind == "class":
        calibrate_bundle(path, texts, [names[number] for number in targets])
    elif task.kind == "labels":
        given = [[names[number] for number in np.flatnonzero(row)] for row in targets]
        calibrate_thresholds(path, texts, given)
