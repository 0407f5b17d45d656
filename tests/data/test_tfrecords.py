"""TFRecords and BAIR, on files written byte by byte after the format's description."""

import struct

import numpy as np
import pytest

from dynarium.data import import_file
from dynarium.data.tfrecords import Record, masked_crc, read_example, records
from dynarium.errors import UserError


def crc(data):
    """CRC-32C bit by bit."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(n):
    out = b""
    while n > 0x7F:
        out, n = out + bytes([n & 0x7F | 0x80]), n >> 7
    return out + bytes([n])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(value, packed=True):
    if isinstance(value, bytes):
        return field(1, field(1, value))
    if all(isinstance(v, int) for v in value):
        return field(3, field(1, b"".join(varint(v % 2**64) for v in value)))
    if packed:
        return field(2, field(1, np.asarray(value, "<f4").tobytes()))
    return field(2, b"".join(varint(1 << 3 | 5) + struct.pack("<f", v) for v in value))


def example(features, packed=True):
    entries = (field(1, field(1, name.encode()) + field(2, feature(v, packed))) for name, v in features.items())
    return field(1, b"".join(entries))


def record(data):
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


RANDOM = np.random.default_rng(0)
STEPS = 4
FRAMES = RANDOM.integers(0, 256, (6, STEPS, 64, 64, 3), np.uint8)
ACTION = RANDOM.normal(size=(6, STEPS, 4)).astype(np.float32)
STATE = RANDOM.normal(size=(6, STEPS, 3)).astype(np.float32)


def trajectory(i, packed=True):
    features = {}
    for t in range(STEPS):
        features[f"{t}/image_main/encoded"] = bytes(64 * 64 * 3)
        features[f"{t}/image_aux1/encoded"] = FRAMES[i, t].tobytes()
        features[f"{t}/action"] = ACTION[i, t].tolist()
        features[f"{t}/endeffector_pos"] = STATE[i, t].tolist()
    return record(example(features, packed))


def test_the_checksum_is_the_published_one():
    assert crc(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF
    for data in (b"", b"123456789", bytes(range(256)) * 3):
        assert masked_crc(data) == crc(data)


@pytest.mark.parametrize("packed", [True, False])
def test_all_kinds_of_features(tmp_path, packed):
    values = {"a": b"\x00bytes", "b": [1.5, -2.25], "c": [3, -4, 2**40], "long": b"x" * 300}
    file = tmp_path / "a.tfrecord"
    file.write_bytes(record(example(values, packed)) + record(example({"d": [0.5]})))
    first, second = (read_example(one) for one in records(file))
    assert first["a"] == [b"\x00bytes"] and first["long"] == [b"x" * 300]
    assert first["b"].tolist() == [1.5, -2.25] and first["c"].tolist() == [3, -4, 2**40]
    assert second["d"].tolist() == [0.5]


def test_bair_becomes_a_dataset_with_actions_and_arm_positions(tmp_path):
    for split, parts in (("train", ((0, 1), (2, 3))), ("test", ((4, 5),))):
        folder = tmp_path / "softmotion30_44k" / split
        folder.mkdir(parents=True)
        for part in parts:
            name = f"traj_{part[0]}_to_{part[-1]}.tfrecords"
            (folder / name).write_bytes(b"".join(trajectory(i, packed=i % 2 == 0) for i in part))
    dataset = import_file(tmp_path, tmp_path / "out")
    assert dataset.schema.splits == {"train": 4, "test": 2}
    for split, index in (("train", range(4)), ("test", range(4, 6))):
        read = dataset.read(split, range(len(index)))
        assert np.array_equal(read["video"], np.moveaxis(FRAMES[list(index)], -1, 2))
        assert np.array_equal(read["action"], ACTION[list(index)])
        assert np.array_equal(read["state"], STATE[list(index)])
    one = import_file(tmp_path / "softmotion30_44k" / "test" / "traj_4_to_5.tfrecords", tmp_path / "one", split="val")
    assert one.schema.splits == {"val": 2}


def test_damage_is_found_and_named(tmp_path):
    whole = trajectory(0)
    file = tmp_path / "a.tfrecords"
    file.write_bytes(whole[:-1])
    with pytest.raises(UserError, match="record 0 is cut off"):
        import_file(file, tmp_path / "out")
    file.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    with pytest.raises(UserError, match="the record at byte 12 has a wrong checksum"):
        import_file(file, tmp_path / "out")
    file.write_bytes(b"no records at all")
    with pytest.raises(UserError, match="damaged header, or this is no TFRecord file"):
        import_file(file, tmp_path / "out")
    file.write_bytes(record(example({"0/image/encoded": b"abc"})))
    with pytest.raises(UserError, match="expected features named 0/image_aux1/encoded, ..., has 0/image/encoded"):
        import_file(file, tmp_path / "out")
    file.write_bytes(record(b"\x0a\xff\x01abc"))
    with pytest.raises(UserError, match="is no tf.train.Example"):
        import_file(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="wrong checksum"):
        read_example(Record(file, 12, 2))
