"""Old files of torch.save: what is read, what is refused, and that names stand for nothing that acts."""

import argparse
import io
import os
import pickle
from collections import OrderedDict

import pytest
import torch
from torch import nn

from dynarium.errors import UserError
from dynarium.models.restricted_pickle import read_checkpoint

RECORDS = ("argparse", "torch.nn.modules.")


def written(content, new=True):
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=new)
    return file


class Calling:
    """Pickles as a call."""

    def __init__(self, call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("new", [True, False])
def test_tensors_and_options_come_back(new):
    whole = torch.arange(12.0).view(3, 4)
    content = {
        "weights": OrderedDict(a=whole, b=whole.t()[1:, :2], c=torch.tensor([1, 2]), d=torch.zeros(0)),
        "half": nn.Parameter(torch.ones(2, dtype=torch.float16)),
        "options": argparse.Namespace(name="x", numbers=[1, 2.5, None, True]),
    }
    found = read_checkpoint(written(content, new), RECORDS)
    for name, value in content["weights"].items():
        assert torch.equal(found["weights"][name], value)
    assert torch.equal(found["half"], content["half"])
    assert found["options"].name == "x" and found["options"].numbers == [1, 2.5, None, True]
    assert not isinstance(found["options"], argparse.Namespace)


@pytest.mark.parametrize("new", [True, False])
def test_names_that_are_not_listed_are_refused(new, tmp_path):
    calls = (
        (os.mkdir, (str(tmp_path / "made"),)),
        (eval, ("1",)),
        (torch.hub.load, ("a", "b")),
        (torch.load, ("a",)),
    )
    for call in calls:
        with pytest.raises(UserError, match="nothing was executed"):
            read_checkpoint(written({"x": Calling(call)}, new), RECORDS)
    assert not (tmp_path / "made").exists()


def test_a_listed_name_is_not_the_thing_itself():
    """A constructor of a layer that a file calls is none: what comes of it only holds what it was given."""
    linear = read_checkpoint(written({"x": Calling((nn.Linear, (3, 4)))}), RECORDS)["x"]
    assert not isinstance(linear, nn.Module) and linear.arguments == (3, 4)


def test_damaged_files_are_said():
    whole = written({"encoder": OrderedDict(a=torch.zeros(3))}).getvalue()
    for content in (b"", b"not a checkpoint", whole[: len(whole) // 2], pickle.dumps({"a": 1})):
        with pytest.raises(UserError, match="not a readable file"):
            read_checkpoint(io.BytesIO(content), RECORDS)


def test_a_tensor_cannot_reach_beyond_its_storage():
    file = written({"x": torch.zeros(4)})
    content = file.getvalue()
    # The size (4,) is stored as one byte after the opcode K; 200 elements are more than there are.
    damaged = content.replace(b"K\x04\x85", b"K\xc8\x85")
    assert damaged != content
    with pytest.raises(UserError, match="not a readable file"):
        read_checkpoint(io.BytesIO(damaged), RECORDS)
