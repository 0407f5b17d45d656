"""Terms over consecutive steps of one sequence."""

from jaxtyping import Float
from torch import Tensor


def temporal_similarity(z: Float[Tensor, "b t d"]) -> Float[Tensor, ""]:
    """Return ``mean (z_t - z_{t+1})^2`` over all elements: slow features (PLDM: Sobal et al. 2025, arXiv:2502.14819)."""
    return (z[:, 1:] - z[:, :-1]).square().mean()
