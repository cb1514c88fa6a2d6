"""Confirmations: a language model of 1.3 M parameters says in a sentence what a team understood.

    python benchmarks/snips_writer.py --data FOLDER --team FOLDER

FOLDER of `--data` is that of `compound_snips.py`; `--team` is one of its teams (`teams/small`).
The model learns from people: the frame of each training utterance is the prompt, the utterance
what stands behind it, also with other values of the same kind in their places. It is scored by how
many of the values it says, on frames of utterances it has never seen, and in the team, on the
values that a request really holds.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from compound_snips_data import Utterance, load, make_requests
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tfdistill.agents import Generator, Plan, Step, Team, frame_prompt, slot_coverage
from tfdistill.agents.team.folder import open_team, save_team
from tfdistill.export import save_language_bundle
from tfdistill.language import IGNORED, prompted_rows
from tfdistill.rl import cluster_interval
from tfdistill.students import causal_lm

SIZES = {"num_layers": 4, "hidden_dim": 160, "num_heads": 4, "num_key_value_heads": 2,
         "intermediate_dim": 320}  # fmt: skip
VOCABULARY, LENGTH, COPIES, BATCH, RATE = 2048, 64, 6, 64, 2e-3
WRITE = Step("confirmation", kind="text", reads={"intent": "label", "slots": "spans"}, each="parts")


def values_of(utterance: Utterance) -> list[tuple[str, str]]:
    """Returns name and value of each slot."""
    return [(slot.name, utterance.text[slot.start : slot.end]) for slot in utterance.slots]


def with_other_values(
    utterance: Utterance, known: dict[str, list[str]], rng: np.random.Generator
) -> tuple[str, str]:
    """Returns prompt and sentence, half of the values replaced by others of the same kind."""
    text, values, end = "", [], 0
    for slot in utterance.slots:
        value = utterance.text[slot.start : slot.end]
        if rng.random() < 0.5:
            value = known[slot.name][rng.integers(len(known[slot.name]))]
        text += utterance.text[end : slot.start] + value
        values.append((slot.name, value))
        end = slot.end
    return frame_prompt(utterance.intent, values), " " + (text + utterance.text[end:]).strip()


def training_pairs(utterances: list[Utterance], *, copies: int) -> list[tuple[str, str]]:
    """Returns every utterance as it is, and copies with other values."""
    known: dict[str, list[str]] = {}
    for utterance in utterances:
        for name, value in values_of(utterance):
            known.setdefault(name, []).append(value)
    rng = np.random.default_rng(0)
    pairs = [(frame_prompt(u.intent, values_of(u)), " " + u.text.strip()) for u in utterances]
    for _ in range(copies):
        pairs += [with_other_values(utterance, known, rng) for utterance in utterances]
    return pairs


def train_tokenizer(pairs: list[tuple[str, str]]) -> Tokenizer:
    """Trains byte pairs on prompts and sentences; id 0 ends a text, and any text encodes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for pair in pairs for text in pair), trainer)
    return tokenizer


def train(utterances: list[Utterance], folder: Path) -> None:
    """Trains the writer and saves its bundle."""
    pairs = training_pairs(utterances, copies=COPIES)
    tokenizer = train_tokenizer(pairs[: len(utterances)])
    prompts, sentences = (
        [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
        for texts in zip(*pairs, strict=True)
    )
    rows, labels = prompted_rows(prompts, sentences, length=LENGTH, end=0)
    model = causal_lm(vocabulary_size=tokenizer.get_vocab_size(), seed=0, **SIZES)
    steps = len(rows) // BATCH
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, 0.02, warmup_target=RATE, warmup_steps=100
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.01, global_clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORED),
    )
    keras.utils.set_random_seed(0)
    model.fit(rows, labels, batch_size=BATCH, verbose=2)
    save_language_bundle(
        model, folder / "writer", tokenizer=tokenizer, context_length=128,
        prefill_lengths=[16, 32], eos_ids=[0], max_new_tokens=48,
    )  # fmt: skip


def on_frames(bundle: Path, utterances: list[Utterance]) -> dict[str, Any]:
    """Writes a sentence for each frame; the share of values said, and what a sentence costs."""
    generator = Generator(bundle)
    covered, seconds = [], 0.0
    for utterance in utterances:
        values = values_of(utterance)
        start = time.perf_counter()
        written: Any = generator.answer(frame_prompt(utterance.intent, values))
        seconds += time.perf_counter() - start
        covered.append(slot_coverage(getattr(written, "text", ""), [value for _, value in values]))
    sources = [[utterance.number] for utterance in utterances]
    return {
        "coverage": cluster_interval(np.array(covered), sources),
        "complete": cluster_interval(np.array(covered) == 1.0, sources),
        "ms": 1e3 * seconds / len(utterances),
    }


def in_team(folder: Path, team: Path, utterances: list[Utterance], *, count: int) -> dict[str, Any]:
    """Adds the writer to a team and lets it confirm whole requests."""
    content = json.loads((team / "manifest.json").read_text(encoding="utf-8"))
    plan = Plan.from_dict(content["plan"])
    plan = Plan(steps=(*plan.steps, WRITE), result=(*plan.result, WRITE.name))
    names = sorted({name.partition("/")[0] for name in content["files"]})
    writer = {"agent": "writer", "bundle": "writer", "label": "intent", "spans": "slots"}
    save_team(
        folder / "team",
        plan=plan,
        files={n: (team / n / "model.tflite", team / n / "tokenizer.json") for n in names},
        bundles={"writer": folder / "writer"},
        agents={**content["agents"], WRITE.name: [writer]},
    )
    crew: Team = open_team(folder / "team")
    covered, shown = [], []
    requests = make_requests(utterances, count=count, seed=1)
    for request in requests:
        (result,) = crew.predict([request.text])
        own = (value for field, value in result.values.items() if field.startswith(WRITE.name))
        said = " ".join(filter(None, own))
        wanted = [request.text[s.start : s.end] for part in request.parts for s in part.slots]
        covered.append(slot_coverage(said, wanted))
        shown.append((request.text, said))
    sources = [request.sources for request in requests]
    return {
        "coverage": cluster_interval(np.array(covered), sources),
        "complete": cluster_interval(np.array(covered) == 1.0, sources),
        "shown": shown[2:12:3],
    }


def main() -> None:
    """Trains the writer if it is not there, and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--team", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("runs/snips_writer"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    utterances = load(given.data)
    if not (given.folder / "writer").exists():
        train(utterances["train"], given.folder)
    alone = on_frames(given.folder / "writer", utterances["test"])
    team = in_team(given.folder, given.team, utterances["test"], count=300)
    lines = ["| | values said | all of them said |", "| --- | --: | --: |"]
    for name, found in (
        ("frames of 700 new utterances", alone),
        ("300 requests, in the team", team),
    ):
        cells = ["{:.3f} ({:.3f}–{:.3f})".format(*found[key]) for key in ("coverage", "complete")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    size = (given.folder / "writer" / "model.tflite").stat().st_size
    lines += ["", f"{size / 1e6:.2f} MB, {alone['ms']:.1f} ms a sentence on one thread.", ""]
    lines += [f"* “{asked}” → “{said}”" for asked, said in team["shown"]]
    report = "\n".join(lines)
    (given.folder / "report.md").write_text(f"# Confirmations\n\n{report}\n", encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
