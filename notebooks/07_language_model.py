# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A language model, cut down, healed, and written out as one TFLite file
#
# * **You will build** a student of 7 M parameters, cut out of SmolLM2's 135 M, in one file.
# * **Time**: under three minutes on two CPU cores, after the download.
# * **Needs**: `pip install "tfdistill[language,quantizer,plots]"`; 131 MB, kept in a cache.
# * **Last run**: Python 3.11, TensorFlow 2.21.0, Keras 3.15.1.

# %% [markdown]
# ## 1. What you will see
#
# 1. **A cut model is broken, and healing repairs much of it quickly.** The student starts as four
#    of the teacher's thirty layers, narrower ones, and says nonsense. 160 steps on the teacher's
#    answers divide its perplexity by more than ten.
# 2. **The file is the model.** What the TFLite file writes with its cache of keys and values,
#    token by token, is what the Keras model writes.
# 3. **Small files.** Four bits a weight make the file less than a fourteenth of the teacher's,
#    which has four bits too.
#
# It is a slice: 7,680 tokens of news where the real thing takes 300,000
# (`benchmarks/smollm2_student.py`), so do not expect good prose.
#
# The last cell asserts these sentences.

# %%
import contextlib
import io
import tempfile
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore", message="IProgress not found")
warnings.filterwarnings("ignore", message="`shuffle=True` was passed")

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import tfdistill as td
from tfdistill.agents import Generator
from tfdistill.language import (
    IGNORED,
    language_model,
    load_gguf,
    next_tokens,
    pack_texts,
    sample,
    score_language_model,
)
from tfdistill.students import cut_byte_bpe

tf.get_logger().setLevel("ERROR")
keras.utils.set_random_seed(0)
folder = Path(tempfile.mkdtemp())
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
BLUE, GREY, ORANGE = "#4c6ef5", "#adb5bd", "#f08c00"

# %% [markdown]
# ## 2. The teacher, and the words that the news need
#
# SmolLM2 comes as a GGUF file of four bits a weight. It knows 49,152 tokens; Reuters news need
# few of them. `cut_byte_bpe` keeps the most frequent ones and every single byte, so that any text
# can still be written, and `prune_vocabulary` takes the other rows out of the teacher's table.

# %%
(gguf,) = Path(td.datasets.extract(td.datasets.SMOLLM2)).rglob("*.gguf")
lm = load_gguf(gguf)
news = td.datasets.load_reuters("r8")
tokenizer, kept_ids = cut_byte_bpe(lm.tokenizer, news.train_texts, size=2048)
backbone, _ = td.prune_vocabulary(lm.backbone, keep=kept_ids)
teacher = language_model(backbone, name="teacher")

train = pack_texts(tokenizer, news.train_texts[:200], length=64, separator=0)[:120]
test = pack_texts(tokenizer, news.test_texts[:60], length=64, separator=0)[:16]
print(f"{lm.backbone.count_params():,} parameters, {backbone.count_params():,} with 2,048 tokens")
print(f"{train.size:,} tokens to learn from, {test.size:,} to measure on")

# %% [markdown]
# ## 3. Ask the teacher once
#
# The cache keeps the 32 most probable next tokens of every place and the mass of the rest. It is
# the long part, and it survives being stopped: the same call goes on where it was.

# %%
with contextlib.redirect_stderr(io.StringIO()):  # a progress bar is of no use on a page
    cache = td.TeacherCache.build(teacher, train, folder / "answers", top_k=32, batch_size=8)
print(f"{cache.num_rows} rows answered")

# %% [markdown]
# ## 4. Cut a student out of the teacher
#
# What matters least on some of the training rows goes: 26 of 30 layers, two thirds of each
# feed-forward layer, a third of the attention heads. No training, only measuring.

# %%
calibration = {"token_ids": train[:8], "padding_mask": np.ones_like(train[:8])}
small, layers = td.drop_layers(backbone, keep=4, calibration=calibration)
small, _ = td.prune_ffn(small, keep=512, calibration=calibration)
small, _ = td.prune_heads(small, keep=6, calibration=calibration)
student = language_model(small, name="student")
print(layers)
scores = {
    "teacher": score_language_model(teacher, test),
    "cut": score_language_model(student, test, teacher=teacher),
}

