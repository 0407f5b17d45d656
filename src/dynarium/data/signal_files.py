"""Files of inputs and outputs: what MATLAB files, tables and archives hold, by name.

A field of a structure goes by its path, ``est.u``. What a file cannot give is said when it is asked for: a garbled column that
nobody wants is no obstacle.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dynarium.data.hdf5 import h5py_for
from dynarium.errors import UserError

Held = np.ndarray | tuple[np.ndarray, ...] | str
"""An array; the arrays of a cell array; or why a column cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Signals:
    """What a file holds.

    Attributes:
        file: The file.
        arrays: What it holds by name.
        rows: Rows of a table in which its numbers stand, as an editor counts them.
    """

    file: Path
    arrays: Mapping[str, Held]
    rows: tuple[int, ...] = ()

    def take(self, name: str) -> np.ndarray | tuple[np.ndarray, ...]:
        """Return an array, or those of a cell array.

        Raises:
            UserError: It cannot be read.
        """
        found = self.arrays[name]
        if isinstance(found, str):
            raise UserError(f"{self.file}: {found}")
        return found

    def chosen(self, names: Sequence[str], option: str) -> list[str]:
        """Return the full names of arrays: a field that only one structure has also goes by its own name.

        Raises:
            UserError: There is none by a name, or several.
        """
        found = [[name] if name in self.arrays else self._called(name) for name in names]
        if missing := [name for name, full in zip(names, found, strict=True) if not full]:
            held = ", ".join(self.arrays) or "nothing"
            raise UserError(f"{option}: {self.file} has no {', '.join(map(repr, missing))}; it holds {held}")
        return [self._only(full, option) for full in found]

    def known(self, words: Sequence[str], option: str, beside: str = "") -> list[str]:
        """Return the array that goes by the first of these words that any goes by, in any case; or nothing.

        Of several structures that which holds the array ``beside`` counts, or else the file itself.

        Raises:
            UserError: Several structures have it.
        """
        for word in words:
            if found := self._called(word, any_case=True):
                return [self._only(found, option, word, beside)]
        return []

    def numbered(self, letter: str, option: str, beside: str = "") -> list[str]:
        """Return the arrays ``u1``, ``u2``, ... of a letter, in this order; of several structures as ``known``.

        Raises:
            UserError: Several structures have one of them.
        """
        found: dict[int, list[str]] = {}
        for name in self.arrays:
            if (number := number_of(_own(name), letter)) is not None:
                found.setdefault(number, []).append(name)
        return [self._only(found[number], option, beside=beside) for number in sorted(found)]

    def _called(self, word: str, *, any_case: bool = False) -> list[str]:
        return [name for name in self.arrays if (_own(name).lower() if any_case else _own(name)) == word]

    def _only(self, names: list[str], option: str, word: str = "", beside: str = "") -> str:
        places = beside.rpartition(".")[0], ""
        near, outside = ([name for name in names if name.rpartition(".")[0] == place] for place in places)
        for few in (names, near, [name for name in near if _own(name) == word], outside):
            if len(few) == 1:
                return few[0]
        raise UserError(f"{self.file}: holds {' and '.join(names)}; choose by {option}")


def _own(name: str) -> str:
    """Return the name of a field without that of its structure."""
    return name.rpartition(".")[2]


def number_of(name: str, letter: str) -> int | None:
    """Return k of the names ``u<k>`` and ``u_<k>``, in any case."""
    rest = name[1:].removeprefix("_")
    return int(rest) if name[:1].lower() == letter and rest.isdecimal() else None


def read_signals(file: Path) -> Signals:
    """Return what a file holds.

    Raises:
        UserError: The file is missing, of an unknown kind, or damaged.
    """
    readers = {".mat": _read_mat, ".csv": _read_csv, ".npz": _read_npz}
    suffix = file.suffix.lower()
    if suffix not in readers:
        raise UserError(f"{file}: expected one of {', '.join(readers)}, got {file.suffix or 'no suffix'}")
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    try:
        return readers[suffix](file)
    except UserError:
        raise
    except Exception as error:  # what the readers raise on damaged files is not a closed list
        raise UserError(f"{file}: damaged or not a {suffix} file ({' '.join(str(error).split())})") from None


def _read_npz(file: Path) -> Signals:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        return Signals(file=file, arrays={name: archive[name] for name in archive.files})


