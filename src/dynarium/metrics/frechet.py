"""The Frechet distance between two sets of feature vectors, each taken for a Gaussian."""

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.errors import UserError


def frechet_distance(first: Float[Tensor, "m d"], second: Float[Tensor, "n d"]) -> float:
    """Return ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^{1/2})`` of the sets' means and covariances (Dowson & Landau 1982).

    The square of the Wasserstein distance between the Gaussians, as FID and FVD are defined (Heusel et al. 2017;
    Unterthiner et al. 2018). In double precision: with symmetric square roots S1, S2 from eigenvalues,
    ``tr (C1 C2)^{1/2}`` is the sum of the singular values of S1 S2, so nothing is squared and singular covariances do no
    harm. Few vectors make the distance large: compare only distances between sets of the same size.

    Raises:
        UserError: A set has fewer than two vectors, or a vector is not finite.
    """
    sets = [x.double().cpu() for x in (first, second)]
    for x in sets:
        if len(x) < 2 or not bool(x.isfinite().all()):
            raise UserError(
                f"frechet_distance: at least 2 vectors of finite numbers wanted in each set, got {len(x)}"
                + ("" if len(x) < 2 else ", some not finite")
            )
    (m1, c1), (m2, c2) = ((x.mean(0), torch.cov(x.mT).reshape(x.shape[1], -1)) for x in sets)
    cross = torch.linalg.svdvals(_root(c1) @ _root(c2)).sum()
    return float(((m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * cross).clamp(min=0))


def _root(covariance: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.mT
