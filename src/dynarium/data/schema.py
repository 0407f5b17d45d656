"""The schema of dataset format v1: what ``dataset.json`` says."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dynarium.errors import UserError

FORMAT = "dynarium dataset"
VERSION = 1
FILE = "dataset.json"
SPLITS = ("train", "val", "test")
STEPPED = ("video", "state", "action", "observation", "mask", "mode", "derivative", "bounce")
"""Fields with a time axis: a window cuts them."""
BLOCK = 256
"""Sequences that are made, hashed and seeded together; shards hold whole blocks."""
_CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Field:
    """One array of a dataset.

    Attributes:
        shape: Shape of one sequence, e.g. ``(20, 1, 32, 32)``.
        dtype: NumPy's name of the dtype.
        names: Name and unit of each entry of the last dimension, where known.
        statistics: ``mean``, ``std``, ``min``, ``max`` over the training split: per channel of a video, else per entry of
            the last dimension.
        gain: Bytes that stand for floating point: 255 ``gain`` times a frame, rounded; ``None``: bytes are what they are.
    """

    shape: tuple[int, ...]
    dtype: str
    names: tuple[str, ...] = ()
    statistics: dict[str, list[float]] = field(default_factory=dict)
    gain: float | None = None


@dataclass(frozen=True, kw_only=True)
class Schema:
    """What a dataset holds and how it was made.

    Attributes:
        fields: Field name -> what it holds.
        splits: Split -> number of sequences.
        shards: Split -> number of sequences of each shard.
        hashes: ``split/field-shard.npy`` -> SHA-256 of its content.
        content_hash: SHA-256 of all content, whatever the shard size.
        dt: Time between two frames.
        seed: Seed of the generation; ``None`` for imported data.
        generator: Configuration of the world, or where imported data came from.
        created: Time of writing, ISO 8601.
        code_version: Version of dynarium that wrote it.
    """

    fields: dict[str, Field]
    splits: dict[str, int]
    shards: dict[str, list[int]]
    hashes: dict[str, str]
    content_hash: str
    dt: float
    seed: int | None
    generator: dict[str, Any]
    created: str
    code_version: str

    def write(self, directory: Path) -> None:
        """Write ``dataset.json``."""
        text = json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=1)
        (directory / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, directory: Path) -> "Schema":
        """Read ``dataset.json``.

        Raises:
            UserError: There is none, or it is not of this format and version.
        """
        file = directory / FILE
        if not file.is_file():
            raise UserError(f"{directory}: not a dataset (it has no {FILE})")
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            found = values.pop("format", None), values.pop("version", None)
            if found != (FORMAT, VERSION):
                raise UserError(
                    f"{file}: expected format {FORMAT!r} version {VERSION}, got {found[0]!r} version {found[1]!r}"
                )
            fields = {
                name: Field(**spec | {"shape": tuple(spec["shape"]), "names": tuple(spec["names"])})
                for name, spec in values.pop("fields").items()
            }
            return cls(fields=fields, **values)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{file}: damaged schema ({error})") from None


def shard_file(split: str, name: str, shard: int) -> str:
    """Return the path of one shard of one field inside the dataset."""
    return f"{split}/{name}-{shard:05d}.npy"


def sums(array: np.ndarray, name: str) -> dict[str, Any]:
    """Return count, sum, sum of squares, minimum and maximum of an array, per channel or per last entry."""
    axis = -3 if name == "video" else -1
    if name in STEPPED and array.ndim == 2:  # one number a step
        array = array[..., None]
    if array.ndim + axis <= 0:  # one number a sequence
        array, axis = array.reshape(-1, 1), -1
    inner = int(np.prod(array.shape[array.ndim + axis + 1 :], dtype=np.int64))
    outer = array.reshape(-1, array.shape[axis], inner)
    total, squares = np.zeros(outer.shape[1]), np.zeros(outer.shape[1])
    rows = max(1, _CHUNK // (outer.shape[1] * outer.shape[2]))
    for start in range(0, len(outer), rows):  # a piece that fits the cache; sums of bytes stay exact
        piece = outer[start : start + rows].astype(np.float64)
        total += piece.sum((0, 2))
        squares += np.einsum("ncp,ncp->c", piece, piece)
    return {
        "count": outer.shape[0] * outer.shape[2],
        "sum": total.tolist(),
        "squares": squares.tolist(),
        "min": outer.min((0, 2)).astype(float).tolist(),
        "max": outer.max((0, 2)).astype(float).tolist(),
    }


def statistics(parts: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Combine the sums of shards into mean, std, min and max."""
    count = sum(part["count"] for part in parts)
    total, squares = (np.sum([part[key] for part in parts], axis=0) for key in ("sum", "squares"))
    mean = total / count
    spread = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return {
        "mean": mean.tolist(),
        "std": spread.tolist(),
        "min": np.min([part["min"] for part in parts], axis=0).tolist(),
        "max": np.max([part["max"] for part in parts], axis=0).tolist(),
    }
