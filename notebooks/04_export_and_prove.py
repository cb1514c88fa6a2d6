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
# # Export and prove: six files of one model, and how to know that a file is right
#
# * **You will build** six `.tflite` files, a proof for each, and a bundle that refuses tampering.
# * **Time**: under a minute on two CPU cores, after the download.
# * **Needs**: `pip install "tfdistill[all]"`; 38 MB from the package registry, kept in a cache.
# * **Last run**: Python 3.11, TensorFlow 2.21.0, Keras 3.15.1, LiteRT 2.3.0.

# %% [markdown]
# ## 1. What can go wrong between a model and its file
#
# A converter that ends without an error has not yet proved anything. The usual surprises are these,
# and each has a check below that would have found it:
#
# | surprise | what finds it |
# |---|---|
# | the file answers differently | `td.compare`, in errors, agreement, and layer by layer |
# | the file is not smaller | `size_bytes` and `gzip_bytes` of `td.measure` |
# | the file is not faster | its latency, and the operations outside the fast path |
# | the file is broken, or not the one you made | `open_bundle`, by size and hash |

# %%
import json
import os
import tempfile
import warnings
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"  # a saved notebook has no use for progress bars
warnings.filterwarnings("ignore", message="IProgress not found")

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

import tfdistill as td
from tfdistill import datasets, students
from tfdistill.agents import Agent
from tfdistill.bundles import open_bundle
from tfdistill.export import save_bundle
from tfdistill.runtime.interpreter import Interpreter

tf.get_logger().setLevel("ERROR")

SEED, LENGTH = 0, 24
folder = Path(tempfile.mkdtemp())
keras.utils.set_random_seed(SEED)
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
BLUE, GREY, ORANGE, GREEN = "#4c6ef5", "#868e96", "#f08c00", "#2b8a3e"

# %% [markdown]
# ## 2. The model
#
# Reuters news of 1987 with one of eight topics, and a transformer of two blocks, trained on the
# labels to keep this notebook about files. In your project it is the student of notebook 01.

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
test_texts = [news.test_texts[row] for row in test]
tokenizer.train_from_iterator(train_texts, trainer)
x_train = students.encode(tokenizer, train_texts, sequence_length=LENGTH)
x_test = students.encode(tokenizer, test_texts, sequence_length=LENGTH)
y_train, y_test = news.train_labels[train], news.test_labels[test]

student = students.text_encoder(
    vocabulary_size=tokenizer.get_vocab_size(),
    sequence_length=LENGTH,
    num_layers=2,
    hidden_dim=64,
    num_heads=4,
    intermediate_dim=128,
    num_classes=len(news.label_names),
    dropout=0.0,
    seed=SEED,
)
student.compile(
    keras.optimizers.Adam(2e-3), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
)
_ = student.fit(x_train, y_train, batch_size=64, epochs=5, verbose=0)
print(f"{student.count_params():,} parameters")

# %% [markdown]
# ## 3. Six files
#
# `int8`, `int8_16` and `int8_fc` store activations as integers too, so they need texts to find out
# how large those become; `int8_fc` only where a matrix product reads them. What a later text has
# beyond that is cut off, so give many: with 128 texts instead of these 1,024, the largest error
# below was 1.2 instead of 0.79. All the other modes look at the weights alone.

# %%
modes = {
    "float32": {"quantize": None},
    "float16": {"quantize": "float16"},
    "dynamic": {"quantize": "dynamic"},
    "int4": {"quantize": "int4"},
    "int8": {"quantize": "int8", "calibration": x_train[:1024]},
    "int8_fc": {"quantize": "int8_fc", "calibration": x_train[:1024]},
}
files = {
    name: td.to_tflite(student, folder / f"{name}.tflite", **settings)
    for name, settings in modes.items()
}

# Integer activations of 16 bits need real-valued inputs; this model reads token ids.
try:
    td.to_tflite(student, folder / "no.tflite", quantize="int8_16", calibration=x_train[:1024])
    refusal = None
