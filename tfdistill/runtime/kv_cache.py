"""The KV cache of a language model: the keys and values of the tokens of a text.

The `.tflite` file is a function without memory. It reads this cache and returns the rows of the
new tokens alone, which are put into their slots here; handing the whole cache out and in again
would cost more than the computation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from tfdistill.runtime.interpreter import Interpreter, Signature

__all__ = ["KVCache", "find_lengths"]

_NAME = re.compile(r"(decode|prefill|verify)(?:_(\d+))?")
_INPUTS = {"ids", "positions", "keys", "values", "last"}
_SCALES = {"key_scales", "value_scales"}  # of a cache in 8 bits, one for each row
_OUTPUTS = {"logits", "new_keys", "new_values"}


def find_lengths(signatures: Mapping[str, Signature]) -> dict[int, str]:
    """Sorts the signatures of a language model by tokens per call.

    Args:
        signatures: The signatures of a file. "verify" signatures, which earlier versions wrote
            for speculative decoding, are checked and left out.

    Returns:
        Names by length; "decode" is that of length 1.

    Raises:
        ValueError: If they are not those of a language model.
    """
    found: dict[int, str] = {}
    shapes = set()
    for name, signature in signatures.items():
        match = _NAME.fullmatch(name)
        named = set(signature.inputs) in (_INPUTS, _INPUTS | _SCALES)
        if not match or not named or set(signature.outputs) != _OUTPUTS:
            raise ValueError(f"signature {name!r} is not one of a language model")
        if match[1] != "verify":
            found[signature.inputs["ids"].shape[0]] = name
        for store in ("keys", "values"):
            spec = signature.inputs[store]
            shapes.add((spec.shape, spec.dtype, len(signature.inputs)))
    if 1 not in found or len(shapes) != 1 or len(next(iter(shapes))[0]) != 4:
        raise ValueError("there is no decode signature, or the caches differ")
    return found


def rounded_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounds rows to 8 bits: round(x / s), with s = max |x| / 127 of each row.

    Args:
        rows: float32 `[…, d]`.

    Returns:
        int8 of the same shape, and the scales s, float32 `[…, 1]`.

    Example:
        >>> rounded_rows(np.array([[1.0, -2.54, 0.0]], np.float32))
        (array([[  50, -127,    0]], dtype=int8), array([[0.02]], dtype=float32))
    """
    scales = np.abs(rows).max(axis=-1, keepdims=True) / np.float32(127.0)
    return np.rint(rows / np.where(scales > 0, scales, 1.0)).astype(np.int8), scales


class KVCache:
    """Feeds tokens to a language model and remembers what was computed.

    Its memory is fixed: the slots of the file's cache, in float32 or, if the file was exported
    with ``cache="int8"``, in 8 bits with one scale for each row. It is as little thread-safe as
    the `Interpreter`.

    Args:
        interpreter: The opened file.

    Attributes:
        ids: The tokens whose rows are in the cache.
        context_length: Number of slots.
    """

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self._names = find_lengths(interpreter.signatures)
        inputs = interpreter.signatures[self._names[1]].inputs
        shape = inputs["keys"].shape
        self._stores = {
            name: np.zeros(inputs[name].shape, inputs[name].dtype)
            for name in ("keys", "values", *sorted(_SCALES & set(inputs)))
        }
        self.context_length = shape[2]
        self.ids: list[int] = []

    def clear(self) -> None:
        """Forgets the text."""
        self.ids = []

    def shift_context(self, *, room: int) -> None:
        """Forgets the older half of the text where fewer slots than `room` are free.

        The newer half is read again from position 0, because keys depend on their positions.

        Args:
            room: Slots that are needed, at most half of all.
        """
        if len(self.ids) + room > self.context_length:
            newer = self.ids[-(self.context_length // 2) :]
            self.clear()
            self.read(newer)

    def read(self, ids: Sequence[int]) -> np.ndarray:
        """Reads further tokens, in as few calls as the file's lengths allow.

        Args:
            ids: At least one token; no more than there are free slots.

        Returns:
            Logits of the token behind the last one, float32 `[V]`.

        Raises:
            ValueError: If there is no token or not enough room.
        """
        self._check_room(ids)
        logits = np.zeros(0, np.float32)
        at = 0
        while at < len(ids):
            length = self._best_length(len(ids) - at)
            part = ids[at : at + length]
            logits = self._run(self._names[length], part, length)[0]
            at += len(part)
        return logits

    def call(self, name: str, ids: Sequence[int]) -> np.ndarray:
        """Reads further tokens by one signature, for what compares them.

        Args:
            name: The signature.
            ids: At most as many tokens as it takes.

        Returns:
            Logits of the token behind the last one, float32 `[1, V]`.
        """
        length = self._interpreter.signatures[name].inputs["ids"].shape[0]
        return self._run(name, ids, length)

    def _check_room(self, ids: Sequence[int]) -> None:
        free = self.context_length - len(self.ids)
        if not 1 <= len(ids) <= free:
            raise ValueError(
                f"`ids` must be between 1 and {free} tokens, the free slots of "
                f"{self.context_length}. Received: {len(ids)} tokens."
            )

    def _best_length(self, left: int) -> int:
        """Picks the largest length that is filled, or the smallest that holds the rest."""
        lengths = sorted(self._names)
        filled = [length for length in lengths if length <= left]
        larger = [length for length in lengths if length > left]
        # One half-empty call is cheaper than several short ones.
        if larger and left > 2 * filled[-1]:
            return larger[0]
        return filled[-1]

    def _run(self, name: str, ids: Sequence[int], length: int) -> np.ndarray:
        start, count = len(self.ids), len(ids)
        padded = np.zeros(length, np.int32)
        padded[:count] = ids
        outputs = self._interpreter.run(
            {
                "ids": padded,
                "positions": np.arange(start, start + length, dtype=np.int32),
                **self._stores,
                "last": np.array([count - 1], np.int32),
            },
            signature=name,
        )
        for store, scales in (("keys", "key_scales"), ("values", "value_scales")):
            rows = outputs[f"new_{store}"][:, :, :count]
            if scales in self._stores:
                rows, steps = rounded_rows(rows)
                self._stores[scales][:, :, start : start + count] = steps
            self._stores[store][:, :, start : start + count] = rows
        self.ids.extend(int(token) for token in ids)
        logits = outputs["logits"]
        if not np.isfinite(logits).all():
            raise RuntimeError(
                f"Signature {name!r} of {self._interpreter.path.name!r} answered with logits that "
                "are not finite. Export the model again from finite weights."
            )
        return logits