# %% [markdown]
# ## 5. Heal it
#
# The `Distiller` treats a language model like any other: logits of `[B, T, V]`, one teacher's
# answer for each place. The loss at the last place of a row, which has no next token, is ignored.

# %%
steps = 160
distiller = td.Distiller(student=student, teacher=cache)
rate = keras.optimizers.schedules.CosineDecay(
    0.0, steps, 0.05, warmup_target=2e-3, warmup_steps=steps // 10
)
distiller.compile(
    keras.optimizers.AdamW(rate, weight_decay=0.01, global_clipnorm=1.0),
    alpha=0.1,
    temperature=1.0,
    ignore_class=IGNORED,
)
batches = cache.dataset(train, next_tokens(train), batch_size=8, seed=0)
history = distiller.fit(batches.repeat(), steps_per_epoch=10, epochs=steps // 10, verbose=0)
scores["healed"] = score_language_model(student, test, teacher=teacher)

print(f"{'':8} {'perplexity':>10} {'agrees':>7}")
for name, score in scores.items():
    agreement = 1.0 if score.agreement is None else score.agreement
    print(f"{name:8} {score.perplexity:10.1f} {agreement:7.3f}")

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.plot(10 * np.arange(1, steps // 10 + 1), history.history["soft_loss"], color=BLUE)
left.set(xlabel="steps", ylabel="KL from the teacher, training rows", title="Healing")
colors = {"teacher": GREY, "cut": ORANGE, "healed": BLUE}
for name, score in scores.items():
    right.bar(name, score.perplexity, color=colors[name])
    right.text(name, score.perplexity * 1.1, f"{score.perplexity:,.0f}", ha="center")
right.set(yscale="log", ylabel="perplexity, unseen news", title="What is left")
plt.show()

# %% [markdown]
# ## 6. One file that reads and writes
#
# `save_language_bundle` exports the reading of prompts and the writing of single tokens as
# signatures of one file that share their weights, compares each with the Keras model, and puts the
# tokenizer beside them. Opening and writing need no TensorFlow.

# %%
bundles = {}
for quantize in (None, "int4"):
    bundles[quantize] = td.export.save_language_bundle(
        student,
        folder / f"bundle-{quantize}",
        tokenizer=tokenizer,
        context_length=128,
        quantize=quantize,
        eos_ids=[0],
    )
    size = bundles[quantize].model_path.stat().st_size
    print(f"{quantize or 'float32':8} {size / 2**20:6.1f} MB")
print(f"teacher  {gguf.stat().st_size / 2**20:6.1f} MB, of all tokens")

# %%
prompt = news.test_texts[0][:40]
ids = tokenizer.encode(prompt).ids
by_keras = tokenizer.decode(sample(student, [ids], num_tokens=24, temperature=0.0)[0][len(ids) :])
by_file = Generator(folder / "bundle-None").generate(prompt, max_new_tokens=24, temperature=0.0)
print(f"{prompt} …\nKeras  {by_keras!r}\nfile   {by_file!r}")

# %% [markdown]
# ## 7. Write
#
# Pieces come as soon as they are certain. A seed decides what is drawn, wherever it runs.

# %%
writer = Generator(folder / "bundle-int4")
start = time.perf_counter()
pieces = list(writer.stream(prompt, max_new_tokens=60, temperature=0.7, top_p=0.9, seed=1))
print(prompt, "|", "".join(pieces))
print(f"\n60 tokens in {time.perf_counter() - start:.2f} s on one thread, 4 bits a weight")

# %% [markdown]
# ## 8. The claims

# %%
again = writer.generate(prompt, max_new_tokens=60, temperature=0.7, top_p=0.9, seed=1)
assert scores["healed"].perplexity < scores["cut"].perplexity / 10
assert scores["healed"].agreement > scores["cut"].agreement + 0.1
assert by_file == by_keras
assert bundles["int4"].model_path.stat().st_size < gguf.stat().st_size / 14
assert again == "".join(pieces)
print("All of it holds.")
