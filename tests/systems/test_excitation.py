import pytest
import torch

from dynarium.errors import UserError
from dynarium.systems.excitation import Excitation


@pytest.mark.parametrize("kind", ["white", "multisine", "chirp", "prbs", "steps"])
def test_mean_std_and_seed(kind):
    law = Excitation(kind=kind, mean=2.0, std=3.0)
    u = law.draw(400, 1000, 2, torch.Generator().manual_seed(0))
    assert u.shape == (400, 1000, 2) and u.dtype == torch.float64
    assert abs(u.mean() - 2) < 0.1 and abs(u.std() - 3) < 0.1
    assert torch.equal(u, law.draw(400, 1000, 2, torch.Generator().manual_seed(0)))
    assert not torch.equal(u[0], u[1]) and not torch.equal(u[0, :, 0], u[0, :, 1])


def test_a_multisine_has_equal_power_at_the_harmonics_of_its_band_only():
    law = Excitation(kind="multisine", band=(0.1, 0.5))
    u = law.draw(3, 200, 1, torch.Generator().manual_seed(0))[..., 0]
    torch.testing.assert_close(u.square().mean(1), torch.ones(3, dtype=torch.float64))
    power = torch.fft.rfft(u).abs()
    inside = power[:, 10:51]
    torch.testing.assert_close(inside, inside[:, :1].expand_as(inside))
    assert power[:, :10].max() < 1e-9 and power[:, 51:].max() < 1e-9


def test_a_chirp_ends_at_the_top_of_its_band():
    u = Excitation(kind="chirp", band=(0.0, 0.2)).draw(1, 4000, 1, torch.Generator().manual_seed(0))[0, :, 0]
    crossings = (u[1:] * u[:-1] < 0).double()
    assert abs(crossings[-500:].mean() - 0.1875) < 0.01 and crossings[:200].mean() < 0.02


def test_prbs_holds_its_two_levels():
    u = Excitation(kind="prbs", hold=4).draw(5, 40, 1, torch.Generator().manual_seed(0))
    assert set(u.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(u.reshape(5, 10, 4), u.reshape(5, 10, 4)[..., :1].expand(5, 10, 4))


def test_steps_jump_as_often_as_asked():
    u = Excitation(kind="steps", hold=20).draw(50, 2000, 1, torch.Generator().manual_seed(0))
    assert abs((u.diff(dim=1) != 0).double().mean() - 0.05) < 0.004


@pytest.mark.parametrize("options", [{"kind": "pink"}, {"hold": 0}, {"band": (0.5, 0.5)}, {"band": (0.0, 1.5)}])
def test_bad_options(options):
    if options.get("kind"):
        with pytest.raises(Exception, match="kind|pink"):
            Excitation(**options)
        return
    with pytest.raises(UserError):
        Excitation(**options)


def test_a_band_without_harmonics():
    with pytest.raises(UserError, match="no harmonic"):
        Excitation(kind="multisine", band=(0.0, 0.01)).draw(1, 50, 1, torch.Generator())
