"""A cut vocabulary splits the texts that it was cut for as before."""

from __future__ import annotations

import numpy as np
import pytest
from shared_fixtures.word_pieces import word_pieces
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordPiece

from tfdistill.students import cut_vocabulary, encode, encode_rows, shared_rows

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "oil", "gas", "price", "##s", "wheat", "##less"]


@pytest.fixture
def tokenizer() -> Tokenizer:
    return word_pieces(WORDS)


def test_the_kept_texts_are_split_into_the_same_old_ids(tokenizer: Tokenizer):
    texts = ["wheat prices", "Price"]
    small, kept_ids = cut_vocabulary(tokenizer, texts, sequence_length=8)
    assert kept_ids.tolist() == [0, 1, 2, 3, 6, 7, 8]
    new = encode(small, texts, sequence_length=8)
    np.testing.assert_array_equal(kept_ids[new], encode(tokenizer, texts, sequence_length=8))
    assert new[0].tolist() == [2, 6, 4, 5, 3, 0, 0, 0]


def test_words_that_were_cut_become_the_unknown_token(tokenizer: Tokenizer):
    small, _ = cut_vocabulary(tokenizer, ["wheat"], sequence_length=8)
    assert encode(small, ["oil wheat"], sequence_length=5)[0].tolist() == [2, 1, 4, 3, 0]


def test_what_lies_beyond_the_length_is_not_kept(tokenizer: Tokenizer):
    _, kept_ids = cut_vocabulary(tokenizer, ["oil gas wheat"], sequence_length=4)
    assert 8 not in kept_ids.tolist()  # [CLS] oil gas [SEP]


@pytest.mark.parametrize("length", range(1, 8))
def test_a_word_that_is_cut_in_the_middle_keeps_its_other_pieces(tokenizer: Tokenizer, length: int):
    # "prices" is price ##s: without ##s the small tokenizer would see an unknown word.
    texts = ["oil prices wheatless gas"]
    small, kept_ids = cut_vocabulary(tokenizer, texts, sequence_length=length)
    new = encode(small, texts, sequence_length=length)

    np.testing.assert_array_equal(kept_ids[new], encode(tokenizer, texts, sequence_length=length))


@pytest.mark.parametrize("long_texts", ["head+tail", "windows"])
@pytest.mark.parametrize("length", range(3, 8))
def test_what_is_read_of_long_texts_keeps_its_words(
    tokenizer: Tokenizer, length: int, long_texts: str
):
    texts = ["oil prices wheatless gas prices", "wheatless prices oil gas"]
    small, kept_ids = cut_vocabulary(
        tokenizer, texts, sequence_length=length, long_texts=long_texts
    )  # fmt: skip
    new, old = (
        encode_rows(one, texts, sequence_length=length, long_texts=long_texts)[0]
        for one in (small, tokenizer)
    )

    np.testing.assert_array_equal(kept_ids[new], old)


def test_the_given_tokenizer_is_left_as_it_was(tokenizer: Tokenizer):
    tokenizer.enable_padding(length=3)
    before = tokenizer.to_str()
    cut_vocabulary(tokenizer, ["oil"], sequence_length=8)
    encode(tokenizer, ["oil"], sequence_length=8)
    assert tokenizer.to_str() == before


def test_long_texts_are_cut_and_short_ones_padded_with_zero(tokenizer: Tokenizer):
    tokenizer.enable_padding(length=2)  # settings of the file are not used
    rows = encode(tokenizer, ["oil gas price wheat", ""], sequence_length=4)
    assert rows.tolist() == [[2, 4, 5, 3], [2, 3, 0, 0]]
    assert rows.dtype == np.int32


@pytest.mark.network
def test_a_real_tokenizer_keeps_every_training_text(minilm_folder, r8):
    tokenizer = Tokenizer.from_file(str(minilm_folder / "tokenizer.json"))
    texts = r8.train_texts[:200]
    small, kept_ids = cut_vocabulary(tokenizer, texts, sequence_length=64)
    assert small.get_vocab_size() == len(kept_ids) < 5000
    new = encode(small, texts, sequence_length=64)
    np.testing.assert_array_equal(kept_ids[new], encode(tokenizer, texts, sequence_length=64))