except ValueError as error:
    refusal = str(error)
print(refusal)
print(sorted(path.name for path in folder.iterdir()))

# %% [markdown]
# A refusal says what to do and leaves no half-written file behind. What each file is worth:

# %%
reports = {name: td.compare(student, path, x_test, y_test) for name, path in files.items()}
costs = {name: td.measure(path) for name, path in files.items()}

print(f"{'':9}{'accuracy':>9}{'agrees':>8}{'max error':>11}{'KB':>7}{'gzip':>6}{'ms':>8}")
for name in files:
    report, cost = reports[name], costs[name]
    print(
        f"{name:9}{report.file_accuracy:9.3f}{report.agreement:8.3f}{report.max_error:11.2g}"
        f"{cost.size_bytes / 1024:7.0f}{cost.gzip_bytes / 1024:6.0f}{cost.latency_ms_p50:8.3f}"
    )

# %% [markdown]
# Smaller is not always faster. LiteRT hands what it can to XNNPACK, its fast kernels, and runs the
# rest one by one; `measure` counts the blocks and names the operations outside them.

# %%
for name, cost in costs.items():
    outside = {operation: cost.outside.count(operation) for operation in sorted(set(cost.outside))}
    print(f"{name:9}{cost.partitions:3} fast blocks, outside: {outside}")

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
names = list(files)
place = np.arange(len(names))
left.bar(place - 0.2, [costs[n].size_bytes / 1024 for n in names], 0.4, color=GREY, label="file")
left.bar(
    place + 0.2, [costs[n].gzip_bytes / 1024 for n in names], 0.4, color=BLUE, label="download"
)
left.set(xticks=place, xticklabels=names, ylabel="KB", title="what it weighs")
left.legend(frameon=False)
for name in names:
    error = max(reports[name].max_error / reports[name].largest, 1e-7)
    right.plot(costs[name].latency_ms_p50 * 1000, error, "o", color=BLUE)
    at = (costs[name].latency_ms_p50 * 1000, error)
    right.annotate(name, at, (6, 3), textcoords="offset points")
right.set(yscale="log", xlabel="µs per text", ylabel="largest error / largest output")
right.set(title="what it costs", xlim=(0, None))
plt.show()

# %% [markdown]
# `dynamic` is the default for a reason: weights in 8 bits, activations in float, almost all of it
# in one fast block, and it needs no texts. `int8`, made for accelerators that know no floats, is
# the slowest here: its norms and softmax leave the fast path again and again. `int8_fc` leaves
# those in float, and does not have to measure activations as they come: the fastest of all.
#
# ## 4. Close enough? Each mode has a bound with a reason
#
# `assert_close` knows what a mode may do to a model: float32 sums in another order, 8 bits are off
# by half a step of 1/127 of the largest value in a row, and so on. Where an output is computed on a
# grid of integers, the error is also given in steps of it.

# %%
for name, report in reports.items():
    mode = modes[name]["quantize"]
    try:
        report.assert_close(quantize=mode)
        print(f"{name:9} within the bound of {mode!r}")
    except AssertionError as error:
        print(f"{name:9} {str(error).splitlines()[0]}")

# %% [markdown]
# When a file is off, the next question is *where*. `layers=True` runs one text through the model
# and the file, and puts every layer's output beside the tensor that it became.

# %%
figure, axes = plt.subplots(figsize=(10, 3.2), layout="constrained")
drift = {}
for name, color in (("float32", GREY), ("dynamic", BLUE), ("int8", ORANGE), ("int4", GREEN)):
    layers = td.compare(student, files[name], x_test[:8], layers=True).layers
    drift[name] = {layer.name: max(layer.relative, 1e-8) for layer in layers}
    axes.plot(list(drift[name]), list(drift[name].values()), "o-", color=color, label=name)
axes.set(yscale="log", ylabel="relative error of the layer", title="where does it drift?")
axes.tick_params(axis="x", rotation=60, labelsize=7)
axes.legend(frameon=False, ncols=4)
plt.show()

