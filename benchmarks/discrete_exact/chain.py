"""A first-order chain of any length, whose scores are exact by forward-backward."""

from __future__ import annotations

import torch
from torch import Tensor

from workers.sampling.discrete.conventions import ratios_from_posterior

_FLOOR, _SETTLING = 0.02, 2_000


class Chain:
    """A stationary Markov chain over tokens.

    Args:
        steps: (S, S), float64, rows sum to 1.
        num_tokens: d.
        dtype: that scores are computed in.
    """

    def __init__(self, steps: Tensor, num_tokens: int, dtype: torch.dtype = torch.float32) -> None:
        self.num_tokens, self.vocab_size = num_tokens, len(steps)
        start = torch.full((len(steps),), 1 / len(steps), dtype=torch.float64)
        for _ in range(_SETTLING):
            start = start @ steps
        self.start, self.steps, self.dtype = start, steps, dtype

    @property
    def bigrams(self) -> Tensor:
        """(S, S), float64: the law of neighbours."""
        return self.start[:, None] * self.steps

    @property
    def unigram_entropy(self) -> float:
        """Nats of a token."""
        return float(-(self.start * self.start.log()).sum())

    @property
    def entropy(self) -> float:
        """Nats of a sequence, a token."""
        following = float(-(self.bigrams * self.steps.log()).sum())
        return (self.unigram_entropy + (self.num_tokens - 1) * following) / self.num_tokens

    def score(self, tokens: Tensor, sigma: Tensor) -> Tensor:
        """(B, d, S): exact ratios, by the posterior of each clean token given all other noisy ones."""
        noise = sigma.to(self.dtype)
        posterior = self.posterior(tokens, noise)
        return ratios_from_posterior(posterior, tokens, noise)

    def posterior(self, tokens: Tensor, sigma: Tensor) -> Tensor:
        """Leave-one-out, (B, d, S): the product of both directions' messages."""
        kept = torch.exp(-sigma)[:, None, None]
        seen = torch.nn.functional.one_hot(tokens, self.vocab_size).to(self.dtype)
        emitted = (kept * seen + (1 - kept) / self.vocab_size).transpose(0, 1).contiguous()
        steps = self.steps.to(self.dtype)
        forth = _messages(emitted, self.start.to(self.dtype).expand_as(emitted[0]), steps)
        back = _messages(emitted.flip(0), torch.ones_like(emitted[0]), steps.T.contiguous()).flip(0)
        product = (forth * back).transpose(0, 1)
        return product / product.sum(-1, keepdim=True)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, d) sequences of the chain itself."""
        tokens = torch.empty(count, self.num_tokens, dtype=torch.int64)
        tokens[:, 0] = torch.multinomial(self.start, count, replacement=True, generator=generator)
        for place in range(1, self.num_tokens):
            laws = self.steps[tokens[:, place - 1]]
            tokens[:, place] = torch.multinomial(laws, 1, generator=generator)[:, 0]
        return tokens


def _messages(emitted: Tensor, first: Tensor, steps: Tensor) -> Tensor:
    """(d, B, S): what is known of each clean token from the noisy ones before it."""
    result, now = torch.empty_like(emitted), first
    for place, here in enumerate(emitted):
        result[place] = now
        known = now * here
        now = (known / known.sum(-1, keepdim=True)) @ steps
    return result


def random_chain(
    vocab_size: int, num_tokens: int, *, concentration: float, seed: int, dtype: torch.dtype = torch.float32
) -> Chain:
    """Rows drawn from a Dirichlet law, with a floor so that every step is possible."""
    law = torch.distributions.Dirichlet(torch.full((vocab_size,), concentration))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rows = law.sample((vocab_size,)).double()
    rows = rows / rows.sum(-1, keepdim=True)
    return Chain((1 - _FLOOR) * rows + _FLOOR / vocab_size, num_tokens, dtype)
