"""Small faults for mutation testing: drawn with cosmic-ray's operators, found again by their lines.

A fault is kept as the lines that it replaces and not as a place, so that it outlives most changes
of its file. What has no effect is not drawn: docstrings, annotations, `*,` among parameters.
"""

from __future__ import annotations

import ast
import math
import os
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

# What tensors refuse anyway, what equals another fault, and what depends on Python's caches.
SKIPPED = re.compile(
    "BinaryOperator_(Bit[A-Za-z]+_(?!Bit)|(?!Bit)[A-Za-z]+_(Bit|.Shift))|UnaryOperator_(?!Delete)|"
    "ComparisonOperator_(Is[A-Za-z]*_(?!Is)|(?!Is)[A-Za-z]+_Is)"
)


@dataclass(frozen=True)
class Mutant:
    """A fault, or none if a name and a file are all that is given.

    Attributes:
        name: Its file and number.
        file: The file, below `tfdistill`.
        before: Lines that are in the file once.
        after: What they become.
        operator: The operator of cosmic-ray that made it.
        occurrence: Which of the operator's places in the file it was, when it was drawn.
        line: Its first line, likewise.
        reason: Why no test can notice it, or none should; written by hand.
    """

    name: str
    file: str
    before: str = "from __future__ import annotations"
    after: str = "from __future__ import annotations"
    operator: str = "none"
    occurrence: int = 0
    line: int = 0
    reason: str | None = None

    def text(self, root: Path) -> str | None:
        """Returns the text of the file with the fault in it, None if its lines are gone."""
        text, before = read(root, self.file), f"\n{self.before}\n"
        return text.replace(before, f"\n{self.after}\n") if text.count(before) == 1 else None

    def change(self) -> list[str]:
        """Returns the lines that differ, as a diff shows them."""
        before, after = self.before.split("\n"), self.after.split("\n")
        removed = [f"- {line}" for line in before if line not in after]
        return [*removed, *(f"+ {line}" for line in after if line not in before)]


def read(root: Path, file: str) -> str:
    """Returns the text of a file of the package."""
    return (root / "tfdistill" / file).read_text(encoding="utf-8")


def draw(
    root: Path, files: Iterable[str], *, count: int, least: int, seed: int
) -> Iterator[Mutant]:
    """Draws faults over files in proportion to their places, never two of one place.

    Args:
        root: The checkout.
        files: The files, below `tfdistill`.
        count: How many in all; rounded up for each file.
        least: How many at least of a file.
        seed: Seed; the faults of a file do not depend on the other files.

    Yields:
        The faults, file by file.
    """
    texts = {file: read(root, file) for file in files}
    found = {file: _places(text) for file, text in texts.items()}
    total = sum(map(len, found.values()))
    for file, places in found.items():
        rng, made = random.Random(f"{seed} {file}"), 0
        wanted = max(least, math.ceil(count * len(places) / total))
        for place in rng.sample(places, len(places)):
            if made == wanted:
                break
            name, ways = f"{file}:{made + 1:02d}", rng.sample(place, len(place))
            tries = (_mutant(name, file, texts[file], *way) for way in ways)
            if (mutant := next(filter(None, tries), None)) is not None:
                made += 1
                yield mutant


def _places(text: str) -> list[list[tuple[str, int]]]:
    # Every place that can be changed, with the operators for it and their occurrences.
    nodes, found = list(ast_nodes(get_ast(text))), defaultdict(list)
    for name in sorted(operator_names()):
        kind = get_operator(name)
        if kind.arguments() or SKIPPED.search(name):
            continue
        places = ((node, at) for node in nodes for at, _ in kind().mutation_positions(node))
        for occurrence, (node, at) in enumerate(places):
            if node.parent is None or node.parent.type != "parameters":  # `*,` is no product
                found[at].append((name, occurrence))
    return [found[at] for at in sorted(found)]


def _mutant(name: str, file: str, text: str, operator: str, occurrence: int) -> Mutant | None:
    changed = mutate_code(text, get_operator(operator)(), occurrence)
    with suppress(SyntaxError):
        if changed is None or _meaning(changed) == _meaning(text):
            return None
        old, new = text.split("\n"), changed.split("\n")
        start = len(os.path.commonprefix([old, new]))
        same = len(os.path.commonprefix([old[start:][::-1], new[start:][::-1]]))
        before, after = old[start : len(old) - same], new[start : len(new) - same]
        line = start + 1
        while text.count("\n".join(["", *before, ""])) != 1:  # with more lines it is the only one
            start -= 1
            before, after = [old[start], *before], [old[start], *after]
        both = "\n".join(before), "\n".join(after)
        return Mutant(name, file, *both, operator, occurrence, line)
    return None


def _meaning(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        for field in {"annotation", "returns"} & set(node._fields):
            setattr(node, field, None)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.test = ast.Constant(False)
    return ast.dump(tree)
