"""The layout of the original sequence sets (Jiang et al. 2023): ``image``, ``state``, ``label``, one folder for each task.

Files are written a few sequences at a time and read one by one, so that a whole set is never held as floating point.
"""

import re
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from dynarium import config
from dynarium.data.dataset import Dataset
from dynarium.data.generate import draw, seeded
from dynarium.data.reader import members
from dynarium.data.writer import atomic_write
from dynarium.errors import UserError
from dynarium.systems.multitask import MultiTask

CHUNK = 64
"""Sequences that are turned into floating point at a time."""
FOLDER = "dataset_"
"""What the folder of a task is called, before its number."""

Files = dict[Path, tuple[str, int | None]]
Arrays = dict[str, np.ndarray]


def original_files(dataset: Dataset, out: Path) -> Files:
    """Return the files of the layout, each with its split and its task (``None``: all that there is).

    A dataset of several tasks becomes ``dataset_0/train.npz``, ...; one of a single task ``train.npz``, ...
    """
    splits = dataset.schema.splits
    tasks = {split: list(members(dataset, split)) for split in splits} if "task" in dataset.shapes else {}
    everything = sorted({task for present in tasks.values() for task in present})
    if len(everything) < 2:
        return {out / f"{split}.npz": (split, None) for split in splits}
    return {
        out / f"{FOLDER}{task}" / f"{split}.npz": (split, task)
        for task in everything
        for split in splits
        if task in tasks[split]
    }


def write_original(dataset: Dataset, files: Files) -> None:
    """Write ``image`` float64 in [0, 1], ``state`` float32, ``label`` [n, 1] int64; of actions, ``control`` float32.

    Frames are [n, t, h, w], in colour [n, t, 3, h, w]. A task of a set has its own state dimensions and channels, without
    what the set fills them up with, if the manifest knows its world.
    """
    world = config.from_dict(dataset.schema.generator) if "class" in dataset.schema.generator else None
    own: dict[int | None, dict[str, tuple[int, ...]]] = {}
    if isinstance(world, MultiTask):
        for task, one in enumerate(world.worlds):
            made = draw(one, 1, world.steps, seeded(0))
            own[task] = {name: tuple(value.shape[1:]) for name, value in made.items()}
    for file, (split, task) in files.items():
        index = np.arange(dataset.size(split)) if task is None else members(dataset, split, (task,))[task]
        shapes = own.get(task, dataset.shapes)
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, lambda stream, job=(split, index, shapes): _write(stream, dataset, *job))


def _write(stream: IO[bytes], dataset: Dataset, split: str, index: np.ndarray, own: Mapping[str, Any]) -> None:
    """Write an archive as ``numpy.savez`` does, but a few sequences at a time."""
    grey = own["video"][1] == 1

    def image(arrays: Arrays) -> np.ndarray:
        return (arrays["video"][:, :, 0] if grey else arrays["video"]) / 255.0

    entries: dict[str, tuple[str, type, Callable[[Arrays], np.ndarray]]] = {"image": ("video", np.float64, image)}
    if "state" in own:
        entries["state"] = "state", np.float32, lambda arrays: arrays["state"][..., : own["state"][-1]]
    if "action" in own:
        entries["control"] = "action", np.float32, lambda arrays: arrays["action"][..., : own["action"][-1]]
    if "task" in dataset.shapes:
        entries["label"] = "task", np.int64, lambda arrays: arrays["task"].reshape(-1, 1)
    else:
        entries["label"] = "video", np.int64, lambda arrays: np.zeros((len(arrays["video"]), 1))
    with zipfile.ZipFile(stream, "w") as archive:
        for name, (field, dtype, arranged) in entries.items():
            shape = arranged(dataset.read(split, index[:1], fields=[field])).shape[1:]
            header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (len(index), *shape)}
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array_header_1_0(entry, header)
                for i in range(0, len(index), CHUNK):
                    part = arranged(dataset.read(split, index[i : i + CHUNK], fields=[field]))
                    entry.write(np.ascontiguousarray(part, dtype).data)


def alias_folders(folders: Iterable[Path], alias: str) -> None:
    """Give every folder ``dataset_i`` the second name ``<alias>i``: a relative link, or a copy where links cannot be made.

    Raises:
        UserError: Something that is not such a link has that name.
    """
    for folder in folders:
        name = folder.with_name(alias + folder.name.removeprefix(FOLDER))
        if name.is_symlink():
            name.unlink()
        if name.exists():
            raise UserError(f"{name}: exists already and is no link to {folder.name}")
        try:
            name.symlink_to(folder.name, target_is_directory=True)
        except OSError:
            shutil.copytree(folder, name)


def task_folders(folder: Path) -> dict[int, Path]:
    """Return the folders ``dataset_0``, ``grav_0``, ``mixed_0``, ... of a folder by their numbers; empty if there are none.

    Raises:
        UserError: There are folders of several names, none of which is but a link to another.
    """
    found: dict[str, dict[int, Path]] = {}
    for path in folder.iterdir():
        named = re.fullmatch(r"(.*?)(\d+)", path.name)
        is_alias = path.is_symlink() and path.resolve().parent == folder.resolve()
        if named and path.is_dir() and not is_alias:
            found.setdefault(named[1], {})[int(named[2])] = path
    if len(found) > 1:
        names = ", ".join(f"{name}<number>" for name in sorted(found))
        raise UserError(f"{folder}: expected the folders of one set of tasks, got {names}")
    return dict(sorted(next(iter(found.values()), {}).items()))


def dealt(parts: Mapping[int, Arrays], where: Path) -> Arrays:
    """Put the tasks into one set, dealt out in turn, with the field ``task``; like ``MultiTask``, fill up what is narrower.

    Raises:
        UserError: The tasks have different fields, numbers of steps or sizes of frames.
    """
    fields = {task: set(arrays) - {"task"} for task, arrays in parts.items()}
    first = next(iter(fields.values()))
    if any(names != first for names in fields.values()):
        raise UserError(f"{where}: expected the same arrays for every task, got {fields}")
    turns = np.concatenate([np.arange(len(next(iter(arrays.values())))) for arrays in parts.values()])
    tasks = np.concatenate([np.full(len(next(iter(arrays.values()))), task) for task, arrays in parts.items()])
    order = np.lexsort((tasks, turns))
    together = {name: _joined([arrays[name] for arrays in parts.values()], name, where) for name in first}
    return {name: array[order] for name, array in (together | {"task": tasks}).items()}


def _joined(arrays: list[np.ndarray], name: str, where: Path) -> np.ndarray:
    if name == "video":
        channels = max(array.shape[2] for array in arrays)
        arrays = [np.repeat(a, channels, 2) if a.shape[2] == 1 else a for a in arrays]
    elif arrays[0].ndim > 1:
        widest = max(array.shape[-1] for array in arrays)
        arrays = [np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, widest - a.shape[-1])]) for a in arrays]
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        raise UserError(f"{where}: expected {name!r} of one shape for every task, got {sorted(shapes)}")
    return np.concatenate(arrays)
