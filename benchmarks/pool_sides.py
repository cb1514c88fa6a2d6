"""The sides of `pool.py`: the same student and texts, answered in six ways."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfdistill.agents import Agent, AgentPool, RayAgent
from tfdistill.agents.on_ray import worker_process

worker_process.READY_S = 300.0  # a busy machine takes minutes to start processes

LENGTH, WORDS, CLASSES = 64, 8000, 20
AGENTS = 2

Side = Callable[[Sequence[str]], Any]


def make_student(folder: Path, *, layers: int, width: int) -> Path:
    """Writes the int8 bundle of an encoder with random weights, and the Keras model beside it."""
    import keras
    from tokenizers import Tokenizer, models, pre_tokenizers

    import tfdistill as td

    words = {"[PAD]": 0, "[UNK]": 1} | {f"w{index}": index for index in range(2, WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    student = td.students.text_encoder(
        vocabulary_size=WORDS,
        sequence_length=LENGTH,
        num_layers=layers,
        hidden_dim=width,
        num_heads=4,
        intermediate_dim=4 * width,
        num_classes=CLASSES,
        seed=0,
    )
    labels = [f"class {index}" for index in range(CLASSES)]
    td.save_bundle(student, folder / "bundle", tokenizer=tokenizer, labels=labels)
    student.save(folder / "student.keras")
    keras.backend.clear_session()
    return folder / "bundle"


def make_texts(count: int) -> list[str]:
    """Returns seeded texts of 20 to 60 words."""
    generator = random.Random(0)
    return [
        " ".join(f"w{generator.randrange(2, WORDS)}" for _ in range(generator.randint(20, 60)))
        for _ in range(count)
    ]


class KerasAgent:
    """The document's agent: a Ray actor that calls `predict` of a Keras model.

    It is given a path, because a model cannot be sent to an actor in every version.
    """

    def __init__(self, model: str, tokenizer: str) -> None:
        import os

        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
        import keras
        from tokenizers import Tokenizer

        import tfdistill.students  # noqa: F401, the layers of the student

        self._model = keras.models.load_model(model)
        self._tokenizer = Tokenizer.from_file(tokenizer)

    def predict(self, texts: Sequence[str]) -> list[int]:
        """Returns the class of each text."""
        rows = np.zeros((len(texts), LENGTH), dtype=np.int32)
        for row, text in zip(rows, texts, strict=True):
            ids = self._tokenizer.encode(text).ids[:LENGTH]
            row[: len(ids)] = ids
        return self._model.predict(rows, verbose=0).argmax(axis=1).tolist()


def chunks_of(texts: Sequence[str], size: int) -> list[list[str]]:
    """Cuts texts into chunks."""
    return [list(texts[start : start + size]) for start in range(0, len(texts), size)]


def in_turns(agents: Sequence[Any], size: int) -> Side:
    """The document's loop: every agent gets one call, and all are waited for."""
    import ray

    def run(texts: Sequence[str]) -> None:
        chunks = chunks_of(texts, size)
        for start in range(0, len(chunks), len(agents)):
            calls = zip(agents, chunks[start : start + len(agents)], strict=False)
            ray.get([agent.predict.remote(chunk) for agent, chunk in calls])

    return run


def with_actor_pool(agents: Sequence[Any], size: int) -> Side:
    """Ray's own pool over the same actors."""
    from ray.util import ActorPool

    def run(texts: Sequence[str]) -> None:
        pool = ActorPool(list(agents))
        list(pool.map(lambda agent, chunk: agent.predict.remote(chunk), chunks_of(texts, size)))

    return run


def open_sides(bundle: Path, *, document: bool) -> tuple[dict[str, Side], list[AgentPool]]:
    """Starts everything and returns what answers, by name, and the pools to close."""
    import ray

    loop = Agent(bundle)
    threads = AgentPool(bundle, executor="threads", num_agents=AGENTS)
    processes = AgentPool(bundle, executor="ray", num_agents=AGENTS)
    actors = [RayAgent.remote(bundle) for _ in range(AGENTS)]
    sides: dict[str, Side] = {
        "plain loop": loop.predict,
        "AgentPool, threads": threads.predict,
        "AgentPool, Ray": processes.predict,
        "Ray's ActorPool, 1 text": with_actor_pool(actors, 1),
        "Ray's ActorPool, 16 texts": with_actor_pool(actors, 16),
        "RayAgent in turns, 1 text": in_turns(actors, 1),
    }
    if document:
        keras_agent: Any = ray.remote(KerasAgent)
        arguments = (str(bundle.parent / "student.keras"), str(bundle / "tokenizer.json"))
        documents = [keras_agent.remote(*arguments) for _ in range(AGENTS)]
        sides["Keras actors in turns, 1 text"] = in_turns(documents, 1)
        sides["Keras actors in turns, 32 texts"] = in_turns(documents, 32)
    return sides, [threads, processes]
