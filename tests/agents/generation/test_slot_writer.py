"""A language model in a team: it says what the others found, and how much of it it said."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import keras
import pytest
from hypothesis import given

from tfdistill.agents import (
    AgentPool,
    Answer,
    Message,
    Plan,
    PlanError,
    Question,
    SlotWriter,
    Span,
    Step,
    Team,
    Trace,
    frame_prompt,
    replay,
    slot_coverage,
)
from tfdistill.agents.team.folder import open_team, save_team
from tfdistill.agents.team.verifier import Verifier
from tfdistill.export import to_tflite

PLAN = Plan(
    steps=(
        Step("topic", kind="label"),
        Step("things", kind="spans"),
        Step("note", kind="text", reads={"topic": "label", "things": "spans"}),
    ),
    result=("topic", "note"),
)
QUESTION = Question(
    "note", "crude oil now", 0, {"topic": "oil", "things": (Span(0, 5, "kind_of"),)}
)


@pytest.fixture(scope="module")
def team_folder(bundles: tuple[Path, Path], tokenizer: Any, tmp_path_factory: Any) -> Path:
    scratch = tmp_path_factory.mktemp("writing")
    ids = keras.Input((16,), dtype="int32", name="ids")
    size, start = tokenizer.get_vocab_size(), keras.initializers.RandomNormal(seed=0)
    vectors = keras.layers.Embedding(size, 4, embeddings_initializer=start)(ids)
    outputs = {
        "topic": keras.layers.Dense(2, kernel_initializer=start)(keras.ops.max(vectors, axis=1)),
        "things": keras.layers.Dense(3, kernel_initializer=start)(vectors),
    }
    to_tflite({"all": keras.Model(ids, outputs)}, scratch / "model.tflite", quantize=None)
    tokenizer.save(str(scratch / "tokenizer.json"))
    head = {"file": "small", "tier": "small", "signature": "all"}
    writer = {"agent": "slot_writer", "bundle": "writer", "label": "topic", "spans": "things"}
    team = save_team(
        scratch / "crew",
        plan=PLAN,
        files={"small": (scratch / "model.tflite", scratch / "tokenizer.json")},
        bundles={"writer": bundles[0]},
        agents={
            "topic": [
                head | {"agent": "classifier", "name": "topics", "output": "topic"}
                | {"classes": ["g", "o"]}
            ],
            "things": [
                head | {"agent": "tagger", "name": "tags", "output": "things"}
                | {"classes": ["O", "B-f", "I-f"]}
            ],
            "note": [writer],
        },
        sample_text="oil",
    )  # fmt: skip
    assert team.path is not None
    return team.path


def test_the_writer_continues_the_frame_and_says_how_much_of_it_it_said(bundles, generator):
    answer = SlotWriter(bundles[0], label="topic", spans="things").answer(QUESTION)

    expected = generator.generate("oil; kind of = crude:", max_new_tokens=5, temperature=0.0)
    assert answer.value == expected.strip()
    assert answer.confidence == slot_coverage(answer.value, ["crude"])


def test_a_frame_that_is_longer_than_the_context_is_this_agents_error(bundles):
    writer = SlotWriter(bundles[0], label="topic", spans="things")
    text = "x" * 40
    question = Question("note", text, 0, {"topic": "oil", "things": (Span(0, 40, "kind"),)})
    with pytest.raises(ValueError, match="`prompt` must be shorter than the context of 24"):
        writer.answer(question)


def test_spans_that_lie_outside_the_text_are_left_out(bundles):
    writer = SlotWriter(bundles[0], label="topic", spans="things")
    spans = Span(-4, -2, "a"), Span(0, 5, "kind_of"), Span(9, 99, "b")
    outside = replace(QUESTION, inputs={"topic": "oil", "things": spans})
    assert writer.answer(outside) == writer.answer(QUESTION)


class Fixed:
    """An agent that always says the same."""

    def __init__(self, name: str, value: Any, *, kind: str, tier: str = "small") -> None:
        self.name, self.value, self.kind, self.tier = name, value, kind, tier
        self.asked = 0

    def answer(self, question: Question) -> Answer:
        self.asked += 1
        return Answer(self.value, 0.99)


class Echo(Fixed):
    """Writes the label that it is given."""

    def answer(self, question: Question) -> Answer:
        self.asked += 1
        return Answer(f"it is {question.inputs['topic']}", 1.0)


def checked_team(*topics: Fixed) -> tuple[Team, Echo]:
    """A team whose verifier knows that fuels belong to oil alone."""
    verdict = Step("verdict", kind="verdict", reads={"topic": "label", "things": "spans"})
    plan = Plan(steps=(*PLAN.steps, verdict), result=PLAN.result)
    echo = Echo("echo", None, kind="text")
    agents = {
        "topic": topics,
        "things": [
            Fixed(f"{topic.tier} tags", (Span(0, 3, "fuel"),), kind="spans", tier=topic.tier)
            for topic in topics
        ],
        "note": [echo],
        "verdict": [Verifier({"oil": ["fuel"]}, label="topic", spans="things")],
    }
    return Team(agents=agents, plan=plan), echo


def test_a_sentence_is_written_about_what_the_verifier_has_let_pass():
    wrong, right = (
        Fixed(tier, topic, kind="label", tier=tier) for tier, topic in (("a", "corn"), ("b", "oil"))
    )
    team, echo = checked_team(wrong, right)
    (result,) = team.predict(["gas"])
    assert (result.values["topic"], result.values["note"], echo.asked) == ("oil", "it is oil", 1)


def test_nothing_is_written_about_what_was_given_up():
    team, echo = checked_team(Fixed("only", "corn", kind="label"))
    (result,) = team.predict(["gas"])
    assert result.values == {"topic": None, "note": None}
    assert (result.abstained, echo.asked) == (("topic", "note"), 0)


def test_a_step_that_does_not_read_what_its_writer_needs_is_refused(bundles):
    writer = SlotWriter(bundles[0], label="intent", spans="things", expected_ms=3.0)
    assert writer.expected_ms == 3.0
    agents = {
        "topic": [Fixed("a", "oil", kind="label")],
        "things": [Fixed("b", (), kind="spans")],
        "note": [writer],
    }
    with pytest.raises(PlanError, match=r"'writer' needs \['intent'\], and 'note' reads"):
        Team(agents=agents, plan=PLAN)


def test_a_team_writes_alike_alone_on_threads_and_from_its_trace(team_folder):
    texts = ["oil", "crude oil", "oil crude", "now"]
    team = open_team(team_folder)
    alone = team.predict(texts)
    with AgentPool(team_folder, num_agents=2, executor="threads") as pool:
        pooled = pool.predict(texts)

    assert [result.values for result in pooled] == [result.values for result in alone]
    # A model that was not trained may write nothing; that is this agent's failure alone.
    assert any(isinstance(result.values["note"], str) for result in alone)
    trace = Trace.from_json(alone[0].trace.to_json())
    assert replay(trace).values == alone[0].values
    (note,) = [message for message in trace.messages if message.field == "note"]
    assert Message.from_json(note.to_json()) == note
    assert repr(team.members["note"][0]).startswith("SlotWriter('writer', ")


def test_a_team_that_was_saved_with_a_writer_of_the_old_name_still_opens(team_folder, tmp_path):
    copy = Path(shutil.copytree(team_folder, tmp_path / "old"))
    manifest = json.loads((copy / "manifest.json").read_text())
    assert manifest["agents"]["note"][0]["agent"] == "slot_writer"
    manifest["agents"]["note"][0]["agent"] = "writer"
    (copy / "manifest.json").write_text(json.dumps(manifest))

    (old,), (new,) = (open_team(path).predict(["crude oil"]) for path in (copy, team_folder))
    assert old.values == new.values


@pytest.mark.ray
@pytest.mark.slow
def test_ray_workers_of_a_team_write_the_same(team_folder):
    texts = ["oil", "crude oil"]
    expected = [result.values for result in open_team(team_folder).predict(texts)]
    with AgentPool(team_folder, num_agents=1, executor="ray") as pool:
        assert [result.values for result in pool.predict(texts)] == expected


def test_a_bundle_that_was_changed_inside_a_team_is_refused(team_folder, tmp_path):
    copy = tmp_path / "crew"
    shutil.copytree(team_folder, copy)
    manifest = copy / "writer" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["generation"]["max_new_tokens"] = 9
    manifest.write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"writer/manifest\.json in the team .* must have the hash"
    ):
        open_team(copy)


def test_a_bundle_of_the_name_of_a_file_is_refused(bundles, tmp_path):
    with pytest.raises(ValueError, match=r"`bundles` must not have the names of `files`.*'small'"):
        save_team(
            tmp_path / "crew", plan=PLAN, agents={}, files={"small": ("a", "b")},
            bundles={"small": bundles[0]},
        )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "values", "share"),
    [
        ("play blue by blue", ["blue", "blue"], 1.0),
        ("play blue", ["blue", "blue"], 0.5),
        ("play blue train", ["blue", "blue train"], 0.5),
        ("play it at 15", ["5"], 0.0),
        ("play it", ["", "  ", "it"], 1.0),
        ("nothing", [], 1.0),
    ],
)
def test_a_value_has_to_be_said_as_often_as_it_is_asked_for(text, values, share):
    assert slot_coverage(text, values) == share


@given(st.lists(st.text("abc ", min_size=1), max_size=4))
def test_a_sentence_that_lists_the_values_covers_them(values):
    assert slot_coverage(" | ".join(values).upper(), values) == 1.0


def test_a_prompt_is_one_line_whatever_the_values_are():
    assert frame_prompt("Rate", [("best_rating", "4\n 5")]) == "Rate; best rating = 4 5:"
