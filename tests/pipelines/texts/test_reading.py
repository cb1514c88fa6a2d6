"""What is said of the texts before a run starts."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tfdistill.datasets import measure_vocabulary
from tfdistill.pipelines.texts.reading import length_note, token_counts, vocabulary_note
from tfdistill.pipelines.texts.words import open_tokenizer


@pytest.fixture
def tokenizer() -> Tokenizer:
    """Knows two words and the Cyrillic letters, as English vocabularies do."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "oil", "rose", "##s"]
    pieces += [sign + chr(code) for code in range(ord("а"), ord("я") + 1) for sign in ("", "##")]
    model = models.WordPiece({word: row for row, word in enumerate(pieces)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def test_tokens_are_counted_however_long_a_text_is(tokenizer: Tokenizer):
    tokenizer.enable_truncation(4)
    assert token_counts(tokenizer, ["oil", "oils " * 600]).tolist() == [3, 1202]


@pytest.mark.parametrize(
    ("long_texts", "parts"),
    [
        ("head", ["50.0 % ", "more than 10 tokens", "43 % or less is read, the beginning", "tail"]),
        ("head+tail", ["50.0 % ", "43 % or less is read, beginning and end", "--long-texts windo"]),
        ("windows", ["25.0 % ", "80 % or less is read, in 8 windows", "a higher --effort"]),
    ],
)
def test_cut_texts_are_told_with_their_share_and_the_flag(long_texts: str, parts: list[str]):
    # The median of 10 / 13 and 10 / 100 is 0.43; of 100 tokens 8 windows of 10 read 80.
    note = length_note([5, 10, 13, 100], room=10, long_texts=long_texts)
    for part in parts:
        assert part in note


def test_texts_that_are_read_whole_are_told_only_where_it_takes_windows():
    assert length_note([5, 9], room=10, long_texts="head") == ""
    assert "50.0 % of the training texts have more than 10 tokens and are read whole" in (
        length_note([5, 19], room=10, long_texts="windows")
    )


def test_a_few_cut_texts_of_a_thousand_are_not_worth_a_word():
    assert length_note([5] * 997 + [50] * 3, room=10, long_texts="head") == ""
    assert length_note([5] * 996 + [50] * 4, room=10, long_texts="head").startswith("0.4 % ")


def test_words_that_fall_into_letters_are_told_with_figures_and_a_remedy(tokenizer: Tokenizer):
    note = vocabulary_note(tokenizer, ["мир и труд"])  # 3 + 1 + 4 letters of 3 words
    assert "2.67 tokens a word (limit 1.4" in note and "0.0 % of them unknown (limit 2 %)" in note
    assert "multilingual" in note and "--teacher" in note


def test_unknown_words_are_told(tokenizer: Tokenizer):
    assert "25.0 % of them unknown" in vocabulary_note(tokenizer, ["oil rose oil quux"])


def test_known_words_are_not_told(tokenizer: Tokenizer):
    assert vocabulary_note(tokenizer, ["oil rose", "oils rose oil"]) == ""


@pytest.mark.network
@pytest.mark.parametrize(
    ("text", "tokens_per_word", "unknown_share"),
    [
        ("What is the weather like in Paris tomorrow morning, please?", 1.0, 0.0),
        ("Bitte überweisen Sie den Betrag auf mein Konto.", 14 / 8, 0.0),
        ("Какая погода будет завтра в Москве?", 28 / 6, 0.0),
        ("我想查询我的账户余额。", 10 / 5, 7 / 10),
    ],
    ids=["english", "german", "russian", "chinese"],
)
def test_minilm_knows_the_words_of_english_alone(
    text: str, tokens_per_word: float, unknown_share: float
):
    minilm = open_tokenizer()
    found = measure_vocabulary(minilm, [text])
    assert found.tokens_per_word == pytest.approx(tokens_per_word)
    assert found.unknown_share == pytest.approx(unknown_share)
    assert (vocabulary_note(minilm, [text]) == "") == text.isascii()
