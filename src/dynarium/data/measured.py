"""Measured inputs and outputs of a user's own system into a dataset: MATLAB files, tables and archives.

What these files hold is named ``u`` and ``y`` and lies in several ways; everything becomes ``action`` and ``observation``
[sequences, steps, channels].
"""

import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from dynarium.data.dataset import Dataset
from dynarium.data.schema import SPLITS
from dynarium.data.signal_files import Signals, number_of, read_signals
from dynarium.data.writer import write_arrays
from dynarium.errors import UserError

Layout = Literal["channels", "experiments"]
"""What the columns of arrays [steps, columns] are."""
INPUTS, OUTPUTS = ("u", "batch_u", "input", "inputs"), ("y", "batch_y", "output", "outputs")
_TIMES, _PERIODS = ("t", "time"), ("ts", "dt", "sampling_time")


def import_measured(
    file: Path | str,
    out: Path | str,
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    layout: Layout = "channels",
    steps: int | None = None,
    most: int | None = None,
    dt: float | None = None,
    split: str | None = None,
    force: bool = False,
) -> Dataset:
    """Import a ``.mat``, ``.csv`` or ``.npz`` file with inputs u and outputs y.

    Arrays may be [steps], [steps, channels], [channels, steps] (the longer axis is time) or [sequences, steps, channels]; a
    middle axis of length 1 is the channel, as in MATLAB's [steps, channels, experiments]. Each cell of a cell array is a
    sequence. A field of a structure is named ``est.u``, or ``u`` where no other structure has one. A table has one column a
    channel and a header; channels are the columns ``u``, ``u1``, ``u2``, ... and ``y``, ``y1``, ..., or the named ones.

    Args:
        file: The file.
        out: Directory of the new dataset.
        inputs: Names of the input arrays or columns, each one or more channels; default ``u`` and the like.
        outputs: Names of the output arrays or columns; default ``y`` and the like.
        layout: What the columns of arrays are. "experiments": those of one channel, [steps, experiments] or [experiments,
            steps], or in three dimensions [steps, channels, experiments]; the longer outer axis is time.
        steps: Cut each record into sequences of so many steps; what is left over is dropped, and pieces in which a signal is
            constant, if not all are such. ``None``: whole records.
        most: Cut only records that are longer than this, into sequences of so many steps.
        dt: Sampling time; default: what the file says (``Ts``, or the column or array ``t`` of even steps), else 1.
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
    if layout not in get_args(Layout):
        raise UserError(f"layout: expected one of {', '.join(get_args(Layout))}, got {layout!r}")
    if layout == "experiments" and file.suffix.lower() == ".csv":
        raise UserError(f"layout: {file} is a table, whose columns are channels; experiments may be in arrays")
    if steps is not None and steps < 2:
        raise UserError(f"steps: expected at least 2, got {steps}")
    signals = read_signals(file)
    u_wanted = _wanted(signals, inputs, INPUTS, "inputs")
    y_wanted = _wanted(signals, outputs, OUTPUTS, "outputs", u_wanted[0])
    _check_distinct(u_wanted, y_wanted)
    (u, u_names), (y, y_names) = (_signal(signals, names, layout) for names in (u_wanted, y_wanted))
    _check_alike(file, {", ".join(u_names): u, ", ".join(y_names): y})
    steps = most if steps is None and most is not None and u.shape[1] > most else steps
    if steps is not None:
        if steps > u.shape[1]:
            raise UserError(f"steps: expected at most the {u.shape[1]} steps of {file}, got {steps}")
        u, y = (_cut(x, steps) for x in (u, y))
    _check_finite(file, u, u_names)
    _check_finite(file, y, y_names)
    source = f"import of {file.name}"
    resting = np.concatenate([_still(u), _still(y)], axis=1).max(axis=1)
    if steps is not None and 0 < resting.sum() < len(u):
        u, y = u[~resting], y[~resting]
        left_out = f"{resting.sum()} of {len(resting)} pieces of {steps} steps, in which a signal is constant"
        print(f"{file}: left out {left_out}", file=sys.stderr, flush=True)
        source += f", without {left_out}"
    _check_moving(file, u, u_names)
    _check_moving(file, y, y_names)
    write_arrays(
        out,
        {split: {"action": u, "observation": y}},
        dt=_period(signals, u_wanted[0], layout) if dt is None else dt,
        names={"action": u_names, "observation": y_names},
        source=source,
        force=force,
    )
    return Dataset(out)


def holds_signals(file: Path) -> bool:
    """Return whether a file is one of inputs and outputs: a kind that holds nothing else, or arrays named u and y."""
    if file.suffix.lower() in (".mat", ".csv"):
        return True
    if file.suffix.lower() != ".npz" or not file.is_file():
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            names = {name.removesuffix(".npy").lower() for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return False
    has = [any(name in known or number_of(name, known[0]) is not None for name in names) for known in (INPUTS, OUTPUTS)]
    return all(has) and not names & {"images", "image", "video"}


def _wanted(signals: Signals, names: Sequence[str], known: Sequence[str], option: str, beside: str = "") -> list[str]:
    """Return the names of the arrays of inputs, or of the outputs beside them."""
    if names:
        return signals.chosen(names, option)
    found = signals.known(known, option, beside) or signals.numbered(known[0], option, beside)
    if not found:
        held = ", ".join(signals.arrays) or "nothing"
        raise UserError(
            f"{signals.file}: no array named {', '.join(known)}; name one by {option}; the file holds {held}"
        )
    return found


def _check_distinct(inputs: Sequence[str], outputs: Sequence[str]) -> None:
    for option, names in (("inputs", inputs), ("outputs", outputs)):
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"{option}: expected every signal once, got {twice[0]!r} {names.count(twice[0])} times")
    if both := [name for name in inputs if name in outputs]:
        raise UserError(f"inputs, outputs: expected different signals, got {both[0]!r} as both")


def _check_alike(file: Path, signals: Mapping[str, np.ndarray]) -> None:
    """Raise a UserError unless signals [sequences, steps, channels] have as many sequences and steps."""
    for axis, what in enumerate(("sequences", "steps")):
        counts = [f"{signal.shape[axis]} of {names}" for names, signal in signals.items()]
        if len({signal.shape[axis] for signal in signals.values()}) > 1:
            got = " and ".join(counts).replace(" of", f" {what} of", 1)
            raise UserError(f"{file}: inputs and outputs must be of equal length, got {got}")


def _signal(signals: Signals, wanted: Sequence[str], layout: Layout) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return a signal [sequences, steps, channels] and the names of its channels."""
    parts = [_laid_out(signals.file, name, signals.take(name), layout) for name in wanted]
    _check_alike(signals.file, dict(zip(wanted, parts, strict=True)))
    names = [
        name if part.shape[2] == 1 else f"{name}{k + 1}"
        for name, part in zip(wanted, parts, strict=True)
        for k in range(part.shape[2])
    ]
    return np.concatenate(parts, 2), tuple(names)


