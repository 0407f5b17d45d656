"""Exact inference in linear-Gaussian state-space models: pure, batched, differentiable functions."""

from dynarium.ssm.filtering import Filtered, emit, kalman_filter, predict_ahead
from dynarium.ssm.gaps import with_gaps
from dynarium.ssm.model import Gaussian, LinearGaussian, apply, predict_step, update_step
from dynarium.ssm.smoothing import Smoothed, rts_smoother, sample_posterior, square_root

__all__ = [
    "Filtered",
    "Gaussian",
    "LinearGaussian",
    "Smoothed",
    "apply",
    "emit",
    "kalman_filter",
    "predict_ahead",
    "predict_step",
    "rts_smoother",
    "sample_posterior",
    "square_root",
    "update_step",
    "with_gaps",
]
