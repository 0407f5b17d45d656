"""Exact inference in discrete Markov chains: sum-product and max-product, batched, in log space."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Marginals:
    """What is known of the modes of a chain given all its evidence.

    Attributes:
        probability: q(z_t = k).
        pair: q(z_t = i, z_{t+1} = j), for t = 1 .. T-1; 0 from a sequence's last step on.
        log_normaliser: Log of the sum over all paths of initial weight, transition weights and likelihoods. With normalised
            transitions this is the log-likelihood.
        entropy: Entropy of the distribution over paths.
    """

    probability: Float[Tensor, "b t k"]
    pair: Float[Tensor, "b s k k"]
    log_normaliser: Float[Tensor, " b"]
    entropy: Float[Tensor, " b"]


def forward_backward(
    log_initial: Float[Tensor, "... k"],
    log_transition: Float[Tensor, "... k k"],
    log_likelihood: Float[Tensor, "b t k"],
    lengths: Int[Tensor, " b"] | None = None,
) -> Marginals:
    """Return the exact marginals of a Markov chain (Rabiner 1989, section III.A), differentiable in everything.

        alpha_1(k) = p(z_1 = k) l_1(k),     alpha_t(j) = sum_i alpha_{t-1}(i) T_t(i, j) l_t(j)
        beta_T(k) = 1,                      beta_t(i) = sum_j T_{t+1}(i, j) l_{t+1}(j) beta_{t+1}(j)

    Neither the transitions nor the initial weights need be normalised: expected log-probabilities are no log-probabilities.

    Args:
        log_initial: Of the first step; ``[k]`` or ``[b, k]``.
        log_transition: Rows lead from, columns into a mode: ``[k, k]``, or anything that broadcasts to ``[b, t-1, k, k]``,
            where entry i leads from step i to step i + 1.
        log_likelihood: Of what is observed at every step; a missing step has 0 for every mode.
        lengths: Number of valid steps of each sequence; what later steps hold cannot matter, NaN included.
    """
    transition, evidence = _within(log_transition, log_likelihood, lengths)
    b, t, k = evidence.shape
    initial = log_initial.expand(b, k)
    steps, evidences = transition.unbind(1), evidence.unbind(1)
    alpha = initial + evidences[0]
    forward = [alpha]
    for step, seen in zip(steps, evidences[1:], strict=True):
        alpha = (alpha[:, :, None] + step).logsumexp(1) + seen
        forward.append(alpha)
    log_normaliser = alpha.logsumexp(1)
    beta = torch.zeros_like(alpha)
    backward = [beta]
    for i in range(t - 2, -1, -1):
        beta = (steps[i] + (evidences[i + 1] + beta)[:, None, :]).logsumexp(2)
        backward.append(beta)
    backward.reverse()
    before, after = torch.stack(forward, 1), torch.stack(backward, 1)
    probability = (before + after).softmax(-1)
    log_pair = before[:, :-1, :, None] + transition + (evidence + after)[:, 1:, None, :]
    pair = log_pair.flatten(2).softmax(-1).unflatten(-1, (k, k))
    if lengths is not None:
        led_into = torch.arange(1, t, device=lengths.device) < lengths[:, None]
        pair = torch.where(led_into[..., None, None], pair, 0.0)
    energy = _weighted(probability[:, 0], initial).sum(-1)
    energy = energy + _weighted(probability, evidence).sum((1, 2)) + _weighted(pair, transition).sum((1, 2, 3))
    return Marginals(probability=probability, pair=pair, log_normaliser=log_normaliser, entropy=log_normaliser - energy)


def viterbi(
    log_initial: Float[Tensor, "... k"],
    log_transition: Float[Tensor, "... k k"],
    log_likelihood: Float[Tensor, "b t k"],
    lengths: Int[Tensor, " b"] | None = None,
) -> Int[Tensor, "b t"]:
    """Return the most likely path of every sequence (Viterbi 1967); its last mode is repeated after the sequence's end.

    The arguments are those of :func:`forward_backward`.
    """
    transition, evidence = _within(log_transition, log_likelihood, lengths)
    score = log_initial + evidence[:, 0]
    pointers = []
    for step, seen in zip(transition.unbind(1), evidence[:, 1:].unbind(1), strict=True):
        score, best = (score[:, :, None] + step).max(1)
        score = score + seen
        pointers.append(best)
    mode = score.argmax(1)
    path = [mode]
    for best in reversed(pointers):
        mode = best.gather(1, mode[:, None])[:, 0]
        path.append(mode)
    path.reverse()
    return torch.stack(path, 1)


def _within(transition: Tensor, evidence: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the transitions of every step and the evidence; after a sequence's end it stays where it is, without weight.

    Raises:
        ValueError: The transitions vary over another number of steps.
    """
    b, t, k = evidence.shape
    if transition.ndim > 2 and transition.shape[-3] not in (1, t - 1):
        raise ValueError(f"log_transition: {t - 1} steps wanted, got a shape of {tuple(transition.shape)}")
    transition = transition.expand(b, t - 1, k, k)
    if lengths is None:
        return transition, evidence
    valid = torch.arange(t, device=lengths.device) < lengths[:, None]
    stay = torch.full((k, k), -torch.inf, dtype=evidence.dtype, device=evidence.device).fill_diagonal_(0.0)
    return (
        torch.where(valid[:, 1:, None, None], transition, stay),
        torch.where(valid[..., None], evidence, 0.0),
    )


def _weighted(probability: Tensor, log_weight: Tensor) -> Tensor:
    """Return ``p log w``, 0 where p is 0, even where the weight is."""
    return torch.where(probability > 0, probability * log_weight, 0.0)
