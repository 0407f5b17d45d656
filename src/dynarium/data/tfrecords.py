"""TFRecord files of ``tf.train.Example`` messages, read without TensorFlow; every checksum is looked at.

A record is its length (8 bytes, little-endian), the masked CRC-32C of these, the data, and the masked CRC-32C of the data.
Of the protocol buffers only what an ``Example`` needs is understood: field 1 of it is a map from names to features, which are
lists of bytes (field 1), of floating point (2) or of integers (3).
"""

import functools
import inspect
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dynarium.errors import UserError

Feature = list[bytes] | np.ndarray
"""Bytes, ``float32`` or ``int64``."""


class Record(NamedTuple):
    """Where the data of a record are."""

    file: Path
    offset: int
    length: int


def records(file: Path) -> list[Record]:
    """Find the records of a file; only their headers are read.

    Raises:
        UserError: The file is cut off, or is no TFRecord file.
    """
    found, size = [], file.stat().st_size
    with file.open("rb") as stream:
        offset = 0
        while offset < size:
            stream.seek(offset)
            header = stream.read(12)
            if len(header) < 12 or struct.unpack("<I", header[8:])[0] != masked_crc(header[:8]):
                raise UserError(f"{file}: record {len(found)} has a damaged header, or this is no TFRecord file")
            (length,) = struct.unpack("<Q", header[:8])
            if offset + 16 + length > size:
                raise UserError(f"{file}: record {len(found)} is cut off")
            found.append(Record(file, offset + 12, length))
            offset += 16 + length
    return found


def read_example(record: Record) -> dict[str, Feature]:
    """Read the features of a record by name.

    Raises:
        UserError: The checksum is wrong, or the data are no ``tf.train.Example``.
    """
    with record.file.open("rb") as stream:
        stream.seek(record.offset)
        data, (crc,) = stream.read(record.length), struct.unpack("<I", stream.read(4))
    where = f"{record.file}: the record at byte {record.offset}"
    if masked_crc(data) != crc:
        raise UserError(f"{where} has a wrong checksum")
    try:
        return dict(_feature(entry) for features in _of(data, 1) for entry in _of(features, 1))
    except (IndexError, ValueError, UnicodeDecodeError, struct.error):
        raise UserError(f"{where} is no tf.train.Example") from None


def masked_crc(data: bytes) -> int:
    """Return the CRC-32C of the data, turned by 15 bits and shifted by a constant as TFRecords have it."""
    crc = int(_compiled()(np.frombuffer(data, np.uint8), _table()))
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@functools.cache
def _table() -> np.ndarray:
    """Return the remainders of all bytes under the polynomial of Castagnoli, bits in reverse."""
    table = np.arange(256, dtype=np.int64)
    for _ in range(8):
        table = (table >> 1) ^ np.where(table & 1, 0x82F63B78, 0)
    return table


@functools.cache
def _compiled() -> Callable[..., Any]:
    import numba  # half a second that only those pay who read such files

    return numba.njit(nogil=True, cache=True)(inspect.unwrap(_crc))  # a type checker may have wrapped it


def _crc(data, table):
    crc = 0xFFFFFFFF
    for i in range(len(data)):
        crc = table[(crc ^ data[i]) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _feature(entry: bytes) -> tuple[str, Feature]:
    """Read one entry of the map: a name (field 1) and a feature (field 2)."""
    (name,), value = _of(entry, 1), _of(entry, 2)
    for number, _, content in _fields(value[0] if value else b""):
        if number == 1:
            return name.decode(), _of(content, 1)
        if number == 2:  # packed, or one after the other
            return name.decode(), np.frombuffer(b"".join(part for _, _, part in _fields(content)), "<f4")
        if number == 3:
            return name.decode(), np.array(list(_integers(content)), np.uint64).astype(np.int64)
    return name.decode(), []


def _integers(content: bytes) -> Iterator[int]:
    for _, kind, part in _fields(content):
        if kind == 0:
            yield part
            continue
        at = 0
        while at < len(part):
            value, at = _varint(part, at)
            yield value


def _of(message: bytes, number: int) -> list[bytes]:
    return [value for field, _, value in _fields(message) if field == number]


def _fields(message: bytes) -> Iterator[tuple[int, int, Any]]:
    """Yield number, wire type and content of every field of a message; integers as numbers, all else as bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, kind, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + length > len(message):
            raise ValueError("cut off")
        yield number, kind, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value, at, shift = value | (byte & 0x7F) << shift, at + 1, shift + 7
        if byte < 0x80:
            return value, at
