"""Checking a dataset: truncated shards, wrong hashes, NaNs."""

from pathlib import Path

import numpy as np

from dynarium.data.schema import SPLITS, Schema, shard_file
from dynarium.data.writer import block_digests, combined


def verify(directory: Path | str) -> list[str]:
    """Return what is wrong with a dataset, one line each; empty when it is whole.

    Raises:
        UserError: The directory is no dataset at all.
    """
    directory = Path(directory)
    schema = Schema.read(directory)
    problems: list[str] = []
    everything: list[str] = []
    known = {"dataset.json"}
    for split, shards in schema.shards.items():
        if sum(shards) != schema.splits.get(split):
            problems.append(
                f"dataset.json: split {split} should hold {schema.splits.get(split)}, its shards {sum(shards)}"
            )
        for name, spec in schema.fields.items():
            for k, n in enumerate(shards):
                file = shard_file(split, name, k)
                known.add(file)
                digests, problem = _check(directory / file, (n, *spec.shape), spec.dtype)
                if not problem and combined(digests) != schema.hashes.get(file):
                    problem = "content differs from the hash in dataset.json"
                if problem:
                    problems.append(f"{file}: {problem}")
                everything += [f"{split}/{name}:{digest}" for digest in digests]
    if not problems and combined(everything) != schema.content_hash:
        problems.append("dataset.json: the content hash does not belong to these files")
    for split in SPLITS:
        for path in sorted((directory / split).glob("*")):
            if f"{split}/{path.name}" not in known:
                problems.append(f"{split}/{path.name}: not part of the dataset")
    return problems


def _check(path: Path, shape: tuple[int, ...], dtype: str) -> tuple[list[str], str]:
    """Return the block hashes of a shard and what is wrong with it."""
    if not path.is_file():
        return [], "missing"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        return [], f"truncated or damaged ({error})"
    if array.shape != shape or array.dtype.name != dtype:
        return [], f"expected {shape} {dtype}, got {array.shape} {array.dtype.name}"
    if array.dtype.kind == "f":
        bad = int(sum((~np.isfinite(array[i : i + 4096])).sum() for i in range(0, len(array), 4096)))
        if bad:
            return block_digests(array), f"{bad} values are NaN or infinite"
    return block_digests(array), ""