# %% [markdown]
# ## 5. Several texts at once, in the same file
#
# A file has fixed shapes, which is what makes it fast. `batch_sizes` writes one signature for each
# size; they share every weight.

# %%
many = td.to_tflite(student, folder / "many.tflite", batch_sizes=(1, 8, 32))
per_text = {}
for signature in Interpreter(many).signatures.values():
    size = signature.inputs["ids"].shape[0]
    per_text[size] = 1000 * td.measure(many, signature=signature.name).latency_ms_p50 / size
whole = td.compare(student, many, x_test)
print({size: f"{time:.0f} µs per text" for size, time in per_text.items()})
print(f"{many.stat().st_size / files['dynamic'].stat().st_size:.3f} of the size of one signature")
print([(part.batch_size, f"{part.max_error:.3f}") for part in whole.parts])

# %% [markdown]
# ## 6. A folder that cannot lie
#
# `save_bundle` puts the file, its tokenizer and its labels in a folder with a manifest of sizes and
# hashes. Whoever opens it gets what was saved, or an error.

# %%
bundle = save_bundle(student, folder / "topics", tokenizer=tokenizer, labels=news.label_names)
agent = Agent(bundle.path)
for text, found in zip(test_texts[:3], agent.predict(test_texts[:3]), strict=True):
    print(f"{found.label:9} {found.confidence:.3f}  {text[:70]} …")

wrong = bundle.model_path.read_bytes()
bundle.model_path.write_bytes(wrong[:-1] + bytes([wrong[-1] ^ 1]))  # one bit of the last byte
refused = []
for damage in ("a bit flipped", "a link outside"):
    if damage == "a link outside":
        manifest = json.loads((bundle.path / "manifest.json").read_text())
        manifest["files"]["../../etc/passwd"] = manifest["files"].pop("model.tflite")
        (bundle.path / "manifest.json").write_text(json.dumps(manifest))
    try:
        open_bundle(bundle.path)
    except ValueError as error:
        refused.append(damage)
        print(f"{damage}: {str(error).replace(str(folder), '…')[:110]} …")

# %% [markdown]
# ## 7. The claims, checked

# %%
size = {name: cost.size_bytes for name, cost in costs.items()}
error = {name: report.max_error / report.largest for name, report in reports.items()}
accuracy = {name: report.file_accuracy for name, report in reports.items()}
# Smaller: half, a quarter, less than that.
assert size["float16"] < 0.55 * size["float32"] and size["dynamic"] < 0.33 * size["float32"]
assert size["int4"] < size["dynamic"]
# Right: float to rounding, 8 bits within their bound and without a loss of accuracy to speak of.
assert error["float32"] < 1e-5 and error["float16"] < 5e-3 and error["dynamic"] < 0.1
assert accuracy["dynamic"] > accuracy["float32"] - 0.01
assert accuracy["int8"] > accuracy["float32"] - 0.03
# Fixed grids cost no accuracy, and need no slow norms and softmax for it.
assert error["int8_fc"] < 0.1 and accuracy["int8_fc"] > accuracy["float32"] - 0.01
assert costs["int8_fc"].latency_ms_p50 < 0.7 * costs["int8"].latency_ms_p50
# The errors of the layers are in the order of the grids: float, 8 bits, 4 bits.
typical = {name: np.median(list(layers.values())) for name, layers in drift.items()}
assert typical["float32"] < 1e-5 < typical["dynamic"] < typical["int4"]
# Three batch sizes in one file: the weights once.
assert set(per_text) == {1, 8, 32} and many.stat().st_size < 1.5 * size["dynamic"]
# What cannot be done is refused, and so is what was changed.
assert refusal is not None and refused == ["a bit flipped", "a link outside"]

# %% [markdown]
# `tfdistill export`, `compare`, `measure` and `inspect` are the same from the command line, and
# `benchmarks/runtime_vs_peers.py` puts these files beside ONNX Runtime and TensorFlow.
