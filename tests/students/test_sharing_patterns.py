"""Which blocks share, by the patterns of the literature."""

from __future__ import annotations

import pytest

from tfdistill.students.encoder import assign_groups


@pytest.mark.parametrize(
    ("num_layers", "groups", "pattern", "expected"),
    [
        (4, 2, "cyclic", "0101"),
        (4, 2, "immediate", "0011"),
        (6, 3, "cyclic", "012012"),
        (6, 3, "immediate", "001122"),
        (5, 2, "cyclic", "01010"),
        (5, 2, "immediate", "00011"),
        (4, 1, "cyclic", "0000"),
        (4, 1, "immediate", "0000"),
        (3, 3, "cyclic", "012"),
        (3, 3, "immediate", "012"),
    ],
)
def test_groups_are_those_written_out(num_layers: int, groups: int, pattern: str, expected: str):
    assigned = assign_groups(num_layers, groups=groups, pattern=pattern)

    assert "".join(map(str, assigned)) == expected


@pytest.mark.parametrize("pattern", ["cyclic", "immediate"])
def test_every_group_has_a_fair_number_of_blocks(pattern: str):
    for num_layers in range(1, 13):
        for groups in range(1, num_layers + 1):
            assigned = assign_groups(num_layers, groups=groups, pattern=pattern)
            counts = [assigned.count(group) for group in range(groups)]
            assert max(counts) - min(counts) <= 1
            assert sorted(set(assigned)) == list(dict.fromkeys(assigned)) == list(range(groups))


def test_an_unknown_pattern_is_refused():
    with pytest.raises(ValueError, match="`pattern` must be one of .*pattern='reverse'.*0 1 0 1"):
        assign_groups(4, groups=2, pattern="reverse")


@pytest.mark.parametrize("groups", [0, 5])
def test_groups_out_of_range_are_refused(groups: int):
    with pytest.raises(ValueError, match=rf"`groups` must be an int in \[1, 4\].*groups={groups}"):
        assign_groups(4, groups=groups)


def test_groups_that_are_no_int_are_refused():
    with pytest.raises(TypeError, match="`groups` must be an int .*groups='2'"):
        assign_groups(4, groups="2")
