"""How the bytes of a table become characters, and how sure that is.

UTF-8, UTF-16 and UTF-32 are told by their marks and their structure. Older encodings of 8 bits
carry no mark, and most bytes are valid in most of them, so charset-normalizer weighs how much
each reading looks like a language. When two readings that differ come close, the file is refused:
wrong letters would be trained on without anybody noticing.
"""

from __future__ import annotations

import codecs
import difflib
import encodings.aliases
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tfdistill.datasets.tables.columns import option

__all__ = ["Encoding", "find_encoding"]

# What programs write by default, by country, rather than all that Python can read. The first that
# gives the same characters lends its name.
_LEGACY = (
    "cp1252 cp1250 cp1251 cp1253 cp1254 cp1255 cp1256 cp1257 cp932 gb18030 big5 cp949 euc_jp "
    "koi8_r iso8859_2 iso8859_5 iso8859_15 mac_roman"
).split()
# By how much the best reading must beat the next one that differs, in units of "chaos" minus
# "coherence" (each in [0, 1]). Of 108 tables of 300 translated messages in 27 languages, 70 were
# read right, 37 refused and 1 read wrong; charset-normalizer's first choice was wrong for 27.
_MARGIN = 0.03
# Without a language that speaks for the best one, "chaos" alone has to.
_MARGIN_WITHOUT_LANGUAGE = 0.1
_SOME_COHERENCE = 0.1
_SYMBOLS_IN_WORDS = re.compile(
    r"(?<=[^\W\d_])(?:[^\w\s\x00-\x7f’‘´`·-]|[\u02b0-\u02ff])(?=[^\W\d_])"
)
_SAMPLE_BYTES = 1 << 16
_CHUNK_BYTES = 1 << 20
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Encoding:
    """An encoding that decodes a file.

    Attributes:
        name: Python's name for it.
        errors: What decoding does with bytes that are not right: "strict", or "surrogateescape"
            where rows shall be named rather than the file refused.
        guesses: A half-sentence if it was told by how the text looks.
    """

    name: str
    errors: str = "strict"
    guesses: list[str] = field(default_factory=list)


def find_encoding(raw: bytes, encoding: str | None, *, where: str) -> Encoding:
    r"""Finds the encoding of a file, or checks the one that the user named.

    Args:
        raw: The whole file.
        encoding: What the user says, or None.
        where: The file, for messages.

    Returns:
        An encoding that decodes the file.

    Raises:
        ValueError: If Python does not know the encoding, bytes do not decode, or the encoding
            cannot be told surely.

    Example:
        >>> find_encoding("text\nß".encode(), None, where="a.csv").name
        'utf-8'
    """
    if encoding is not None:
        return _named(raw, encoding, where)
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return _utf_8(name) if name == "utf-8-sig" else _checked(raw, name, where)
    if wide := _utf_16_without_mark(raw):
        return Encoding(wide, guesses=[f"encoding {wide} told by its zero bytes"])
    if not _first_fault(raw, "utf-8") or _is_damaged_utf_8(raw):
        return _utf_8("utf-8")
    return _legacy(raw, where)


def _utf_8(name: str) -> Encoding:
    # Bytes that are not UTF-8 become lone surrogates, which the check of cells finds row by row.
    return Encoding(name, errors="surrogateescape")


def _named(raw: bytes, encoding: str, where: str) -> Encoding:
    try:
        name = codecs.lookup(encoding).name
        "a".encode(name)  # LookupError for what turns no text into bytes, such as "base64"
    except (LookupError, TypeError, ValueError) as error:
        near = difflib.get_close_matches(
            str(encoding).lower(), [*encodings.aliases.aliases, *_LEGACY, "utf-8", "utf-16"]
        )
        advice = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(
            f"`encoding` must be a text encoding that Python knows, such as 'cp1252'. "
            f"Received: encoding={encoding!r}.{advice} Set {option('encoding')}."
        ) from error
    if name in ("utf-8", "utf-8-sig"):
        return _utf_8("utf-8-sig" if raw.startswith(codecs.BOM_UTF8) else "utf-8")
    return _checked(raw, name, where)


def _checked(raw: bytes, name: str, where: str) -> Encoding:
    if fault := _first_fault(raw, name):
        offset, end = fault
        line = _line_at(raw, offset, name)
        raise ValueError(
            f"{where}, line {line}: expected {name} text. Received: {raw[offset:end][:20]!r}. "
            f"Set {option('encoding')} to another encoding."
        )
    return Encoding(name)