def test_something_else_than_a_tokenizer_is_refused():
    with pytest.raises(TypeError, match="`tokenizer` must be a tokenizers.Tokenizer.*str"):
        cut_vocabulary("tokenizer.json", ["oil"], sequence_length=8)


def test_no_texts_are_refused(tokenizer: Tokenizer):
    with pytest.raises(ValueError, match="`texts` must not be empty"):
        cut_vocabulary(tokenizer, [], sequence_length=8)


def test_a_tokenizer_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="`tokenizer` must be a WordPiece tokenizer.*BPE"):
        cut_vocabulary(Tokenizer(BPE()), ["oil"], sequence_length=8)


@pytest.mark.parametrize("texts", ["oil", ["oil", None]])
def test_texts_that_are_no_list_of_str_are_refused(tokenizer: Tokenizer, texts):
    with pytest.raises(TypeError, match="`texts` must be a list of str. Received: texts"):
        encode(tokenizer, texts, sequence_length=8)
    with pytest.raises(TypeError, match="`texts` must be a list of str. Received: texts"):
        cut_vocabulary(tokenizer, texts, sequence_length=8)


def test_an_array_of_texts_is_fine(tokenizer: Tokenizer):
    assert cut_vocabulary(tokenizer, np.array(["oil"]), sequence_length=8)[1].tolist()[-1] == 4


def test_a_length_below_the_special_tokens_is_still_the_length(tokenizer: Tokenizer):
    assert encode(tokenizer, ["oil gas"], sequence_length=1).shape == (1, 1)


def test_a_tokenizer_without_a_row_for_unknown_words_is_refused():
    tokenizer = Tokenizer(WordPiece({"[PAD]": 0, "oil": 1}, unk_token="[UNK]"))
    with pytest.raises(ValueError, match="`tokenizer` must have a row for unknown words"):
        cut_vocabulary(tokenizer, ["oil"], sequence_length=8)


def test_a_tokenizer_with_padding_elsewhere_is_refused():
    tokenizer = Tokenizer(WordPiece({"[UNK]": 0, "[PAD]": 1, "oil": 2}, unk_token="[UNK]"))
    with pytest.raises(ValueError, match="padding token at id 0.*'\\[UNK\\]' there"):
        cut_vocabulary(tokenizer, ["oil"], sequence_length=8)


def test_a_rare_word_takes_the_row_of_the_most_similar_frequent_one():
    # 0 is padding, 1 to 3 are frequent, 4 points where 2 does, 5 (nearly) where 3 does.
    vectors = np.array([[9, 9], [1, 0], [0, 1], [-1, 0], [0, 7], [-5, 0.1]])
    rows, owners = shared_rows(vectors, counts=np.array([0, 9, 8, 7, 1, 1]), num_rows=4)
    assert rows.tolist() == [0, 1, 2, 3, 2, 3] and owners.tolist() == [0, 1, 2, 3]


def test_no_word_takes_the_row_of_a_special_token():
    vectors = np.array([[1, 0], [1, 0.1], [-1, 0], [1, 0]])
    rows, _ = shared_rows(vectors, counts=np.array([0, 0, 5, 1]), num_rows=3, special_ids=(0, 1))
    assert rows.tolist() == [0, 1, 2, 2]  # the only word left, although the opposite one


def test_of_equally_frequent_words_the_lower_id_keeps_its_row():
    _, owners = shared_rows(np.eye(5), counts=np.zeros(5), num_rows=3)
    assert owners.tolist() == [0, 1, 2]


def test_as_many_rows_as_words_share_nothing(rng: np.random.Generator):
    rows, owners = shared_rows(rng.normal(size=(7, 3)), counts=np.arange(7), num_rows=7)
    assert rows.tolist() == owners.tolist() == list(range(7))


@pytest.mark.parametrize("num_rows", [1, 6])
def test_a_number_of_rows_out_of_range_is_refused(num_rows: int):
    with pytest.raises(ValueError, match=rf"`num_rows` must be an int in \[2, 5\].*{num_rows}"):
        shared_rows(np.eye(5), counts=np.ones(5), num_rows=num_rows)


def test_counts_of_another_vocabulary_are_refused():
    with pytest.raises(ValueError, match=r"`counts` must hold one number .*\(4,\).*\(5, 5\)"):
        shared_rows(np.eye(5), counts=np.ones(4), num_rows=3)
