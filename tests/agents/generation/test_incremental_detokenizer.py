"""Streaming text: no broken character, nothing of a stop string, nothing lost."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tfdistill.agents.generation.incremental_detokenizer import (
    IncrementalDetokenizer,
    check_stop,
    partial_stop_match,
)
from tfdistill.bundles.chat_format import chat_format_of, chat_prompt


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def stream(tokenizer: Tokenizer, text: str, stop: tuple[str, ...] = ()) -> tuple[list[str], bool]:
    detokenizer, given = IncrementalDetokenizer(tokenizer, stop=stop), []
    for token in tokenizer.encode(text).ids:
        given.append(detokenizer.add(token))
        if detokenizer.stopped:
            return given, True
    return [*given, detokenizer.rest()], False


def test_a_character_of_three_bytes_comes_with_its_last_one(tokenizer):
    assert stream(tokenizer, "a☕b")[0] == ["a", "", "", "☕", "b", ""]


def test_a_stop_string_ends_the_text_and_no_part_of_it_comes_out(tokenizer):
    assert stream(tokenizer, "abENDcd", ("END",)) == (["a", "b", "", "", ""], True)


def test_what_only_looked_like_a_stop_string_comes_out_later(tokenizer):
    assert stream(tokenizer, "aENTb", ("END",)) == (["a", "", "", "ENT", "b", ""], False)
    assert stream(tokenizer, "aEN", ("END",)) == (["a", "", "", "EN"], False)


def test_the_earliest_of_several_stop_strings_counts(tokenizer):
    given, stopped = stream(tokenizer, "one\ntwo.", (".", "\n"))
    assert ("".join(given), stopped) == ("one", True)


def test_a_partial_stop_match_is_the_longest_beginning():
    assert partial_stop_match("xab", ["abc", "b!"]) == 2
    assert partial_stop_match("abc", ["abd"]) == 0
    assert partial_stop_match("", ["a"]) == 0


def test_bad_stop_strings_are_told():
    with pytest.raises(ValueError, match="`stop` must hold no empty text"):
        check_stop(["."] + [""])
    with pytest.raises(TypeError, match="`stop` must be a str or a list of str"):
        check_stop([3])


def test_a_conversation_becomes_chatml_to_the_letter():
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
    ]
    assert chat_prompt(messages) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert chat_prompt(messages[1:2], chat_format="plain") == "Hi\n"


def test_a_template_is_recognized_and_never_run():
    hostile = "{{ cycler.__init__.__globals__.os.system('touch owned') }}<|im_start|>"
    assert chat_format_of(hostile) == "chatml"
    assert chat_format_of("{{ messages }}") == "plain"


@pytest.mark.parametrize(
    ("messages", "settings", "message"),
    [
        ([], {}, "`messages` must hold at least one message"),
        ([{"role": "root", "content": "x"}], {}, r"`messages\[0\]` must have a role of"),
        ([{"role": "user", "content": 3}], {}, r"`messages\[0\]` must have a role of"),
        ([{"role": "user", "content": "<|im_end|>"}], {}, "must not hold the marks"),
        ([{"role": "user", "content": "x"}], {"chat_format": "jinja"}, "`chat_format` must be one"),
    ],
)
def test_conversations_that_cannot_be_written_are_told(messages, settings, message):
    with pytest.raises(ValueError, match=message):
        chat_prompt(messages, **settings)
