import pytest
import torch

from dots import dot_clips
from dynarium.errors import UserError
from dynarium.models.normalization import Normalization
from dynarium.types import SequenceBatch


def test_frames_actions_and_states_are_in_units_of_their_spread():
    batches = [dot_clips(8, seed=seed) for seed in range(3)]
    scale = Normalization(1, 2, 2)
    scale.measure(iter(batches), "jepa")
    frames, actions, states = (
        torch.cat([getattr(batch, name) for batch in batches]) for name in ("video", "action", "state")
    )
    x, u, s = scale.frames(frames), scale.actions(actions), scale.states(states)
    assert x.mean().abs() < 1e-4 and x.std(unbiased=False).item() == pytest.approx(1, rel=1e-4)
    assert u.square().mean((0, 1)).tolist() == pytest.approx([1, 1], rel=1e-4)
    assert scale.actions(torch.zeros(1, 1, 2)).abs().max() == 0
    assert s.mean((0, 1)).abs().max() < 1e-5 and s.dtype == torch.float32
    torch.testing.assert_close(scale.pixels(x), frames.float() / 255, rtol=0, atol=1e-6)


def test_what_never_varies_is_left_alone():
    dark = SequenceBatch(video=torch.zeros(2, 3, 1, 4, 4, dtype=torch.uint8), action=torch.zeros(2, 3, 2))
    scale = Normalization(1, 2)
    scale.measure([dark], "jepa")
    assert scale.frames(dark.video).abs().max() == 0 and scale.actions(dark.action).isfinite().all()
    assert set(scale.state_dict()) == {"pixel_mean", "pixel_std", "action_scale"}
    with pytest.raises(UserError, match="no training batch with the field 'video'"):
        scale.measure([], "jepa")
