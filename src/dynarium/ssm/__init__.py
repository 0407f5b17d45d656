"""Inference in state-space models, exact in linear-Gaussian ones: pure, batched, differentiable functions."""

from dynarium.ssm.filtering import Filtered, emit, kalman_filter, predict_ahead
from dynarium.ssm.gaps import with_gaps
from dynarium.ssm.model import Gaussian, LinearGaussian, apply, predict_step, update_step
from dynarium.ssm.nonlinear import (
    NonlinearGaussian,
    SigmaPoints,
    extended_kalman_filter,
    extended_smoother,
    unscented_kalman_filter,
    unscented_smoother,
)
from dynarium.ssm.smoothing import Smoothed, rts_smoother, sample_posterior, square_root

__all__ = [
    "Filtered",
    "Gaussian",
    "LinearGaussian",
    "NonlinearGaussian",
    "SigmaPoints",
    "Smoothed",
    "apply",
    "emit",
    "extended_kalman_filter",
    "extended_smoother",
    "kalman_filter",
    "predict_ahead",
    "predict_step",
    "rts_smoother",
    "sample_posterior",
    "square_root",
    "unscented_kalman_filter",
    "unscented_smoother",
    "update_step",
    "with_gaps",
]