def _first_fault(raw: bytes, name: str) -> tuple[int, int] | None:
    # In pieces, so that no second copy of the file is held.
    decoder = codecs.getincrementaldecoder(name)()
    for start in range(0, max(len(raw), 1), _CHUNK_BYTES):
        piece = raw[start : start + _CHUNK_BYTES]
        pending = decoder.getstate()[0]
        try:
            decoder.decode(piece, final=start + _CHUNK_BYTES >= len(raw))
        except UnicodeDecodeError as error:
            at = start - len(pending) + error.start
            return at, at + max(1, error.end - error.start)
    return None


def _line_at(raw: bytes, offset: int, name: str) -> int:
    return raw[:offset].decode(name, "ignore").count("\n") + 1


def _utf_16_without_mark(raw: bytes) -> str | None:
    # Letters of a language may have zero bytes on either side, as U+4E00 has; line ends have not.
    if len(raw) % 2 or b"\0" not in raw[:_SAMPLE_BYTES]:
        return None
    sample = memoryview(raw)[:_SAMPLE_BYTES]
    line_ends = {}
    for name in ("utf-16-le", "utf-16-be"):
        text = codecs.decode(sample, name, "replace")
        line_ends[name] = 0 if "\0" in text else text.count("\n") + text.count("\r")
    name = max(line_ends, key=lambda name: line_ends[name])
    return name if line_ends[name] and not _first_fault(raw, name) else None


def _is_damaged_utf_8(raw: bytes) -> bool:
    # Characters of several bytes that decode do not come about by chance in other encodings.
    good = bad = 0
    for line in _lines_of_other_bytes(raw):
        text = line.decode("utf-8", "surrogateescape")
        escaped = sum("\udc80" <= character <= "\udcff" for character in text)
        good += sum(not character.isascii() for character in text) - escaped
        bad += escaped
    return good > bad


def _lines_of_other_bytes(raw: bytes) -> Iterator[bytes]:
    size = start = 0
    while start < len(raw) and size < _SAMPLE_BYTES:
        end = raw.find(b"\n", start) + 1 or len(raw)
        line = raw[start : min(end, start + _SAMPLE_BYTES)]
        start = end
        if not line.isascii():
            size += len(line)
            yield line


def _legacy(raw: bytes, where: str) -> Encoding:
    from charset_normalizer import from_bytes  # only files in old encodings need it

    sample = b"".join(_lines_of_other_bytes(raw))
    matches = from_bytes(sample, cp_isolation=list(_LEGACY), enable_fallback=False)
    readings = [
        _Reading(name, str(match), match.chaos, match.coherence)
        for match in matches
        if (name := _name_for_all(raw, match.could_be_from_charset))
    ]
    readings.sort(key=lambda reading: reading.strangeness)
    if readings and _is_sure(readings):
        name = readings[0].name
        return Encoding(name, guesses=[f"encoding {name} guessed from the text"])
    offset, end = _first_fault(raw, "utf-8") or (0, 1)
    line = raw.count(b"\n", 0, offset) + 1
    raise ValueError(
        f"{where}, line {line}: expected UTF-8 text. Received: {raw[offset:end]!r}. "
        f"The encoding cannot be told surely. {_compared(readings[:3])}Set {option('encoding')}, "
        f"such as 'cp1252' for Western Europe."
    )


def _name_for_all(raw: bytes, names: list[str]) -> str | None:
    for name in sorted(set(names) & set(_LEGACY), key=_LEGACY.index):
        if not _first_fault(raw, name):
            return name
    return None


@dataclass(frozen=True)
class _Reading:
    """How an encoding reads the sample, and how much and little that looks like a language."""

    name: str
    text: str
    chaos: float
    coherence: float

    @functools.cached_property
    def strangeness(self) -> float:
        # A symbol between two letters, as in "schˆner", is no letter of a language.
        others = sum(not character.isascii() for character in self.text)
        inside = len(_SYMBOLS_IN_WORDS.findall(self.text))
        return self.chaos - self.coherence + inside / max(1, others)


def _is_sure(readings: list[_Reading]) -> bool:
    best, *others = readings
    margin = _MARGIN if best.coherence >= _SOME_COHERENCE else _MARGIN_WITHOUT_LANGUAGE
    return all(other.strangeness - best.strangeness >= margin for other in others)


def _compared(readings: list[_Reading]) -> str:
    if len(readings) < 2:
        return ""
    # The first word that the readings do not agree on tells a person which one is right.
    for words in zip(*(reading.text.split() for reading in readings), strict=False):
        if len(set(words)) > 1:
            shown = (
                f"{word[:20]!r} in {reading.name}"
                for word, reading in zip(words, readings, strict=True)
            )
            return f"A word of it is {', '.join(shown)}. "
    return ""
