"""Reads what old versions of ``torch.save`` wrote without executing anything of it.

A pickle is a program: it may name any function and have it called. Here a name is looked up in a short list, and what is
found there is inert: tensors are views of bytes in the file, and objects of networks' classes become ``Record``s, which
only hold what was stored in them. Any other name ends the reading before anything has happened.
"""

import io
import math
import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dynarium.errors import UserError

BinaryFile = io.BytesIO | io.BufferedReader
"""A file opened in binary mode, or bytes in memory."""

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""The number that files of PyTorch before 1.6 begin with."""

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Record:
    """What was stored of an object of a class that is not imported. Its attributes are those of the object."""

    kind = ""
    """Module and name of the class."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.__dict__["arguments"] = arguments

    def __setstate__(self, state: Any) -> None:
        """Keep the attributes; what is not a mapping is kept as ``state``."""
        self.__dict__.update(state if isinstance(state, dict) else {"state": state})


def _record(module: str, name: str) -> type[Record]:
    return type(name.replace(".", "_"), (Record,), {"kind": f"{module}.{name}"})


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    size, stride, last = tuple(size), tuple(stride), offset
    if len(size) != len(stride) or offset < 0 or any(n < 0 for n in (*size, *stride)):
        raise ValueError("a tensor of impossible shape")
    if 0 not in size:
        last += sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if last >= max(1, len(storage)) or math.prod(size) > len(storage):
        raise ValueError("a tensor larger than what is stored of it")
    return storage.as_strided(size, stride, offset)


def _parameter(data: Tensor, *_: Any) -> Tensor:
    return data


def _size(dimensions: tuple[int, ...] = ()) -> tuple[int, ...]:
    return tuple(dimensions)


INERT: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("torch", "Size"): _size,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.nn.parameter", "Parameter"): _parameter,
}
"""Names that mean something, and what they mean here."""


class RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that knows ``INERT``, storages, and classes of the given modules, which become records.

    Args:
        file: What to read.
        records: Modules whose names become records; one that ends with a dot stands for all modules within it.
        storage: Returns the elements of a storage, given its name in the file, dtype and number of elements.
    """

    def __init__(
        self,
        file: BinaryFile,
        records: tuple[str, ...],
        storage: Callable[[str, torch.dtype, int], Tensor] | None = None,
    ) -> None:
        super().__init__(file, encoding="latin1")
        self._records, self._storage = records, storage

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name means here.

        Raises:
            UserError: It is not on the list.
        """
        if (module, name) in INERT:
            return INERT[module, name]
        if module in ("torch", "torch.cuda", "torch.storage") and name in DTYPES:
            return DTYPES[name]
        listed = (module == wanted or (wanted.endswith(".") and module.startswith(wanted)) for wanted in self._records)
        if any(listed):
            return _record(module, name)
        raise UserError(
            f"checkpoint: it names {module}.{name}, which no checkpoint of networks needs; nothing was executed"
        )

    def persistent_load(self, pid: Any) -> Any:
        """Return a storage; or the class of a network that was saved with its source, which is not read."""
        if pid[0] == "module":
            return pid[1]
        if pid[0] != "storage" or self._storage is None or not isinstance(pid[1], torch.dtype):
            raise ValueError(f"unknown reference {pid[0]!r}")
        _, dtype, key, _, length = pid[:5]
        if len(pid) > 5 and pid[5] is not None:  # a storage within a storage, as PyTorch 0.3 wrote them
            _, offset, length = pid[5]
            return self._storage(str(key), dtype, int(pid[4]))[offset : offset + length]
        return self._storage(str(key), dtype, int(length))


def read_checkpoint(file: BinaryFile, records: tuple[str, ...]) -> Any:
    """Read a file of ``torch.save``, of the present form or of that before PyTorch 1.6.

    Raises:
        UserError: It is no such file, is damaged, or names something that is not on the list.
    """
    try:
        return _read_zip(file, records) if zipfile.is_zipfile(file) else _read_legacy(file, records)
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(f"checkpoint: not a readable file of torch.save ({type(error).__name__}: {error})") from error


def _read_zip(file: BinaryFile, records: tuple[str, ...]) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        main = next((name for name in names if name.endswith("/data.pkl") or name == "data.pkl"), None)
        if main is None:
            raise ValueError("an archive without data.pkl")
        folder, known = main[: -len("data.pkl")], {}
        if folder + "byteorder" in names and archive.read(folder + "byteorder").decode() != sys.byteorder:
            raise ValueError("it was written on a machine of another byte order")

        def storage(key: str, dtype: torch.dtype, length: int) -> Tensor:
            if key not in known:
                content = bytearray(archive.read(f"{folder}data/{key}"))
                known[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
            return known[key][:length]

        return RestrictedUnpickler(io.BytesIO(archive.read(main)), records, storage).load()


def _read_legacy(file: BinaryFile, records: tuple[str, ...]) -> Any:
    """Read magic number, version, description of the machine, the object, the names of storages, and their elements."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    stored: dict[str, Tensor] = {}

    def storage(key: str, dtype: torch.dtype, length: int) -> Tensor:
        if key not in stored:
            if not 0 <= length * dtype.itemsize <= size:
                raise ValueError("a storage larger than the file")
            stored[key] = torch.zeros(length, dtype=dtype)
        return stored[key]

    if RestrictedUnpickler(file, ()).load() != LEGACY_MAGIC:
        raise ValueError("it does not begin with the number of torch.save")
    for _ in range(2):
        RestrictedUnpickler(file, ()).load()
    found = RestrictedUnpickler(file, records, storage).load()
    for key in RestrictedUnpickler(file, ()).load():
        elements = stored[str(key)]
        length = int.from_bytes(file.read(8), "little")
        if length != len(elements):
            raise ValueError(f"storage {key} has {length} elements, not {len(elements)}")
        content = bytearray(file.read(length * elements.dtype.itemsize))
        if length:
            elements.copy_(torch.frombuffer(content, dtype=elements.dtype))
    return found