def _read_mat(file: Path) -> Signals:
    """Read a MATLAB file of version 4 to 7.2, or of 7.3 (HDF5)."""
    from scipy.io import loadmat

    try:
        content = loadmat(file)  # not simplified: an axis of length 1 is an axis
    except NotImplementedError:  # version 7.3
        return Signals(file=file, arrays=dict(_hdf5_parts(file)))
    parts = [part for name, value in content.items() if not name.startswith("__") for part in _parts(name, value)]
    return Signals(file=file, arrays=dict(parts))


def _parts(name: str, value: Any) -> Iterator[tuple[str, Held]]:
    """Yield the arrays and cell arrays inside a value; fields of an array of structures are cell arrays."""
    from scipy.io.matlab import MatlabOpaque

    if not isinstance(value, np.ndarray) or isinstance(value, MatlabOpaque) or not value.size:
        return
    if fields := value.dtype.names:
        for field in fields:
            yield from _parts(f"{name}.{field}", value.flat[0][field] if value.size == 1 else value[field])
    elif value.dtype == object and value.size == 1:
        yield from _parts(name, value.flat[0])
    elif value.dtype == object:
        cells = tuple(map(np.asarray, value.flat))
        if all(_is_numeric(cell) for cell in cells):
            yield name, cells
    elif _is_numeric(value):
        yield name, value


def _hdf5_parts(file: Path) -> Iterator[tuple[str, Held]]:
    """Yield the arrays and cell arrays of a MATLAB file of version 7.3, where structures are groups."""
    h5py = h5py_for("reading")

    def array_of(value: Any) -> np.ndarray:
        """Return an array; nothing of words, of groups and of what MATLAB marks as empty."""
        is_array = isinstance(value, h5py.Dataset) and "MATLAB_empty" not in value.attrs
        return (
            np.asarray(value).T
            if is_array and value.attrs.get("MATLAB_class") not in (b"char", "char")
            else np.zeros(0)
        )

    def inside(group: Any, path: str) -> Iterator[tuple[str, Held]]:
        for name, value in group.items():
            if name.startswith("#"):  # what cells refer to
                continue
            if isinstance(value, h5py.Group):
                yield from inside(value, f"{path}{name}.")
            elif value.dtype == h5py.ref_dtype:
                cells = tuple(array_of(archive[reference]) for reference in value[()].T.flat)
                if all(_is_numeric(cell) for cell in cells):
                    yield path + name, cells
            elif _is_numeric(array := array_of(value)):
                yield path + name, array

    with h5py.File(file) as archive:
        yield from inside(archive, "")


def _is_numeric(array: np.ndarray) -> bool:
    return array.dtype.kind in "buif" and array.size > 0


def _read_csv(file: Path) -> Signals:
    """Read a table with a header, separated by commas, semicolons or tabs; an empty cell is NaN.

    A second row without any number is one of units. Where the separator is no comma, the numbers of a column may all have
    decimal commas. A column without any number is left out.
    """
    with file.open(newline="", encoding="utf-8-sig") as stream:
        first = stream.readline()
        stream.seek(0)
        delimiter = max(",;\t", key=first.count)
        reader = csv.reader(stream, delimiter=delimiter)
        table = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    while table and not any(table[-1][1]):
        table.pop()
    if len(table) < 2:
        raise UserError(f"{file}: expected a header and rows of numbers, got {len(table)} lines")
    header = table[0][1]
    for number, row in table:
        if len(row) != len(header):
            raise UserError(f"{file}: row {number} has {len(row)} cells, the header {len(header)}")
    if not any(_number(cell, decimal) is not None for cell in table[1][1] for decimal in ".,"):
        del table[1]
    rows = tuple(number for number, _ in table[1:])
    arrays: dict[str, Held] = {}
    for k, name in enumerate(header):
        cells = [row[k] for _, row in table[1:]]
        pointed = any("." in cell and _number(cell, ".") is not None for cell in cells)
        decimal = "." if delimiter == "," or pointed else ","
        numbers = [_number(cell, decimal) for cell in cells]
        if all(number is None for number in numbers):
            continue  # a column of words
        wrong = [i for i, cell in enumerate(cells) if cell and numbers[i] is None]
        if header.count(name) > 1:
            arrays[name] = f"expected one column called {name!r}, got {header.count(name)}"
        elif wrong:
            arrays[name] = f"row {rows[wrong[0]]}, column {name!r}: expected a number, got {cells[wrong[0]]!r}"
        else:
            arrays[name] = np.array([np.nan if number is None else number for number in numbers])
    return Signals(file=file, arrays=arrays, rows=rows)


def _number(cell: str, decimal: str) -> float | None:
    """Return the number in a cell with decimal points or commas, or nothing."""
    try:
        return float(cell.replace(",", ".") if decimal == "," else cell)
    except ValueError:
        return None
