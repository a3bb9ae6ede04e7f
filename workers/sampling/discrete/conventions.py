"""What a discrete model may give, and how each of them is turned into another.

ratios        s_i,a = q(x with i set to a) / q(x): what SEDD learns; 1 at the current token
conditionals  q(x_i = a | x_-i), the law a Gibbs update draws from: ratios over their sum
posterior     mu_i(a) = p(x0_i = a | x_-i), leave-one-out: does not look at token i itself
denoised      p(x0_i = a | x), what an ordinary denoiser gives

Shapes: values (..., d, S), tokens (..., d) int64, sigma (...) total noise: a token is kept with weight
exp(-sigma) and otherwise drawn uniformly. A position's conditionals and posterior depend on the other
positions only; its ratios and denoised values are those seen from the current token.

Source: Liang et al. 2026 (GADD, arXiv:2605.27352), eqs. 6 and 8; the posterior's conversions follow from
    Bayes' rule with the uniform kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor


def conditionals(ratios: Tensor) -> Tensor:
    """Eq. 6 for all values at once: each row over its sum; at the current token that is 1 / sum."""
    return ratios / ratios.sum(-1, keepdim=True)


def averaged_conditionals(ratios_by_reference: Tensor) -> Tensor:
    """Eq. 8: conditionals as seen from every value of a position, averaged. Equal to eq. 6 for exact scores.

    Args:
        ratios_by_reference: (..., S, S), row y the position's ratios with its token set to y.
    """
    return conditionals(ratios_by_reference).mean(-2)


def to_ratios(proportions: Tensor, tokens: Tensor) -> Tensor:
    """Rows in any proportion, as seen from the current tokens: 1 there."""
    return proportions / proportions.gather(-1, tokens[..., None])


def conditionals_from_posterior(posterior: Tensor, sigma: Tensor) -> Tensor:
    """q(a | x_-i) = alpha mu_i(a) + (1 - alpha) / S."""
    kept = torch.exp(-sigma)[..., None, None]
    return kept * posterior + (1 - kept) / posterior.shape[-1]


def posterior_from_conditionals(values: Tensor, sigma: Tensor) -> Tensor:
    """mu_i(a) = (q(a | x_-i) - (1 - alpha) / S) / alpha; where a learnt score leaves it negative, 0."""
    grown = torch.exp(sigma)[..., None, None]
    return conditionals((grown * values + (1 - grown) / values.shape[-1]).clamp(min=0))


def ratios_from_posterior(posterior: Tensor, tokens: Tensor, sigma: Tensor) -> Tensor:
    """s_a = (S alpha mu_a + 1 - alpha) / (S alpha mu_x + 1 - alpha)."""
    return to_ratios(conditionals_from_posterior(posterior, sigma), tokens)


def posterior_from_denoised(denoised: Tensor, tokens: Tensor, sigma: Tensor) -> Tensor:
    """Take out what the current token itself said: its entry over 1 + S alpha / (1 - alpha), renormalised.

    Args:
        sigma: above 0, where a token still leaves a doubt.
    """
    said = _said(denoised, sigma)
    at = tokens[..., None]
    return conditionals(denoised.scatter(-1, at, denoised.gather(-1, at) / said))


def denoised_from_posterior(posterior: Tensor, tokens: Tensor, sigma: Tensor) -> Tensor:
    """Put back what the current token says."""
    said = _said(posterior, sigma)
    at = tokens[..., None]
    return conditionals(posterior.scatter(-1, at, posterior.gather(-1, at) * said))


def ratios_from_denoised(denoised: Tensor, tokens: Tensor, sigma: Tensor) -> Tensor:
    """What the samplers here need of an ordinary denoiser (UDLM, Duo)."""
    return ratios_from_posterior(posterior_from_denoised(denoised, tokens, sigma), tokens, sigma)


def _said(values: Tensor, sigma: Tensor) -> Tensor:
    """How much likelier the current token is if it was x0 than if another was: 1 + S alpha / (1 - alpha)."""
    return 1 + values.shape[-1] / torch.expm1(sigma)[..., None, None]
