"""What a language model remembers of its text: its size, its 8 bits, and that it does not grow."""

from __future__ import annotations

import dataclasses
import os
import tracemalloc

import numpy as np
import pytest
from shared_fixtures import language_models

from tfdistill.agents import Generator
from tfdistill.agents.execution.stats import memory_of
from tfdistill.export import compare_language_model, language_to_tflite, save_language_bundle
from tfdistill.runtime.interpreter import Interpreter
from tfdistill.runtime.kv_cache import KVCache, find_lengths

CONTEXT = 24  # slots of the bundles' caches

# Not in the folder's conftest, whose bundles are classifiers.
bundles = language_models.bundles
generator = language_models.generator
model = language_models.model
tokenizer = language_models.tokenizer


@pytest.fixture
def cache(bundles) -> KVCache:
    return KVCache(Interpreter(bundles[0] / "model.tflite"))


def test_a_full_context_is_shifted_to_the_newer_half_read_from_position_0(cache):
    cache.read(list(range(CONTEXT)))
    cache.shift_context(room=1)
    assert cache.ids == list(range(CONTEXT // 2, CONTEXT))
    shifted = cache.read([99])

    cache.clear()
    expected = cache.read([*range(CONTEXT // 2, CONTEXT), 99])
    # One call of 8 tokens or several of 1 sum float32 in another order; logits are of size 10.
    np.testing.assert_allclose(shifted, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("tokens", "calls"),
    [
        (1, ["decode"]),
        (7, ["prefill_8"]),  # one call that is not full, and not seven of one token
        (9, ["prefill_8", "decode"]),
        (16, ["prefill_8", "prefill_8"]),
    ],
)
def test_tokens_are_read_in_few_calls(
    cache: KVCache, tokens: int, calls: list[str], monkeypatch: pytest.MonkeyPatch
):
    seen: list[str] = []
    run = Interpreter.run

    def counted(self, inputs, *, signature):
        seen.append(signature)
        return run(self, inputs, signature=signature)

    monkeypatch.setattr(Interpreter, "run", counted)
    cache.read(list(range(tokens)))
    assert seen == calls


def test_a_context_with_enough_free_slots_is_not_shifted(cache):
    cache.read(list(range(CONTEXT - 2)))
    cache.shift_context(room=2)
    assert cache.ids == list(range(CONTEXT - 2))
    cache.shift_context(room=3)
    assert cache.ids == list(range(CONTEXT - 2 - CONTEXT // 2, CONTEXT - 2))


def test_signatures_that_earlier_versions_wrote_for_speculative_decoding_are_left_out(bundles):
    signatures = Interpreter(bundles[0] / "model.tflite").signatures
    old = {**signatures, "verify_4": signatures["prefill_8"]}
    assert find_lengths(old) == find_lengths(signatures) == {1: "decode", 8: "prefill_8"}


def test_signatures_without_decode_or_with_caches_of_two_sizes_are_refused(bundles):
    found = Interpreter(bundles[0] / "model.tflite").signatures
    keys = found["prefill_8"].inputs["keys"]
    longer = dataclasses.replace(keys, shape=(*keys.shape[:2], 2 * CONTEXT, keys.shape[3]))
    inputs = {**found["prefill_8"].inputs, "keys": longer}
    other = dataclasses.replace(found["prefill_8"], inputs=inputs)
    for refused in (
        {"prefill_8": found["prefill_8"]},
        {"decode": found["decode"], "prefill_8": other},
    ):
        with pytest.raises(ValueError, match="no decode signature, or the caches differ"):
            find_lengths(refused)


def test_a_text_longer_than_the_context_is_written_in_constant_memory(generator):
    settings = {"temperature": 1.0, "seed": 1}
    generator.generate("warm", max_new_tokens=3 * CONTEXT, **settings)
    tracemalloc.start()
    for _ in generator.stream("long", max_new_tokens=400, **settings):
        pass
    first, _ = tracemalloc.get_traced_memory()
    for _ in generator.stream("long", max_new_tokens=1200, **settings):
        pass
    second, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # Three times the tokens, a few objects of the interpreter's own: nothing per token.
    assert second - first < 20_000
    assert len(generator._cache.ids) <= CONTEXT


def test_ten_thousand_tokens_leave_the_process_as_large_as_it_was(model, tokenizer, tmp_path):
    save_language_bundle(
        model, tmp_path / "endless", tokenizer=tokenizer, context_length=CONTEXT,
        prefill_lengths=[8], quantize=None,
    )  # fmt: skip
    endless = Generator(tmp_path / "endless")
    for _ in endless.stream("warm", max_new_tokens=1_000, seed=0):
        pass
    before = memory_of(os.getpid())["private_bytes"]
    if before is None:
        pytest.skip("this system does not tell how much memory a process has for itself")
    pieces = sum(1 for _ in endless.stream("long", max_new_tokens=10_000, seed=1))

    # Ten thousand tokens kept, of 257 logits each, would be 10 MB.
    assert memory_of(os.getpid())["private_bytes"] - before < 2**20
    assert pieces > 2_000  # a token is a byte, and several make a character or none


def test_a_cache_in_8_bits_has_a_byte_for_a_number_and_is_within_its_steps(
    model, tokenizer, bundles, tmp_path
):
    paths = {"float32": bundles[0] / "model.tflite"}
    paths["int8"] = save_language_bundle(
        model, tmp_path / "int8", tokenizer=tokenizer, context_length=CONTEXT,
        prefill_lengths=[8], quantize=None, cache="int8",
    ).model_path  # fmt: skip
    sizes = {}
    for cache, path in paths.items():
        stores = KVCache(Interpreter(path))._stores
        sizes[cache] = sum(store.nbytes for store in stores.values())
    # Heads of 4 numbers: 4 bytes and a scale of 4 in place of 16; of 64 it would be 68 of 256.
    assert sizes["int8"] == sizes["float32"] // 2

    ids = np.random.default_rng(0).integers(0, 257, CONTEXT)
    exact, rounded = (compare_language_model(model, path, ids) for path in paths.values())
    logits = np.abs(model(ids[None]).numpy()).max()
    # Half a step of 1/127 in each of two blocks' keys and values; logits are sums of such.
    assert max(row.max_error for row in exact) < max(row.max_error for row in rounded)
    assert max(row.max_error for row in rounded) < logits * 4 / 127
    assert Generator(paths["int8"].parent).generate("abc", max_new_tokens=40, seed=3)


def test_an_unknown_cache_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match=r"`cache` must be one of \('float32', 'int8'\).*'int4'"):
        language_to_tflite(model, tmp_path / "a.tflite", cache="int4")
