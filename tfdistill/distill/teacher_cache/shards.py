"""The files of a teacher cache: a manifest, shards of arrays, and what identifies them.

Shards are `.npz` files that are read without pickle. The manifest is written first, so that a
build which was killed can be told from one of something else. Its `kind` tells a cache from the
other folders that this package writes; files of somebody else in a cache are never touched.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfdistill.distill.teacher_cache.shard_reader import ShardReader
from tfdistill.files.atomic import abandoned, is_temporary, replacing

__all__ = [
    "fingerprint_inputs",
    "fingerprint_model",
    "has_shard",
    "num_shards",
    "open_shards",
    "read_manifest",
    "start_folder",
    "write_shard",
]

FORMAT = 1
KIND = "teacher cache"
_MANIFEST = "manifest.json"
_KEYS = frozenset({"format", "rows", "num_classes", "shard_rows", "teacher", "inputs"})
_SHARD = re.compile(r"shard-(\d{5,})\.npz")


def fingerprint_inputs(x: Any) -> str:
    """Returns the SHA-256 of arrays, of their dtypes and shapes as well as of their values.

    Args:
        x: An array or a nested structure of arrays.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> fingerprint_inputs(np.zeros(2)) == fingerprint_inputs(np.zeros((2, 1)))
        False
    """
    digest = hashlib.sha256()
    for path, leaf in keras.tree.flatten_with_path(x):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{path}{array.dtype.str}{array.shape}".encode())
        if array.dtype == object:
            digest.update(repr(array.tolist()).encode())
        else:  # read where it lies
            digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def fingerprint_model(model: keras.Model) -> str:
    """Returns the SHA-256 of a model's layers, their settings and weights, not of their names.

    Args:
        model: A built Keras 3 model.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(type(model).__qualname__.encode())
    for layer in model._flatten_layers():
        if not isinstance(layer, keras.Model):
            settings = json.dumps(_nameless(layer.get_config()), sort_keys=True, default=_kind)
            digest.update(f"{type(layer).__qualname__}{settings}".encode())
    for variable in model.weights:
        digest.update(f"{variable.name}{variable.shape}{variable.dtype}".encode())
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes())
    return digest.hexdigest()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Reads what a folder holds, or returns None where there is no manifest.

    Args:
        folder: The folder of a cache.

    Returns:
        The manifest.

    Raises:
        ValueError: If the file is not a manifest, or of a newer format.
    """
    path = folder / _MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"`path` must be the folder of a teacher cache. Received: path={str(folder)!r}, whose "
            f"{_MANIFEST} cannot be read ({error}). Build the cache again in another folder."
        ) from error
    # A manifest from before kinds were stated is known by its keys.
    if manifest.get("kind", KIND) != KIND or (version == FORMAT and not _KEYS <= manifest.keys()):
        raise ValueError(
            f"`path` must be the folder of a teacher cache. Received: path={str(folder)!r}, whose "
            f"{_MANIFEST} is of kind {manifest.get('kind')!r} with {sorted(manifest)[:8]}. "
            "Nothing was changed there. Choose another folder."
        )
    if version != FORMAT:
        raise ValueError(
            f"`path` must be a teacher cache of format {FORMAT}. Received: path={str(folder)!r} "
            f"of format {version!r}. Build it again, or use the version that wrote it."
        )
    manifest.setdefault("kind", KIND)
    manifest.setdefault("layers", [])  # caches of version 0.1 have no hidden states
    return manifest


def start_folder(folder: Path, manifest: dict[str, Any], *, resume: bool) -> None:
    """Writes the manifest of a build, or checks that an earlier build was the same.

    Args:
        folder: The folder of the cache; created if need be.
        manifest: What is going to be built.
        resume: Whether to keep the shards of an earlier build.

    Raises:
        ValueError: If the folder holds something else, named by what differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    earlier = read_manifest(folder)
    if earlier is not None and resume:
        different = sorted(key for key in manifest if earlier.get(key) != manifest[key])
        if different:
            changes = "; ".join(
                f"{key} {_short(earlier.get(key))} → {_short(manifest[key])}" for key in different
            )
            raise ValueError(
                f"`path` must hold answers of the same build. Received: path={str(folder)!r}, "
                f"which differs in {', '.join(different)}: {changes}. "
                "Choose another folder, or pass resume=False to start over."
            )
        return
    if earlier is None and not all(is_temporary(path.name) for path in folder.iterdir()):
        raise ValueError(
            "`path` must be a new or empty folder, or a teacher cache. "
            f"Received: path={str(folder)!r}, which holds other files."
        )
    present = {path: _SHARD.fullmatch(path.name) for path in folder.iterdir()}
    numbers = {path: int(found[1]) for path, found in present.items() if found}
    count = 0 if earlier is None else num_shards(earlier)
    if foreign := sorted(path.name for path, number in numbers.items() if number >= count):
        raise ValueError(
            "`path` must hold no shards but those of its manifest. "
            f"Received: path={str(folder)!r} with {foreign[:5]}. Nothing was changed there. "
            "Move them away, or choose another folder."
        )
    for left in abandoned(folder):
        if not left.is_dir():
            left.unlink(missing_ok=True)
    for shard in numbers:
        shard.unlink()
    with replacing(folder / _MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def num_shards(manifest: dict[str, Any]) -> int:
    """Returns how many shards a whole cache has."""
    return math.ceil(manifest["rows"] / manifest["shard_rows"])


def has_shard(folder: Path, number: int) -> bool:
    """Tells whether a shard is there and readable.

    Args:
        folder: The folder of the cache.
        number: Number of the shard.

    Returns:
        False for a missing or a damaged file.
    """
    try:
        with zipfile.ZipFile(_shard(folder, number)) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def write_shard(folder: Path, number: int, arrays: dict[str, np.ndarray]) -> None:
    """Writes one shard whole or not at all.

    Args:
        folder: The folder of the cache.
        number: Number of the shard.
        arrays: What to write, rows first.
    """
    with replacing(_shard(folder, number)) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]


def open_shards(folder: Path, manifest: dict[str, Any]) -> ShardReader:
    """Opens all shards of a cache, to be read where they lie.

    Args:
        folder: The folder of the cache.
        manifest: What `read_manifest` returned.

    Returns:
        The rows of all shards.

    Raises:
        ValueError: If a shard is missing or damaged.
    """
    count = num_shards(manifest)

    def damaged(number: int) -> ValueError:
        return ValueError(
            f"`path` must be a whole teacher cache. Received: path={str(folder)!r}, whose "
            f"shard {number} of {count} cannot be read. Call TeacherCache.build again with "
            "the same arguments: it goes on from there."
        )

    return ShardReader(
        [_shard(folder, number) for number in range(count)],
        rows=manifest["rows"],
        shard_rows=manifest["shard_rows"],
        damaged=damaged,
    )


def _nameless(config: Any) -> Any:
    """Drops what Keras numbers anew each time that an equal model is built."""
    if isinstance(config, dict):
        # Keras numbers shared objects in each file, and only while a file is written.
        numbers = ("name", "shared_object_id")
        return {key: _nameless(value) for key, value in config.items() if key not in numbers}
    if isinstance(config, (list, tuple)):
        return [_nameless(value) for value in config]
    return config


def _kind(value: Any) -> str:
    return value.tolist() if isinstance(value, np.ndarray) else type(value).__qualname__


def _shard(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05d}.npz"


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) else repr(value)