def _laid_out(file: Path, name: str, array: np.ndarray | tuple[np.ndarray, ...], layout: Layout) -> np.ndarray:
    """Return an array as [sequences, steps, channels]; each cell of a cell array is a sequence."""
    if isinstance(array, tuple):
        parts = [_laid_out(file, name, cell, "channels") for cell in array]
        for axis, what in ((1, "steps"), (2, "channels")):
            counts = dict.fromkeys(str(part.shape[axis]) for part in parts)
            if len(counts) > 1:
                raise UserError(f"{file}: {name!r}: expected cells with equally many {what}, got {', '.join(counts)}")
        return np.concatenate(parts)
    if array.dtype.kind not in "buif" or array.size == 0:
        raise UserError(f"{file}: {name!r}: expected numbers, got {array.dtype} of shape {array.shape}")
    if array.ndim > 3:
        raise UserError(f"{file}: {name!r}: expected at most 3 dimensions, got shape {array.shape}")
    array = array.astype(np.float64)
    if array.ndim < 2:
        return array.reshape(1, -1, 1)
    if array.ndim == 3 and layout == "channels" and array.shape[1] > 1:
        return array
    if array.shape[0] < array.shape[-1]:
        array = array.swapaxes(0, -1)  # the longer axis is time
    if array.ndim == 3:
        return array.transpose(2, 0, 1)
    return array[None] if layout == "channels" else array.T[..., None]


def _cut(x: np.ndarray, steps: int) -> np.ndarray:
    """Return the whole pieces of so many steps, as sequences."""
    pieces = x.shape[1] // steps
    return x[:, : pieces * steps].reshape(len(x) * pieces, steps, x.shape[2])


def _still(x: np.ndarray) -> np.ndarray:
    """Return which channels of which sequences are constant."""
    return np.ptp(x, axis=1) == 0


def _check_finite(file: Path, x: np.ndarray, names: Sequence[str]) -> None:
    for k, name in enumerate(names):
        if len(bad := np.argwhere(~np.isfinite(x[:, :, k]))):
            sequence, step = bad[0]
            raise UserError(f"{file}: {name!r} holds NaN or infinity, first at step {step} of sequence {sequence}")


def _check_moving(file: Path, x: np.ndarray, names: Sequence[str]) -> None:
    for name, still in zip(names, _still(x).T, strict=True):
        if still.any():
            raise UserError(
                f"{file}: {name!r} is constant over sequence {int(still.argmax())}, so that nothing can be identified"
            )


def _period(signals: Signals, beside: str, layout: Layout) -> float:
    """Return the sampling time that a file states beside its inputs, or 1.

    Raises:
        UserError: It is no positive number, or the times are not evenly spaced.
    """
    file = signals.file
    for name in signals.known(_PERIODS, "dt", beside):
        period = float(_laid_out(file, name, signals.take(name), layout).flat[0])
        if not 0 < period < float("inf"):
            raise UserError(f"{file}: {name!r}: expected a positive sampling time, got {period:g}; dt replaces it")
        return period
    for name in signals.known(_TIMES, "dt", beside):
        times = _laid_out(file, name, signals.take(name), layout)
        _check_finite(file, times[..., :1], (name,))
        if times.shape[1] > 1:
            jumps = np.diff(times[..., 0], axis=1)
            usual = float(np.median(jumps))
            if len(uneven := np.argwhere((jumps <= 0) | (jumps > 1.5 * usual))):
                sequence, k = uneven[0]
                raise UserError(
                    f"{file}: {name!r}: expected even steps, most are {usual:g}, got {jumps[sequence, k]:g} after row "
                    f"{signals.rows[k] if signals.rows else k + 1}; dt takes the rows as evenly spaced"
                )
            return usual
    return 1.0
