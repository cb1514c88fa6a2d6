"""Every check takes what is right, refuses what is not, and says both in the same words."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tfdistill.arguments import check_int, check_number


@pytest.mark.parametrize("value", [1, 5, np.int64(3), np.uint8(2)])
def test_whole_numbers_in_range_come_back_as_int(value: object):
    checked = check_int(value, argument="steps", at_least=1, at_most=5)

    assert type(checked) is int
    assert checked == value


@pytest.mark.parametrize("value", [True, 2.0, "3", None, np.float32(1), np.bool_(True)])
def test_what_is_no_whole_number_is_a_type_error(value: object):
    expected = (
        f"`steps` must be an int of at least 1. Received: steps={value!r} "
        f"({type(value).__name__}). Count them."
    )
    with pytest.raises(TypeError, match=f"^{re.escape(expected)}$"):
        check_int(value, argument="steps", at_least=1, hint="Count them.")


@pytest.mark.parametrize(
    ("value", "bounds", "constraint"),
    [
        (0, {"at_least": 1}, "an int of at least 1"),
        (-(2**70), {"at_least": 1}, "an int of at least 1"),
        (6, {"at_most": 5}, "an int of at most 5"),
        (0, {"at_least": 1, "at_most": 5}, "an int in [1, 5]"),
        (6, {"at_least": 1, "at_most": 5}, "an int in [1, 5]"),
    ],
)
def test_whole_numbers_out_of_range_are_a_value_error(value: int, bounds: dict, constraint: str):
    expected = f"`steps` must be {constraint}. Received: steps={value!r}."
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        check_int(value, argument="steps", **bounds)


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1)", [0, 0.5, np.float32(0.25)], [-1e-9, 1, 1.0]),
        ("(0, 1]", [1, 1e-9], [0, 0.0, 1.0000001]),
        ("(0, inf)", [1e-300, 1e300], [0, float("inf"), float("nan")]),
        ("[-2, 2]", [-2, 2], [-2.001, 2.001, float("-inf")]),
    ],
)
def test_an_interval_takes_what_its_brackets_say(interval: str, inside: list, outside: list):
    for value in inside:
        assert check_number(value, argument="share", interval=interval) == float(value)
    for value in outside:
        expected = f"`share` must be a number in {interval}. Received: share={value!r}."
        with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
            check_number(value, argument="share", interval=interval)


@pytest.mark.parametrize("value", [True, "0.5", None, 1j, [0.5]])
def test_what_is_no_real_number_is_a_type_error(value: object):
    expected = (
        f"`share` must be a number in [0, 1]. Received: share={value!r} ({type(value).__name__})."
    )
    with pytest.raises(TypeError, match=f"^{re.escape(expected)}$"):
        check_number(value, argument="share", interval="[0, 1]")
