"""Writing datasets: shard by shard, each atomically, so that a killed job resumes and no half file looks whole.

Everything is written into ``<directory>.partial``, which becomes ``<directory>`` in one rename when it is complete.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from dynarium._version import __version__
from dynarium.data.schema import BLOCK, FILE, SPLITS, STEPPED, Field, Schema, shard_file, statistics, sums
from dynarium.errors import UserError

SHARD_BYTES = 1 << 29


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One shard of a plan: sequences ``start`` .. ``stop`` of a split."""

    split: str
    index: int
    start: int
    stop: int


def plan_shards(sizes: Mapping[str, int], shard_size: int) -> list[Shard]:
    """Cut the splits into shards of ``shard_size`` sequences."""
    return [
        Shard(split=split, index=k, start=start, stop=min(n, start + shard_size))
        for split, n in sizes.items()
        for k, start in enumerate(range(0, n, shard_size))
    ]


def shard_size_for(bytes_per_sequence: int) -> int:
    """Return how many sequences make a shard of about 512 MB, in whole blocks."""
    return max(1, SHARD_BYTES // max(1, bytes_per_sequence) // BLOCK) * BLOCK


def begin(directory: Path, plan: dict[str, Any], *, force: bool) -> Path:
    """Open or create the partial directory of a job, and return it.

    Raises:
        UserError: The target exists (without ``force``) or is not a dataset; or another job was interrupted there.
    """
    for split in plan["sizes"]:
        if split not in SPLITS:
            raise UserError(f"splits: expected {', '.join(SPLITS)}, got {split!r}")
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        if not (directory / FILE).is_file():
            raise UserError(f"{directory}: exists and is not a dataset; give another directory")
        if not force:
            raise UserError(f"{directory}: exists already; --force replaces it")
    partial = directory.with_name(directory.name + ".partial")
    file = partial / "plan.json"
    if partial.exists():
        same = file.is_file() and json.loads(file.read_text(encoding="utf-8")) == json.loads(json.dumps(plan))
        if same:
            return partial
        if not force:
            raise UserError(f"{partial}: holds an interrupted job of other settings; --force discards it")
        shutil.rmtree(partial)
    for split in plan["sizes"]:
        (partial / split).mkdir(parents=True)
    atomic_write(file, lambda stream: stream.write(json.dumps(plan).encode()))
    return partial


def atomic_write(path: Path, write: Callable[[Any], Any]) -> None:
    """Write a file under a temporary name, then rename it; on failure nothing is left behind."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:  # NumPy knows only how many bytes a full disk took
            number = error.errno or errno.ENOSPC
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


def write_shard(partial: Path, shard: Shard, blocks: Iterable[Mapping[str, np.ndarray]]) -> None:
    """Write the fields of one shard and, last, a record that says it is whole; skip a shard that has its record."""
    record = partial / shard.split / f"shard-{shard.index:05d}.json"
    if record.exists():
        return
    for leftover in partial.glob(f"{shard.split}/.*-{shard.index:05d}.npy.*.tmp"):  # of a killed process
        leftover.unlink(missing_ok=True)
    parts = list(blocks)
    fields: dict[str, Any] = {}
    for name in parts[0]:
        array = np.concatenate([part[name] for part in parts]) if len(parts) > 1 else parts[0][name]
        path = partial / shard_file(shard.split, name, shard.index)
        atomic_write(path, lambda stream, array=array: np.lib.format.write_array(stream, array, allow_pickle=False))
        fields[name] = {
            "blocks": block_digests(array),
            "sums": sums(array, name),
            "shape": array.shape[1:],
            "dtype": array.dtype.name,
        }
    atomic_write(record, lambda stream: stream.write(json.dumps(fields).encode()))


def block_digests(array: np.ndarray) -> list[str]:
    """Return the SHA-256 of every block of sequences."""
    starts = range(0, len(array), BLOCK)
    return [hashlib.sha256(np.ascontiguousarray(array[i : i + BLOCK]).data).hexdigest() for i in starts]


def combined(digests: Iterable[str]) -> str:
    """Return the hash of hashes."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def finish(
    partial: Path,
    directory: Path,
    shards: Sequence[Shard],
    *,
    names: Mapping[str, tuple[str, ...]],
    dt: float,
    seed: int | None,
    generator: dict[str, Any],
    gain: float | None = None,
) -> None:
    """Gather the records of all shards into ``dataset.json`` and give the directory its name."""
    records = {}
    for shard in shards:
        file = partial / shard.split / f"shard-{shard.index:05d}.json"
        records[shard] = json.loads(file.read_text(encoding="utf-8"))
    first = next(iter(records.values()))
    splits = list(dict.fromkeys(shard.split for shard in shards))
    described = splits[0] if "train" not in splits else "train"
    fields = {
        name: Field(
            shape=tuple(spec["shape"]),
            dtype=spec["dtype"],
            names=tuple(names.get(name, ())),
            statistics=statistics([r[name]["sums"] for shard, r in records.items() if shard.split == described]),
            gain=gain if name == "video" else None,
        )
        for name, spec in first.items()
    }
    everything = [
        f"{split}/{name}:{digest}"
        for split in splits
        for name in fields
        for shard, record in records.items()
        if shard.split == split
        for digest in record[name]["blocks"]
    ]
    Schema(
        fields=fields,
        splits={split: sum(s.stop - s.start for s in shards if s.split == split) for split in splits},
        shards={split: [s.stop - s.start for s in shards if s.split == split] for split in splits},
        hashes={
            shard_file(shard.split, name, shard.index): combined(record[name]["blocks"])
            for shard, record in records.items()
            for name in fields
        },
        content_hash=combined(everything),
        dt=dt,
        seed=seed,
        generator=generator,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=__version__,
    ).write(partial)
    for file in [partial / "plan.json", *partial.glob("*/shard-*.json")]:
        file.unlink()
    if directory.exists():
        old = directory.with_name(directory.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        directory.rename(old)
        partial.rename(directory)
        shutil.rmtree(old)
    else:
        partial.rename(directory)


def write_arrays(
    directory: Path | str,
    splits: Mapping[str, Mapping[str, np.ndarray]],
    *,
    dt: float = 1.0,
    names: Mapping[str, tuple[str, ...]] | None = None,
    source: str = "arrays",
    force: bool = False,
) -> None:
    """Write arrays of one's own as a dataset.

    ``{"train": {"video": [n, t, (c,) h, w], "state": [n, t, s], "action": ..., "length": [n]}, "test": {...}}``. Videos
    are stored as ``uint8``: floating point is read as [0, 1], booleans as 0 and 255; other floating point as ``float32``.

    Raises:
        UserError: Arrays disagree in their lengths or shapes, hold NaN, or the directory exists (without ``force``).
    """
    if not 0 < dt < float("inf"):
        raise UserError(f"dt: expected a positive number, got {dt}")
    arrays = {split: prepared(fields, split) for split, fields in splits.items()}
    if not arrays:
        raise UserError("splits: expected at least one of train, val, test")
    first = next(iter(arrays.values()))
    for split, fields in arrays.items():
        shapes = {name: array.shape[1:] for name, array in fields.items()}
        wanted = {name: array.shape[1:] for name, array in first.items()}
        if shapes != wanted:
            raise UserError(f"{split}: fields {shapes} differ from those of the first split, {wanted}")
    sizes = {split: len(next(iter(fields.values()))) for split, fields in arrays.items()}
    size = shard_size_for(sum(array[0].nbytes for array in first.values()))
    digest = combined(d for fields in arrays.values() for array in fields.values() for d in block_digests(array))
    directory = Path(directory)
    partial = begin(directory, {"sizes": sizes, "shard_size": size, "content": digest, "dt": dt}, force=force)
    shards = plan_shards(sizes, size)
    for shard in shards:
        write_shard(partial, shard, [{k: a[shard.start : shard.stop] for k, a in arrays[shard.split].items()}])
    finish(partial, directory, shards, names=names or {}, dt=dt, seed=None, generator={"source": source})


def prepared(fields: Mapping[str, np.ndarray], split: str) -> dict[str, np.ndarray]:
    """Check the arrays of a split and bring them to the stored dtypes and layouts.

    Raises:
        UserError: Nothing there, unequal numbers of sequences or steps, NaN, or frames or lengths out of range.
    """
    done = {name: _prepared(np.asarray(array), f"{split}/{name}", name) for name, array in fields.items()}
    counts = {name: len(array) for name, array in done.items()}
    if not done or 0 in counts.values():
        raise UserError(f"{split}: expected at least one sequence, got {counts or 'no fields'}")
    if len(set(counts.values())) > 1:
        raise UserError(f"{split}: the fields have different numbers of sequences: {counts}")
    steps = {name: done[name].shape[1] for name in STEPPED if name in done}
    if len(set(steps.values())) > 1:
        raise UserError(f"{split}: the fields have different numbers of steps: {steps}")
    if "length" in done and steps:
        low, high, t = done["length"].min(), done["length"].max(), next(iter(steps.values()))
        if low < 1 or high > t:
            raise UserError(f"{split}/length: expected 1 .. {t} steps, got {low} .. {high}")
    return done


def _prepared(array: np.ndarray, where: str, name: str) -> np.ndarray:
    if array.dtype == object or array.dtype.kind not in "buif":
        raise UserError(f"{where}: expected numbers, got dtype {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{where}: holds NaN or infinity")
    if name == "video":
        return _frames(array, where)
    if name == "mask" and array.ndim != 2:
        raise UserError(f"{where}: expected [n, t], got shape {array.shape}")
    if name in ("state", "action", "observation") and array.ndim == 2:
        array = array[..., None]
    if name in ("state", "action", "observation") and array.ndim != 3:
        raise UserError(f"{where}: expected [n, t, d], got shape {array.shape}")
    return np.ascontiguousarray(array.astype(np.float32) if array.dtype.kind == "f" else array)


def _frames(array: np.ndarray, where: str) -> np.ndarray:
    """Return frames as ``uint8`` [n, t, c, h, w]."""
    if array.ndim == 5 and array.shape[2] not in (1, 3, 4) and array.shape[4] in (1, 3, 4):
        array = np.moveaxis(array, 4, 2)  # channels last
    if array.ndim == 4:
        array = array[:, :, None]
    if array.ndim != 5 or 0 in array.shape:
        wanted = "frames [n, t, h, w] or [n, t, c, h, w], none empty"
        raise UserError(f"{where}: expected {wanted}, got shape {array.shape}")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    low, high = array.min(), array.max()
    if array.dtype == bool or (array.dtype.kind == "f" and low >= 0 and high <= 1):
        return np.ascontiguousarray(np.rint(array.astype(np.float32) * 255).astype(np.uint8))
    if low >= 0 and high <= 255 and (array.dtype.kind != "f" or (array == np.rint(array)).all()):
        return np.ascontiguousarray(array.astype(np.uint8))
    raise UserError(f"{where}: expected frames in [0, 1] (floating point) or 0 .. 255, got values {low} .. {high}")


def blocks_of(start: int, stop: int) -> Iterator[tuple[int, slice]]:
    """Yield (block, slice inside it) that together cover the sequences ``start`` .. ``stop``."""
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        first = block * BLOCK
        yield block, slice(max(0, start - first), min(BLOCK, stop - first))
