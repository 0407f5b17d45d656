"""How long and how closely a forecast follows what moves: valid prediction time, centroid distance, and their kin.

Frames are floating point in [0, 1]; with several channels the brightest one counts. Nothing here changes its inputs.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

TRUTH_LEVEL = 0.55
"""A pixel of a true frame belongs to the object above this."""

PREDICTION_LEVEL = 0.32
"""A pixel of a predicted frame belongs to the object above this and above the frame's Otsu threshold."""

OTSU_BINS = 256
FRAMES_AT_ONCE = 64


def valid_prediction_time(
    prediction: Float[Tensor, "*#s b t c h w"],
    truth: Float[Tensor, "b t c h w"],
    threshold: float = 0.02,
    known: Bool[Tensor, "b t"] | None = None,
) -> Float[Tensor, "*s b"]:
    """Return the share of the horizon before the forecast first goes wrong (VPT; Botev et al. 2021).

    ``min {t: mse_t > threshold} / T`` with the mean squared error over the pixels of frame t; 1 where it never exceeds it.

    Args:
        prediction: Forecast frames.
        truth: True frames.
        threshold: Mean squared error above which a frame is wrong; 0.02 is that of Jiang et al. (2023).
        known: Steps that count; T is then the last of them, and a sequence that has none gets NaN.
    """
    return share_before(_wrong(prediction, truth, threshold), known)


def valid_prediction_time_last(
    prediction: Float[Tensor, "*#s b t c h w"],
    truth: Float[Tensor, "b t c h w"],
    threshold: float = 0.02,
    known: Bool[Tensor, "b t"] | None = None,
) -> Float[Tensor, "*s b"]:
    """Return the ``legacy`` VPT, which looks from the end: ``(max {t: mse_t < threshold} + 1) / T``; 0 where no frame is right.

    A forecast that goes wrong and is right again later, by chance, counts as valid all the while. Published numbers of
    earlier code follow this convention; the arguments are those of ``valid_prediction_time``.
    """
    right = (prediction - truth).square().mean((-3, -2, -1)) < threshold
    steps = torch.arange(1, right.shape[-1] + 1, device=right.device)
    last = (right if known is None else right & known).to(steps.dtype).mul(steps).amax(-1)
    return last / _horizon(torch.ones_like(right) if known is None else known.expand_as(right))


def centroid_distance(
    prediction: Float[Tensor, "*#s b t c h w"], truth: Float[Tensor, "b t c h w"], *, legacy: bool = False
) -> Float[Tensor, "*s b t"]:
    """Return how far the predicted object is from the true one in pixels (DST; Jiang et al. 2023).

    The Euclidean distance between the centroids of the binarised frames: true pixels above 0.55, predicted ones above
    ``max(0.32, Otsu's threshold of the frame)``.

    Args:
        prediction: Forecast frames.
        truth: True frames.
        legacy: Count an empty prediction as an object at (0, 0), and a step whose true frame is empty as an error of 0.
            Otherwise an empty prediction is the largest error, ``sqrt(h^2 + w^2)``, and an empty truth gives NaN: no object
            is there to be followed. A frame that is nowhere finite or of one value everywhere is empty.
    """
    brightest = prediction.amax(-3)
    level = otsu(brightest).clamp(min=PREDICTION_LEVEL)[..., None, None]
    predicted, empty = _centroid(brightest > level)
    true, absent = _centroid(truth.amax(-3) > TRUTH_LEVEL)
    distance = (predicted - true).square().sum(-1).sqrt()
    if legacy:
        return torch.where(absent, 0.0, distance)
    h, w = truth.shape[-2:]
    return torch.where(absent, torch.nan, torch.where(empty, (h * h + w * w) ** 0.5, distance))


def valid_prediction_distance(
    distance: Float[Tensor, "*s b t"],
    side: int,
    limit: float = 10.0,
    known: Bool[Tensor, "b t"] | None = None,
) -> Float[Tensor, "*s b"]:
    """Return the share of the horizon before the object is first lost (VPD): ``min {t: distance_t >= limit side / 32} / T``.

    Args:
        distance: ``centroid_distance`` of each step. NaN is never a loss; a sequence that has nothing else gets NaN.
        side: Height of the frames in pixels; the limit was set for 32.
        limit: Pixels from which on the object counts as lost, on frames of 32 pixels.
        known: Steps that count; T is then the last of them.
    """
    judged = ~distance.isnan()
    share = share_before(judged & (distance >= limit * side / 32), known)
    judged = judged if known is None else judged & known
    return torch.where(judged.any(-1), share, torch.nan)


