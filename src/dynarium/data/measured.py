"""Measured inputs and outputs of a user's own system into a dataset: MATLAB files, tables and archives.

What these files hold is named ``u`` and ``y`` and lies in several ways; everything becomes ``action`` and ``observation``
[sequences, steps, channels].
"""

import csv
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dynarium.data.dataset import Dataset
from dynarium.data.schema import SPLITS
from dynarium.data.writer import write_arrays
from dynarium.errors import UserError

INPUTS, OUTPUTS = ("u", "batch_u", "input", "inputs"), ("y", "batch_y", "output", "outputs")
_TIMES, _PERIODS = ("t", "time"), ("ts", "dt", "sampling_time")
_SUFFIXES = (".mat", ".csv", ".npz")


def import_measured(
    file: Path | str,
    out: Path | str,
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    steps: int | None = None,
    most: int | None = None,
    dt: float | None = None,
    split: str | None = None,
    force: bool = False,
) -> Dataset:
    """Import a ``.mat``, ``.csv`` or ``.npz`` file with inputs u and outputs y.

    Arrays may be [steps], [steps, channels], [channels, steps] (the longer axis is time) or [sequences, steps, channels]. A
    table has one column a channel and a header; channels are the columns ``u``, ``u1``, ``u2``, ... and ``y``, ``y1``, ...,
    or the named ones.

    Args:
        file: The file.
        out: Directory of the new dataset.
        inputs: Names of the input arrays or columns, each one or more channels; default ``u`` and the like.
        outputs: Names of the output arrays or columns; default ``y`` and the like.
        steps: Cut each record into sequences of so many steps; what is left over is dropped. ``None``: whole records.
        most: Cut only records that are longer than this, into sequences of so many steps.
        dt: Sampling time; default: what the file says (``Ts``, or the column or array ``t``), else 1.
        split: Where the sequences go; default ``test``.
        force: Replace an existing dataset.

    Raises:
        UserError: The file is missing, damaged or lacks a signal; inputs and outputs differ in length; a signal is constant
            or holds NaN; or ``out`` exists.
    """
    file = Path(file)
    split = "test" if split is None else split
    if split not in SPLITS:
        raise UserError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    if steps is not None and steps < 2:
        raise UserError(f"steps: expected at least 2, got {steps}")
    arrays = read_signals(file)
    signals = {
        field: _signal(file, arrays, field, wanted, known)
        for field, wanted, known in (("action", inputs, INPUTS), ("observation", outputs, OUTPUTS))
    }
    (u, u_names), (y, y_names) = signals["action"], signals["observation"]
    if u.shape[:2] != y.shape[:2]:
        what = "sequences" if len(u) != len(y) else "steps"
        axis = 0 if len(u) != len(y) else 1
        raise UserError(
            f"{file}: inputs and outputs must be of equal length, got {u.shape[axis]} {what} of "
            f"{', '.join(u_names)} and {y.shape[axis]} of {', '.join(y_names)}"
        )
    steps = most if steps is None and most is not None and u.shape[1] > most else steps
    if steps is not None:
        if steps > u.shape[1]:
            raise UserError(f"steps: expected at most the {u.shape[1]} steps of {file}, got {steps}")
        u, y = (_cut(x, steps) for x in (u, y))
    for x, names in ((u, u_names), (y, y_names)):
        _check(file, x, names)
    write_arrays(
        out,
        {split: {"action": u, "observation": y}},
        dt=_period(arrays) if dt is None else dt,
        names={"action": u_names, "observation": y_names},
        source=f"import of {file.name}",
        force=force,
    )
    return Dataset(out)


def read_signals(file: Path) -> dict[str, np.ndarray]:
    """Return the numeric arrays of a file by name; the columns of a table.

    Raises:
        UserError: The file is missing, of an unknown kind, or damaged.
    """
    readers = {".mat": _read_mat, ".csv": _read_csv, ".npz": _read_npz}
    if file.suffix not in readers:
        raise UserError(f"{file}: expected one of {', '.join(_SUFFIXES)}, got {file.suffix or 'no suffix'}")
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    try:
        return readers[file.suffix](file)
    except UserError:
        raise
    except Exception as error:  # what the readers raise on damaged files is not a closed list
        raise UserError(f"{file}: damaged or not a {file.suffix} file ({' '.join(str(error).split())})") from None


