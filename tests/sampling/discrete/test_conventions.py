"""Point 1: the conditionals a score stands for, from every form a model may give it in."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.discrete_exact.chain import random_chain
from benchmarks.discrete_exact.enumerable import Enumerable, autoregressive, point_masses
from workers.sampling.discrete import conventions

SIGMA = 0.3


def conditionals_from_law(source: Enumerable, sigma: float) -> Tensor:
    """(K, d, S), by the definition: the joint law over its sum along a position."""
    law = source.at(sigma)
    joint = law[source.neighbours]
    return joint / joint.sum(-1, keepdim=True)


def denoised(source: Enumerable, sigma: float) -> Tensor:
    """(K, d, S): p(x0_i = a | x), by Bayes' rule over every clean and noisy pair of sequences."""
    kept = torch.exp(torch.tensor(-sigma, dtype=torch.float64))
    same = source.states[:, None] == source.states[None]
    noisy = (kept * same + (1 - kept) / source.vocab_size).prod(-1)
    joint = source.law.flatten()[:, None] * noisy
    values = torch.nn.functional.one_hot(source.states, source.vocab_size).double()
    marginals = torch.einsum("cn,cda->nda", joint, values)
    return marginals / marginals.sum(-1, keepdim=True)


def test_conditionals_of_the_score_are_those_of_the_law() -> None:
    for source in (autoregressive(4, 4), point_masses(3, 5, count=5)):
        rows = conventions.conditionals(source.ratios(SIGMA))
        assert (rows - conditionals_from_law(source, SIGMA)).abs().max() < 1e-12
        assert (rows.sum(-1) - 1).abs().max() < 1e-12


def test_equation_6_at_the_current_token_is_one_over_the_sum() -> None:
    """By hand: ratios 1, 3, 4 at token 0 are 1/8, 3/8, 4/8."""
    assert conventions.conditionals(torch.tensor([1.0, 3.0, 4.0])).tolist() == [0.125, 0.375, 0.5]


def test_equations_6_and_8_agree_for_an_exact_score() -> None:
    source = autoregressive(4, 4)
    ratios = source.ratios(SIGMA)
    places = torch.arange(source.num_tokens)[:, None].expand(-1, source.vocab_size)
    by_reference = ratios[source.neighbours, places]
    averaged = conventions.averaged_conditionals(by_reference)
    assert (averaged - conventions.conditionals(ratios)).abs().max() < 1e-12


def test_an_ordinary_denoiser_gives_the_score() -> None:
    source = autoregressive(4, 4)
    sigma = torch.full((len(source.states),), SIGMA, dtype=torch.float64)
    given = denoised(source, SIGMA)
    ratios = conventions.ratios_from_denoised(given, source.states, sigma)
    assert (ratios - source.ratios(SIGMA)).abs().max() < 1e-12
    posterior = conventions.posterior_from_denoised(given, source.states, sigma)
    back = conventions.denoised_from_posterior(posterior, source.states, sigma)
    assert (back - given).abs().max() < 1e-12


def test_posterior_and_conditionals_are_each_others_inverse() -> None:
    source = autoregressive(3, 4)
    sigma = torch.full((len(source.states),), SIGMA, dtype=torch.float64)
    rows = conventions.conditionals(source.ratios(SIGMA))
    posterior = conventions.posterior_from_conditionals(rows, sigma)
    again = conventions.conditionals_from_posterior(posterior, sigma)
    assert (again - rows).abs().max() < 1e-12
    assert (posterior.sum(-1) - 1).abs().max() < 1e-12


def test_a_row_at_its_current_token_is_1() -> None:
    ratios = conventions.to_ratios(torch.tensor([[2.0, 8.0], [5.0, 1.0]]), torch.tensor([1, 0]))
    assert ratios.tolist() == [[0.25, 1.0], [1.0, pytest.approx(0.2)]]


def test_the_chains_score_is_the_enumerated_one() -> None:
    chain = random_chain(3, 5, concentration=0.5, seed=3, dtype=torch.float64)
    law = chain.start
    for _ in range(chain.num_tokens - 1):
        law = law[..., None] * chain.steps
    source = Enumerable(law)
    sigma = torch.full((len(source.states),), SIGMA, dtype=torch.float64)
    assert (chain.score(source.states, sigma) - source.ratios(SIGMA)).abs().max() < 1e-12
