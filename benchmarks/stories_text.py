"""The teacher of `benchmarks/stories_student.py`: Karpathy's 260 K-parameter TinyStories model.

llama2.c's `.bin` is seven int32 and then float32 matrices, queries and keys in the order of
neighboring pairs. See https://github.com/karpathy/llama2.c, `export.py`, version 0.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from tfdistill.language import sample
from tfdistill.language.gguf_model import half_split
from tfdistill.students import causal_lm

BEGIN = 1  # the id that each story begins with
LENGTH = 256


def load_stories(path: Path) -> keras.Model:
    """Reads a `.bin` of llama2.c whose output table is the input's."""
    content = path.read_bytes()
    width, units, layers, heads, key_value, vocabulary, _ = np.frombuffer(content, "<i4", 7)
    numbers = np.frombuffer(content, "<f4", offset=28)
    at = 0

    def take(*shape: int) -> np.ndarray:
        nonlocal at
        at += int(np.prod(shape))
        return numbers[at - int(np.prod(shape)) : at].reshape(shape)

    head_dim = int(width // heads)
    table, attention_norms = take(vocabulary, width), take(layers, width)
    query, key = take(layers, width, width), take(layers, key_value * head_dim, width)
    value, output = take(layers, key_value * head_dim, width), take(layers, width, width)
    ffn_norms, gate = take(layers, width), take(layers, units, width)
    down, up, last_norm = take(layers, width, units), take(layers, units, width), take(width)
    model = causal_lm(
        vocabulary_size=int(vocabulary),
        num_layers=int(layers),
        hidden_dim=int(width),
        num_heads=int(heads),
        num_key_value_heads=int(key_value),
        intermediate_dim=int(units),
        name="stories260k",
    )
    model.get_layer("token_embedding").embeddings.assign(table)
    model.get_layer("final_norm").scale.assign(last_norm)
    for index in range(int(layers)):
        block = model.get_layer(f"decoder_{index}")
        block.attention_norm.scale.assign(attention_norms[index])
        block.ffn_norm.scale.assign(ffn_norms[index])
        for layer, matrix in (
            (block.query, half_split(query[index], head_dim=head_dim)),
            (block.key, half_split(key[index], head_dim=head_dim)),
            (block.value, value[index]),
            (block.attention_output, output[index]),
            (block.ffn_gate, gate[index]),
            (block.ffn_inner, up[index]),
            (block.ffn_outer, down[index]),
        ):
            layer.kernel.assign(matrix.T.reshape(layer.kernel.shape))
    return model


def sample_rows(teacher: keras.Model, *, rows: int, seed: int) -> np.ndarray:
    """Lets the teacher write at temperature 1, from the beginning on: int32 `[rows, LENGTH]`."""
    prompts = np.full((rows, 1), BEGIN)
    return sample(teacher, prompts, num_tokens=LENGTH - 1, seed=seed, batch_size=min(rows, 256))