def holds_signals(file: Path) -> bool:
    """Return whether a file is one of inputs and outputs: a kind that holds nothing else, or arrays named u and y."""
    if file.suffix in (".mat", ".csv"):
        return True
    if file.suffix != ".npz" or not file.is_file():
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            names = {name.removesuffix(".npy").lower() for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return False
    return bool(names & set(INPUTS)) and bool(names & set(OUTPUTS)) and not names & {"images", "image", "video"}


def _read_mat(file: Path) -> dict[str, np.ndarray]:
    """Read a MATLAB file of version 4 to 7.2, or of 7.3 (HDF5); the fields of a structure count as arrays of the file."""
    from scipy.io import loadmat

    try:
        content = loadmat(file)  # not simplified: an axis of length 1 is an axis
    except NotImplementedError:  # version 7.3
        from dynarium.data.imports import read_hdf5

        return {name: array.T for name, array in read_hdf5(file).items()}  # column-major
    arrays: dict[str, np.ndarray] = {}
    for name, value in content.items():
        if name.startswith("__"):
            continue
        fields = value.dtype.names if isinstance(value, np.ndarray) and value.size == 1 else None
        parts = {key: value.flat[0][key] for key in fields} if fields else {name: value}
        arrays |= {key: np.asarray(part) for key, part in parts.items() if np.asarray(part).dtype.kind in "buif"}
    return arrays


def _read_npz(file: Path) -> dict[str, np.ndarray]:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _read_csv(file: Path) -> dict[str, np.ndarray]:
    """Read a table with a header, separated by commas, semicolons or tabs; an empty cell is NaN."""
    with file.open(newline="", encoding="utf-8-sig") as stream:
        first = stream.readline()
        stream.seek(0)
        delimiter = max(",;\t", key=first.count)
        rows = [row for row in csv.reader(stream, delimiter=delimiter) if any(cell.strip() for cell in row)]
    if len(rows) < 2:
        raise UserError(f"{file}: expected a header and rows of numbers, got {len(rows)} lines")
    header = [cell.strip() for cell in rows[0]]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise UserError(f"{file}: row {number} has {len(row)} cells, the header {len(header)}")
    columns = {}
    for k, name in enumerate(header):
        try:
            columns[name] = np.array([float(row[k].strip() or "nan") for row in rows[1:]])
        except ValueError:
            continue  # a column of words
    return columns


def _signal(
    file: Path, arrays: Mapping[str, np.ndarray], field: str, wanted: Sequence[str], known: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return a signal [sequences, steps, channels] and the names of its channels."""
    if not wanted:
        by_case = {name.lower(): name for name in arrays}
        wanted = next(([by_case[name]] for name in known if name in by_case), [])
        numbered = [n for n in arrays if n[:1].lower() == known[0] and n[1:].lstrip("_").isdecimal()]
        wanted = wanted or sorted(numbered, key=lambda n: int(n[1:].lstrip("_")))
    option = "inputs" if field == "action" else "outputs"
    held = ", ".join(arrays) or "nothing"
    if not wanted:
        raise UserError(f"{file}: no array named {', '.join(known)}; name one by {option}; the file holds {held}")
    if missing := [name for name in wanted if name not in arrays]:
        raise UserError(f"{option}: {file} has no {', '.join(map(repr, missing))}; it holds {held}")
    parts = [_laid_out(file, name, arrays[name]) for name in wanted]
    if len({part.shape[:2] for part in parts}) > 1:
        lengths = ", ".join(f"{name} {part.shape[1]}" for name, part in zip(wanted, parts, strict=True))
        raise UserError(f"{file}: expected {option} of equal length, got {lengths} steps")
    names = [
        name if part.shape[2] == 1 else f"{name}{k + 1}"
        for name, part in zip(wanted, parts, strict=True)
        for k in range(part.shape[2])
    ]
    return np.concatenate(parts, 2), tuple(names)


def _laid_out(file: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Return an array as [sequences, steps, channels]."""
    if array.dtype.kind not in "buif" or array.size == 0:
        raise UserError(f"{file}: {name!r}: expected numbers, got {array.dtype} of shape {array.shape}")
    array = array.astype(np.float64)
    if array.ndim == 1:
        return array[None, :, None]
    if array.ndim == 2:
        return (array if array.shape[0] >= array.shape[1] else array.T)[None]
    if array.ndim == 3:
        return array
    raise UserError(f"{file}: {name!r}: expected 1 to 3 dimensions, got shape {array.shape}")


def _cut(x: np.ndarray, steps: int) -> np.ndarray:
    """Return the whole pieces of so many steps, as sequences."""
    pieces = x.shape[1] // steps
    return x[:, : pieces * steps].reshape(len(x) * pieces, steps, x.shape[2])


def _check(file: Path, x: np.ndarray, names: Sequence[str]) -> None:
    for k, name in enumerate(names):
        channel = x[:, :, k]
        if not np.isfinite(channel).all():
            sequence, step = np.argwhere(~np.isfinite(channel))[0]
            raise UserError(f"{file}: {name!r} holds NaN or infinity, first at step {step} of sequence {sequence}")
        if (still := np.ptp(channel, axis=1) == 0).any():
            raise UserError(
                f"{file}: {name!r} is constant over sequence {int(still.argmax())}, so that nothing can be identified"
            )


def _period(arrays: Mapping[str, np.ndarray]) -> float:
    """Return the sampling time that a file states, or 1."""
    by_case = {name.lower(): array for name, array in arrays.items()}
    for name in _PERIODS:
        if name in by_case and by_case[name].size:
            return float(by_case[name].flat[0])
    for name in _TIMES:
        if name in by_case and by_case[name].size > 1:
            return float(np.median(np.diff(by_case[name].ravel())))
    return 1.0
