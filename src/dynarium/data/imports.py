"""Foreign files into datasets: the ``.npz`` layouts of the field, HDF5, a folder of one file a split, videos, TFRecords."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dynarium.data import bair, videos
from dynarium.data.dataset import Dataset
from dynarium.data.hdf5 import h5py_for
from dynarium.data.original import dealt, task_folders
from dynarium.data.schema import SPLITS, STEPPED
from dynarium.data.streamed import write_sequences
from dynarium.data.writer import prepared, write_arrays
from dynarium.errors import UserError

ALIASES = {
    "video": ("video", "images", "image", "frames", "videos", "x", "sequences"),
    "state": ("state", "states", "latents", "xt"),
    "action": ("action", "actions", "controls", "control", "u"),
    "observation": ("observation", "observations", "y"),
    "task": ("task", "label", "labels"),
    "length": ("length", "lengths"),
    "mask": ("mask", "masks"),
    "parameter": ("parameter", "parameters", "params"),
}
"""Field -> the names that files of the field give it."""

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}

LONE_CHANNELS = (1, 3)
"""Lengths of the second of four axes by which an ``.npy`` file is one video, where the last are no channels."""


def import_file(
    file: Path | str,
    out: Path | str,
    *,
    split: str | None = None,
    fractions: Mapping[str, float] | None = None,
    binarize: bool = False,
    state_ahead: int = 0,
    time_first: bool = False,
    clip: int | None = None,
    size: int | None = None,
    channels: Literal[1, 3] | None = None,
    dt: float = 1.0,
    seed: int = 0,
    force: bool = False,
) -> Dataset:
    """Import ``images/state`` or ``image/state/label`` archives (4-D or 5-D), or a folder with ``train.npz``, ``val.npz``, ...

    A folder of such folders, ``dataset_0``, ``dataset_1``, ... (or ``grav_0``, ``mixed_0``, ...), becomes one dataset, its
    sequences dealt out in turn; ``task`` is the number of the folder, whatever the labels in the files.

    An ``.npy`` file that is alone, or one for each split, holds one video if it is [t, h, w], [t, h, w, c] with 1 to 4 channels
    or [t, c, h, w] with 1 or 3 (so that n sequences of 1 or 3 grey frames must come as [n, t, 1, h, w]); else it holds
    sequences [n, t, h, w] or [n, t, c, h, w].

    Folders of frames, GIFs, a ``.npy`` for each video, and KTH are read by :func:`dynarium.data.videos.video_sequences`; the
    TFRecords of BAIR by :func:`dynarium.data.bair.bair_sequences`: a part at a time, so that they need not fit into memory.

    Args:
        file: An ``.npz``, ``.npy`` or ``.h5`` file, or a folder that holds one of them for each split, or such folders; a GIF,
            or a folder of videos; a ``.tfrecords`` file, or a folder with some.
        out: Directory of the new dataset.
        split: Put the whole file into this split; default: cut at random by ``fractions``.
        fractions: Share of each split; default 80 % train, 10 % val, 10 % test.
        binarize: Frames become 0 or 255 by ``frame > 0`` (the bouncing-ball files hold shades of one drawing).
        state_ahead: Steps by which the file's states run ahead of its frames (1 in the original bouncing-ball files);
            the first frames and last states without a partner are dropped.
        time_first: Arrays are [t, n, ...], as in the published test file of Moving MNIST.
        clip: Cut videos into clips of so many frames; default: whole ones, padded to the longest (KTH: 40).
        size: Bring the frames of videos to so many pixels in height and width; default: as they are.
        channels: 1 makes videos grey, 3 gives them three channels; default: as they are. Two or four stay two or four.
        dt: Time between frames.
        seed: Seed of the random split.
        force: Replace an existing dataset.

    Raises:
        UserError: The file is missing, damaged or holds no known array; or ``out`` exists.
    """
    file = Path(file)
    if state_ahead < 0:
        raise UserError(f"state_ahead: expected 0 or more steps, got {state_ahead}")
    if split is not None and split not in SPLITS:
        raise UserError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    if not file.exists():
        raise UserError(f"{file}: no such file")
    source, shares = f"import of {file.name}", dict(fractions or FRACTIONS)
    records = _has(file, bair.SUFFIXES)
    asked = (clip, size, channels) != (None, None, None)
    filmed = not records and (_filmed(file) or (asked and _one_video(file)))
    if (records or filmed) and (binarize or state_ahead or time_first):
        raise UserError(f"{file}: binarize, state_ahead and time_first are for arrays")
    if asked and not filmed:
        raise UserError(
            f"{file}: clip, size and channels are for folders of frames, GIFs and .npy files of one video each"
        )
    if records:
        return write_sequences(out, bair.bair_sequences(file, split), source=source, dt=dt, force=force)
    if filmed:
        look = videos.Look(size=size, channels=channels)
        found = videos.video_sequences(file, split=split, fractions=shares, seed=seed, clip=clip, look=look)
        return write_sequences(out, found, source=source, dt=dt, force=force)
    if _has(file, (".t7",)):
        raise UserError(f"{file}: .t7 files are Torch7's, which is dead; give the folder of frames that they list")
    if file.is_dir():
        if time_first:
            raise UserError(f"{file}: time_first is for a single file")
        splits = _folder(file, binarize, state_ahead)
    else:
        fields = _fields(file, binarize, state_ahead, time_first)
        splits = {split: fields} if split else _cut(fields, shares, seed)
    write_arrays(out, splits, dt=dt, source=source, force=force)
    return Dataset(out)


def _has(place: Path, suffixes: tuple[str, ...]) -> bool:
    """Return whether this is such a file or a folder that holds some, at any depth."""
    files = place.rglob("*") if place.is_dir() else [place]
    return any(file.suffix.lower() in suffixes for file in files)


def _filmed(place: Path) -> bool:
    """Return whether this is a GIF or a folder of videos, rather than one of a file for each split."""
    if not place.is_dir():
        return place.suffix.lower() == ".gif"
    one_a_split = any(_files(folder) for folder in (place, *(path for path in place.iterdir() if path.is_dir())))
    return not one_a_split and _has(place, (*videos.FRAMES, *videos.WHOLE))


def _one_video(file: Path) -> bool:
    """Return whether this is an ``.npy`` file that holds one video rather than sequences."""
    return file.suffix == ".npy" and videos.channels_last(read_arrays(file)["video"], LONE_CHANNELS) is not None


def _folder(folder: Path, binarize: bool, state_ahead: int) -> dict[str, dict[str, np.ndarray]]:
    """Read a folder of one file a split, or of such folders, one for each task."""
    if files := _files(folder):
        return {split: _fields(path, binarize, state_ahead) for split, path in files.items()}
    tasks = {task: (path, _files(path)) for task, path in task_folders(folder).items()}
    tasks = {task: found for task, found in tasks.items() if found[1]}
    if not tasks:
        raise UserError(
            f"{folder}: expected train.npz, val.npz or test.npz in this folder, or in dataset_0, dataset_1, ..."
        )
    wanted = list(next(iter(tasks.values()))[1])
    for path, files in tasks.values():
        if list(files) != wanted:
            raise UserError(
                f"{path}: expected the splits {', '.join(wanted)} as for the other tasks, got {', '.join(files)}"
            )
    return {
        split: dealt(
            {
                task: prepared(_fields(files[split], binarize, state_ahead), str(files[split]))
                for task, (_, files) in tasks.items()
            },
            folder,
        )
        for split in wanted
    }


def _files(folder: Path) -> dict[str, Path]:
    return {split: path for split in SPLITS for path in sorted(folder.glob(f"{split}.*")) if path.suffix in READERS}


def _fields(path: Path, binarize: bool, state_ahead: int, time_first: bool = False) -> dict[str, np.ndarray]:
    arrays = read_arrays(path)
    if "sequences" in arrays and "latents" in arrays:  # the test sets of Moving MNIST by the authors of SRVP
        time_first, arrays["digit"] = True, arrays.pop("labels", np.zeros(0))
        arrays["latents"] = arrays["latents"].reshape(*arrays["latents"].shape[:2], -1)
    fields = videos.kth_labels(arrays)
    fields |= {"digit": arrays["digit"]} if arrays.get("digit", np.zeros(0)).size else {}
    for name, aliases in ALIASES.items():
        for alias in aliases:
            if alias in arrays and name not in fields and arrays[alias].dtype.kind in "buif":  # words are no field
                fields[name] = arrays[alias]
    if not fields.keys() & {"video", "state", "observation"}:
        wanted = f"an array of numbers named like {', '.join(ALIASES['video'][:3])} or state"
        raise UserError(f"{path}: expected {wanted}; it holds {list(arrays)}")
    if time_first:
        fields = {k: array.swapaxes(0, 1) if k in STEPPED and array.ndim > 1 else array for k, array in fields.items()}
    if binarize and "video" in fields:
        fields["video"] = (fields["video"] > 0).astype(np.uint8) * 255
    one = videos.channels_last(fields["video"], LONE_CHANNELS) if path.suffix == ".npy" and not time_first else None
    if one is not None:
        fields["video"] = np.moveaxis(one, 3, 1)[None]
    elif "video" in fields and fields["video"].ndim == 3:  # one long sequence of frames
        fields["video"] = fields["video"][None]
    counts = {name: len(array) if array.ndim else "a single number" for name, array in fields.items()}
    if len(set(counts.values())) > 1 or not all(type(n) is int and n for n in counts.values()):
        raise UserError(f"{path}: expected as many sequences in every array, and at least one, got {counts}")
    steps = {name: array.shape[1] for name, array in fields.items() if name in STEPPED and array.ndim > 1}
    if 0 in steps.values():
        raise UserError(f"{path}: expected at least one step, got {steps}")
    if state_ahead >= min(steps.values(), default=state_ahead + 1):
        raise UserError(f"state_ahead: expected fewer steps than the sequences have, got {state_ahead} of {steps}")
    if state_ahead:
        later, earlier = slice(state_ahead, None), slice(None, -state_ahead)
        partners = {"video": later, "action": later, "state": earlier}
        fields = {k: array[:, partners[k]] if k in partners else array for k, array in fields.items()}
    for name in ("task", "length"):
        if name in fields:
            fields[name] = fields[name].reshape(len(fields[name]), -1)[:, 0].astype(np.int64)
    return fields


def _cut(fields: dict[str, np.ndarray], fractions: dict[str, float], seed: int) -> dict[str, dict[str, np.ndarray]]:
    if abs(sum(fractions.values()) - 1) > 1e-6 or min(fractions.values()) < 0:
        raise UserError(f"fractions: expected shares that add up to 1, got {fractions}")
    n = len(next(iter(fields.values())))
    order = np.random.default_rng(seed).permutation(n)
    bounds = np.rint(np.cumsum([0.0, *fractions.values()]) * n).astype(int)
    cut = {}
    for split, low, high in zip(fractions, bounds[:-1], bounds[1:], strict=True):
        if low < high:
            cut[split] = {name: array[np.sort(order[low:high])] for name, array in fields.items()}
    return cut


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    arrays = {}
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        for name in archive.files:
            try:
                arrays[name] = archive[name]
            except ValueError:  # an object array: a stored None is nothing, but a list of unequal frames is data
                if _shape_in(archive, name):
                    raise UserError(f"{path}: {name!r} is an array of objects; expected numbers of one shape") from None
    return arrays


def _shape_in(archive: Any, name: str) -> tuple[int, ...]:
    """Return the shape of an array of an archive that cannot be read, from its header."""
    with archive.zip.open(f"{name}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(stream)[0]


def read_hdf5(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays at the top of an HDF5 file.

    Raises:
        UserError: The package for it is not installed.
    """
    h5py = h5py_for("reading")
    with h5py.File(path) as archive:
        return {name: np.asarray(value) for name, value in archive.items() if isinstance(value, h5py.Dataset)}


READERS = {
    ".npz": _read_npz,
    ".npy": lambda path: {"video": np.load(path, allow_pickle=False)},
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
}


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a file.

    Raises:
        UserError: The file is missing, of an unknown kind, or damaged.
    """
    if path.suffix not in READERS:
        raise UserError(f"{path}: expected one of {', '.join(READERS)}, got {path.suffix or 'no suffix'}")
    try:
        return READERS[path.suffix](path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged or not a {path.suffix} file ({' '.join(str(error).split())})") from None
