"""Three answers to one text: one encoder with three heads beside three separate agents.

    python benchmarks/shared_encoder.py

The weights are random: neither time nor size depends on them. Each row is one width. The separate
agents are three files with an encoder of their own; the shared file holds one encoder, its three
heads, and a signature that answers all three in one call. Both sides go through the same class,
from text to logits, on one thread, in turn; the ratio is the median over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from time import perf_counter

import keras
from tokenizers import Tokenizer, models, pre_tokenizers

import tfdistill as td
from tfdistill.agents.team.heads import HeadFile
from tfdistill.students import head_signatures, multi_head_encoder

LENGTH, VOCABULARY = 48, 4000
HEADS = {"token_heads": {"split": 3, "slots": 79}, "text_heads": {"intent": 7}}
TEXT = "play w1 w2 w3 w4 by w5 w6 on w7 and then w8 a w9 for two in w10"


def main() -> None:
    """Prints one row for each width."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=40, help="texts in a round, on each side")
    options = parser.parse_args()
    print(
        "| width | separate, requests/s | shared, requests/s | ratio | one KB | shared KB | size |"
    )
    print("| --: | --: | --: | --: | --: | --: | --: |")
    for width in options.widths:
        with tempfile.TemporaryDirectory() as folder:
            separate, shared, sizes = write(width, Path(folder))
            rates, ratio = compare(separate, shared, rounds=options.rounds, calls=options.calls)
        print(
            f"| {width} | {rates[0]:,.0f} | {rates[1]:,.0f} | {ratio:.2f} | {sizes[0]:,.0f} "
            f"| {sizes[1]:,.0f} | {sizes[1] / sizes[0]:.3f} |",
            flush=True,
        )


def write(width: int, folder: Path) -> tuple[dict[str, HeadFile], HeadFile, tuple[float, float]]:
    """Writes and opens both sides; also returns KB of the largest separate and the shared file."""
    words = {"[PAD]": 0, "[UNK]": 1}
    words |= {f"w{index}": index for index in range(2, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    sizes = {
        "vocabulary_size": VOCABULARY,
        "sequence_length": LENGTH,
        "num_layers": 2,
        "hidden_dim": width,
        "num_heads": 4,
        "intermediate_dim": 2 * width,
        "seed": 0,
    }
    model = multi_head_encoder(**HEADS, **sizes)
    td.to_tflite(head_signatures(model), folder / "shared.tflite")
    separate = {}
    for head in model.output:
        alone = keras.Model(model.input, {head: model.output[head]})
        td.to_tflite({"all": alone}, folder / f"{head}.tflite")
        separate[head] = HeadFile(folder / f"{head}.tflite", folder / "tokenizer.json")
    shared = HeadFile(folder / "shared.tflite", folder / "tokenizer.json")
    one = max((folder / f"{head}.tflite").stat().st_size for head in separate)
    return separate, shared, (one / 1000, (folder / "shared.tflite").stat().st_size / 1000)


def compare(
    separate: dict[str, HeadFile], shared: HeadFile, *, rounds: int, calls: int
) -> tuple[tuple[float, float], float]:
    """Returns the median requests per second of both sides, and the median of their ratios."""
    found: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        start = perf_counter()
        for call in range(calls):
            for file in separate.values():
                file.run(f"{TEXT} {number} {call}", signature="all")
        middle = perf_counter()
        for call in range(calls):
            shared.run(f"{TEXT} {number} {call}", signature="all")
        end = perf_counter()
        if number:  # the first round warms up
            found.append((calls / (middle - start), calls / (end - middle)))
    rates = tuple(statistics.median(side) for side in zip(*found, strict=True))
    return (rates[0], rates[1]), statistics.median(two / one for one, two in found)


if __name__ == "__main__":
    main()
