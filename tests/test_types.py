"""The shared vocabulary."""

import dataclasses

import pytest
import torch

from dynarium.types import Result, Row, SequenceBatch, Trajectory


@pytest.fixture
def batch():
    return SequenceBatch(
        video=torch.zeros(3, 5, 1, 4, 6, dtype=torch.uint8),
        action=torch.zeros(3, 5, 2, dtype=torch.float64),
        mask=torch.ones(3, 5, dtype=torch.bool),
    )


def test_absent_fields_are_none_and_not_present(batch):
    assert batch.state is None
    assert list(batch.present()) == ["video", "action", "mask"]
    assert len(batch) == 3


def test_to_keeps_dtypes_and_absence(batch):
    moved = batch.to("cpu")
    assert {name: value.dtype for name, value in moved.present().items()} == {
        "video": torch.uint8,
        "action": torch.float64,
        "mask": torch.bool,
    }
    assert batch.to("meta").video.device.type == "meta"
    assert batch.video.device.type == "cpu"


def test_fields_must_agree_about_batch_and_time():
    with pytest.raises(Exception, match="mask"):
        SequenceBatch(video=torch.zeros(3, 5, 1, 4, 6), mask=torch.ones(3, 4, dtype=torch.bool))
    with pytest.raises(Exception, match="mask"):
        SequenceBatch(mask=torch.ones(3, 4))  # a mask is boolean


def test_the_vocabulary_is_frozen_and_by_keyword(batch):
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.video = None
    with pytest.raises(TypeError):
        SequenceBatch(torch.zeros(3, 5, 1, 4, 6))


def test_trajectory_row_result_defaults_are_not_shared():
    state = torch.zeros(2, 3, 4, dtype=torch.float64)
    assert Trajectory(state=state).extra is not Trajectory(state=state).extra
    row = Row(method="smooth", metric="wrong_pixels_missing", value=0.1, standard_error=0.0, n=2)
    assert row.condition == {} and not row.baseline
    assert Result(task="impute", rows=(row,)).examples == {}


def test_observed_is_mask_and_length_together():
    state, length = torch.zeros(2, 3, 1), torch.tensor([3, 1])
    mask = torch.tensor([[True, False, True], [True, True, True]])
    assert SequenceBatch(state=state).observed() is None
    assert (
        SequenceBatch(state=state, mask=torch.ones(2, 3, dtype=torch.bool), length=torch.tensor([3, 3])).observed()
        is None
    )
    assert SequenceBatch(state=state, length=length).observed().tolist() == [[True, True, True], [True, False, False]]
    both = SequenceBatch(state=state, mask=mask, length=length).observed()
    assert both.tolist() == [[True, False, True], [True, False, False]]
