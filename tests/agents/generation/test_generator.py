"""A generating agent and its file: parity per signature, seeds, streaming, sliding, bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tfdistill.agents import Agent, AgentPool, Generator
from tfdistill.agents.generation.sampling import next_probabilities
from tfdistill.agents.generation.speculative import accept
from tfdistill.export import compare_language_model, language_to_tflite, save_language_bundle
from tfdistill.language import sample
from tfdistill.students import causal_lm

CONTEXT = 24  # slots of the bundles' caches


def test_every_signature_of_a_float_file_equals_the_model(bundles, model, rng):
    ids = rng.integers(0, 257, CONTEXT)
    rows = compare_language_model(model, bundles[0] / "model.tflite", ids)

    assert [row.signature for row in rows] == ["decode", "prefill_8", "verify_4"]
    # float32 sums in another order; the logits are of size 10.
    assert max(row.max_error for row in rows) < 1e-4
    assert {row.agreement for row in rows} == {1.0}


@pytest.mark.parametrize(("quantize", "largest_step"), [("dynamic", 1 / 127), ("int4", 1 / 7)])
def test_a_quantized_file_is_smaller_and_within_steps(quantize, largest_step, model, tmp_path, rng):
    ids = rng.integers(0, 257, 8)
    path = language_to_tflite(
        model, tmp_path / "lm.tflite", context_length=8, prefill_lengths=[], quantize=quantize
    )
    logits = np.abs(model(ids[None]).numpy()).max()
    rows = compare_language_model(model, path, ids)

    # A dozen matrices in a row, each rounded by half a step of its largest number.
    assert max(row.max_error for row in rows) < 12 * 0.5 * largest_step * logits


def test_the_table_is_in_the_file_once(tmp_path):
    model = causal_lm(
        vocabulary_size=4000, num_layers=1, hidden_dim=32, num_heads=1, intermediate_dim=4, seed=0
    )
    path = language_to_tflite(
        model, tmp_path / "lm.tflite", context_length=8, prefill_lengths=[], quantize="dynamic"
    )
    table_bytes = 4000 * 32

    assert table_bytes < path.stat().st_size < 1.6 * table_bytes


def test_greedy_text_is_the_keras_models(generator, model, tokenizer):
    prompt = "oil prices"
    ids = tokenizer.encode(prompt).ids
    rows = sample(model, [ids], num_tokens=10, temperature=0.0)[0, len(ids) :].tolist()
    if 256 in rows:
        rows = rows[: rows.index(256)]

    # The bytes at the end that are no whole character are left out.
    expected = tokenizer.decode(rows).rstrip("\ufffd")
    assert generator.generate(prompt, max_new_tokens=10, temperature=0.0) == expected


def test_equal_seeds_write_equal_texts_alone_and_in_a_batch(generator):
    settings = {"max_new_tokens": 12, "temperature": 1.0, "seed": 7}
    alone = [generator.generate(prompt, **settings) for prompt in ("ab", "xyz")]

    assert generator.generate(["ab", "xyz"], **settings) == alone
    assert "".join(generator.stream("ab", **settings)) == alone[0]
    assert generator.generate("ab", **{**settings, "seed": 8}) != alone[0]


def test_the_first_piece_comes_after_the_prompt_and_one_draw(bundles, monkeypatch):
    generator, calls = Generator(bundles[0]), []
    run = generator._cache._interpreter.run

    def counted(inputs, *, signature):
        calls.append(signature)
        return run(inputs, signature=signature)

    monkeypatch.setattr(generator._cache._interpreter, "run", counted)
    stream = generator.stream("abcdefgh", temperature=0.0, max_new_tokens=20)
    assert calls == []
    while not next(stream):
        pass
    assert calls[0] == "prefill_8"
    # A character of several bytes needs several tokens; none is computed ahead of need.
    assert set(calls[1:]) <= {"decode"} and len(calls) <= 4


def test_a_stop_string_that_is_never_reached_ends_at_the_limit(generator):
    settings = {"max_new_tokens": 6, "temperature": 0.0}
    plain = generator.generate("abc", **settings)
    assert generator.generate("abc", stop=["never reached"], **settings) == plain
    assert generator.generate("abc", stop=plain[:1], **settings) == ""


def test_an_agent_in_a_pool_answers_with_the_bundles_settings(generator):
    answer = generator.answer("abc")
    assert answer.text == generator.generate("abc", max_new_tokens=5, temperature=0.0)
    assert answer.finished == (answer.num_tokens < 5)
    assert isinstance(generator.answer(""), ValueError)
    assert isinstance(generator.answer(generator.sample_text()).text, str)
    generator.run_blank()


def test_speculation_draws_from_the_larger_models_distribution_exactly():
    p, q = np.array([0.5, 0.3, 0.2, 0.0]), np.array([0.1, 0.2, 0.3, 0.4])
    grid = (np.arange(400) + 0.5) / 400  # the two uniforms, integrated over a grid
    found = np.zeros(4)
    for token in range(4):
        for u in grid:
            for v in grid[::10]:
                first = accept([token], [q], [p, p], [u, v])[0]
                found[first] += q[token] / (400 * 40)

    # The grid's own error: one cell of 400 for each of the draft's four tokens, and of 40 for v.
    np.testing.assert_allclose(found, p, atol=0.03)
    assert found[3] == 0.0


def test_a_draft_leaves_greedy_text_as_it_is(bundles, generator):
    pair = Generator(bundles[0], draft=bundles[1])
    settings = {"max_new_tokens": 2 * CONTEXT, "temperature": 0.0}
    # Up to the first slide both read the same text from the same positions.
    first = len("abc") + CONTEXT // 2
    assert pair.generate("abc", **settings)[:first] == generator.generate("abc", **settings)[:first]


def test_a_draft_leaves_the_distribution_as_it_is(bundles, model, tokenizer):
    pair = Generator(bundles[0], draft=bundles[1])
    ids = tokenizer.encode("ab").ids
    second = []
    for seed in range(600):
        rng = np.random.default_rng(seed)
        tokens = pair._pair.tokens(ids, uniforms=rng, sampling={"temperature": 0.5, "top_k": 3})
        second.append([next(tokens), next(tokens)])
    first = np.bincount(np.array(second)[:, 0], minlength=257) / 600
    logits = model(np.array([ids])).numpy()[0, -1]
    expected = next_probabilities(logits, temperature=0.5, top_k=3)

    # Four standard deviations of a share of 600 draws are 0.082 at most.
    np.testing.assert_allclose(first, expected, atol=0.082)
    best = int(np.argmax(first))
    after = np.array([b for a, b in second if a == best])
    logits = model(np.array([[*ids, best]])).numpy()[0, -1]
    expected = next_probabilities(logits, temperature=0.5, top_k=3)
    found = np.bincount(after, minlength=257) / len(after)
    np.testing.assert_allclose(found, expected, atol=2 / np.sqrt(len(after)))


@pytest.mark.parametrize(
    ("prompt", "error", "message"),
    [
        ("", ValueError, "`prompt` must hold at least one character"),
        ("x" * CONTEXT, ValueError, "must be shorter than the context of 24 tokens"),
        (3, TypeError, "`prompt` must be a str or a list"),
        ([], TypeError, "`prompt` must be a str or a list"),
        (["a", 3], TypeError, "`prompt` must be a str"),
    ],
)
def test_bad_prompts_are_told(generator, prompt, error, message):
    with pytest.raises(error, match=message):
        generator.generate(prompt)


def test_unknown_characters_are_bytes(generator):
    assert isinstance(generator.generate("☕ 漢", max_new_tokens=2), str)


def test_bundles_of_the_wrong_kind_are_told(bundles, tmp_path):
    with pytest.raises(ValueError, match="must be a bundle of kind 'bundle'.*'language model'"):
        Agent(bundles[0])
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(ValueError, match="must be a bundle of kind 'language model'"):
        Generator(tmp_path)
    with pytest.raises(FileNotFoundError, match="`path` must be an existing bundle folder"):
        Generator(tmp_path / "none")
    with pytest.raises(ValueError, match="`bundle` must have a verify signature"):
        Generator(bundles[1], draft=bundles[0])


def test_a_bundle_that_names_the_ids_as_older_versions_did_is_the_same(bundles, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in bundles[0].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((folder / "manifest.json").read_text())
    stated = manifest["generation"]
    stated["end_ids"], stated["begin_id"] = stated.pop("eos_ids"), stated.pop("bos_id")
    (folder / "manifest.json").write_text(json.dumps(manifest))

    opened = Generator(folder).bundle.generation
    assert opened == Generator(bundles[0]).bundle.generation
    assert opened.eos_ids == (256,) and opened.bos_id is None


@pytest.mark.parametrize(
    "generation", [None, {"context_length": 9}, {"context_length": -1, "eos_ids": []}]
)
def test_a_manifest_that_says_nonsense_is_told(bundles, tmp_path, generation):
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in bundles[0].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["generation"] = generation
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="must say how the model is used"):
        Generator(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantize": "int2"}, "`quantize` must be one of"),
        ({"prefill_lengths": [99]}, "`prefill_lengths` and `verify_length` must be in"),
        ({"eos_ids": [999]}, "must have ids below 257"),
        ({"chat_format": "jinja"}, "`chat_format` must be one of"),
    ],
)
def test_settings_that_do_not_fit_are_told_and_nothing_is_written(
    changes, message, model, tokenizer, tmp_path
):
    settings = {"context_length": 8, "prefill_lengths": [4], "quantize": None, **changes}
    with pytest.raises(ValueError, match=message):
        save_language_bundle(model, tmp_path / "b", tokenizer=tokenizer, **settings)
    assert list(tmp_path.iterdir()) == []


def test_pools_write_the_same_texts_as_one_agent(bundles, generator):
    prompts = ["oil", "gas", "wheat", "oil"]
    expected = [generator.answer(prompt) for prompt in prompts]
    for executor in ("inline", "threads"):
        with AgentPool(bundles[0], executor=executor, num_agents=2) as pool:
            assert pool.predict(prompts) == expected


@pytest.mark.slow
@pytest.mark.ray
def test_ray_workers_write_the_same_texts(bundles, generator):
    prompts = ["oil", "gas", "wheat"]
    with AgentPool(bundles[0], executor="ray", num_agents=1) as pool:
        assert pool.predict(prompts) == [generator.answer(prompt) for prompt in prompts]
