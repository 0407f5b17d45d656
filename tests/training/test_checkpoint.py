"""Checkpoints on a full disk."""

import pytest
from safetensors import SafetensorError

from dynarium.errors import RunError
from dynarium.training.checkpoint import find_checkpoint, write_checkpoint


@pytest.mark.parametrize(
    "error",
    [RuntimeError("[enforce fail]\n unexpected pos"), SafetensorError("I/O error"), OSError(28, "No space left")],
)
def test_a_full_disk_is_one_line_and_keeps_the_last_checkpoint(tmp_path, error):
    def fail(folder):
        (folder / "half").write_text("x")
        raise error

    write_checkpoint(tmp_path / "last", lambda folder: (folder / "step").write_text("1"))
    with pytest.raises(RunError, match="cannot write the checkpoint; is the disk full") as caught:
        write_checkpoint(tmp_path / "last", fail)
    assert "\n" not in str(caught.value)
    assert (find_checkpoint(tmp_path, "last") / "step").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
