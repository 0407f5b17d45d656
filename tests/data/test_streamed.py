from dataclasses import replace

import numpy as np
import pytest

import dynarium.data.streamed as streamed
from dynarium.data.streamed import Sequences, write_sequences
from dynarium.data.verify import verify
from dynarium.errors import UserError

VIDEO = np.random.default_rng(0).integers(0, 256, (600, 2, 1, 4, 4), np.uint8)


def test_a_killed_job_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(streamed, "shard_size_for", lambda _: 256)
    (tmp_path / "file").write_bytes(b"1")
    asked, broken = [], True

    def read(split, start, stop):
        asked.append((split, start, stop))
        if broken and start == 256:
            raise KeyboardInterrupt
        return {"video": VIDEO[start:stop], "state": np.full((stop - start, 2, 1), start, np.float32)}

    whole = Sequences(sizes={"train": 600, "val": 0}, read=read, files=[tmp_path / "file"], names={"state": ("s",)})
    with pytest.raises(KeyboardInterrupt):
        write_sequences(tmp_path / "out", whole, source="here")
    assert not (tmp_path / "out").exists()
    asked, broken = [], False
    dataset = write_sequences(tmp_path / "out", whole, source="here")
    assert asked == [("train", 0, 1), ("train", 256, 512), ("train", 512, 600)]
    assert np.array_equal(dataset.read("train", range(600))["video"], VIDEO)
    assert dataset.schema.fields["state"].names == ("s",) and dataset.schema.generator == {"source": "here"}
    assert verify(tmp_path / "out") == []


def test_what_cannot_be_a_dataset_leaves_nothing_behind(tmp_path):
    def read(split, start, stop):
        if split == "val":
            raise UserError("clip7: another size")
        return {"video": VIDEO[start:stop]}

    whole = Sequences(sizes={"train": 300, "val": 2}, read=read, files=[])
    with pytest.raises(UserError, match="clip7"):
        write_sequences(tmp_path / "out", whole, source="here")
    assert list(tmp_path.iterdir()) == []
    assert write_sequences(tmp_path / "out", replace(whole, sizes={"train": 300}), source="here").size("train") == 300


def test_other_files_are_another_job(tmp_path):
    (tmp_path / "file").write_bytes(b"1")

    def read(split, start, stop):
        if stop > 1:
            raise KeyboardInterrupt
        return {"video": VIDEO[start:stop]}

    whole = Sequences(sizes={"train": 600}, read=read, files=[tmp_path / "file"])
    with pytest.raises(KeyboardInterrupt):
        write_sequences(tmp_path / "out", whole, source="here")
    (tmp_path / "file").write_bytes(b"12")
    with pytest.raises(UserError, match="an interrupted job of other settings"):
        write_sequences(tmp_path / "out", whole, source="here")
    with pytest.raises(UserError, match="here: expected at least one sequence"):
        write_sequences(tmp_path / "out", replace(whole, sizes={"train": 0}), source="here")