def normalised_mse(
    prediction: Float[Tensor, "*#s b t c h w"],
    truth: Float[Tensor, "b t c h w"],
    known: Bool[Tensor, "b t"] | None = None,
) -> Float[Tensor, "*s b"]:
    """Return ``sum (prediction - truth)^2 / sum truth^2`` of each sequence: 1 for a black answer, NaN for a black truth."""
    counted = torch.ones_like(truth[..., 0, 0, 0], dtype=torch.bool) if known is None else known
    error, power = (x.square().sum((-3, -2, -1)) for x in (prediction - truth, truth))
    error, power = (torch.where(counted, x, 0.0).sum(-1) for x in (error, power))
    return torch.where(power > 0, error / power, torch.nan)


def otsu(frames: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b"]:
    """Return the threshold of each frame that separates its dark and its bright pixels best (Otsu 1979).

    The centre of the histogram bin k, of 256 between the frame's smallest and largest value, that maximises the variance
    between the classes ``n0 n1 (mean0 - mean1)^2`` of the bins up to k and above k; the first where several do. The value
    itself in a frame of one value.
    """
    flat = frames.flatten(-2).reshape(-1, frames.shape[-2] * frames.shape[-1])
    thresholds = torch.cat([_otsu(part.double()) for part in flat.split(FRAMES_AT_ONCE)])
    return thresholds.reshape(frames.shape[:-2]).to(frames.dtype)


def share_before(wrong: Bool[Tensor, "*s b t"], known: Bool[Tensor, "b t"] | None = None) -> Float[Tensor, "*s b"]:
    """Return the first known step that is wrong, as a share of the horizon; 1 if none is, NaN where no step is known."""
    counted = torch.ones_like(wrong) if known is None else known.expand_as(wrong)
    horizon = _horizon(counted)
    missed = wrong & counted
    first = torch.where(missed.any(-1), missed.to(torch.uint8).argmax(-1).to(horizon.dtype), horizon)
    return first / horizon


def _wrong(prediction: Tensor, truth: Tensor, threshold: float) -> Tensor:
    # Not "error > threshold": a forecast that is not a number is wrong.
    return ~((prediction - truth).square().mean((-3, -2, -1)) <= threshold)


def _horizon(known: Tensor) -> Tensor:
    """Return the number of steps up to the last known one; NaN if there is none."""
    steps = torch.arange(1, known.shape[-1] + 1, device=known.device)
    last = (known * steps).amax(-1)
    return torch.where(last > 0, last, torch.nan)


def _centroid(lit: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (row, column) of the lit pixels of each frame, (0, 0) where there are none, and where that is so."""
    h, w = lit.shape[-2:]
    count = lit.sum((-2, -1))
    rows = (lit.sum(-1) * torch.arange(h, device=lit.device)).sum(-1)
    columns = (lit.sum(-2) * torch.arange(w, device=lit.device)).sum(-1)
    return torch.stack([rows, columns], -1) / count.clamp(min=1)[..., None], count == 0


def _otsu(frames: Tensor) -> Tensor:
    """Compute the thresholds of flat frames [m, pixels] in double precision."""
    frames = frames.nan_to_num(0.0, 0.0, 0.0)
    low, high = frames.amin(1, keepdim=True), frames.amax(1, keepdim=True)
    width = (high - low) / OTSU_BINS
    bins = ((frames - low) / torch.where(width > 0, width, 1.0)).long().clamp(max=OTSU_BINS - 1)
    counts = torch.zeros(len(frames), OTSU_BINS, dtype=frames.dtype, device=frames.device)
    counts.scatter_add_(1, bins, torch.ones_like(frames))
    centres = low + width * (torch.arange(OTSU_BINS, device=frames.device) + 0.5)
    below, mass = counts.cumsum(1), (counts * centres).cumsum(1)
    above = below[:, -1:] - below
    # n0 n1 (mean0 - mean1)^2 = (total n0 - mass n)^2 / (n0 n1), without a division by an empty class.
    mixed = mass * below[:, -1:] - mass[:, -1:] * below
    between = torch.where(above > 0, mixed.square() / (below * above).clamp(min=1), 0.0)
    best = between.argmax(1, keepdim=True)
    return torch.where(width[:, 0] > 0, centres.gather(1, best)[:, 0], low[:, 0])
