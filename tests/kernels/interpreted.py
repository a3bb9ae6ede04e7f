"""Run in a process of its own under TRITON_INTERPRET=1: the kernel's tokens are the torch code's."""

from __future__ import annotations

import itertools

import torch

from workers.kernels import gibbs_triton
from workers.kernels.gibbs import gibbs_step_torch


def main() -> None:
    generator = torch.Generator().manual_seed(3)
    gibbs_triton.MAX_BLOCK = 16
    for vocab_size, (threshold, confidence) in itertools.product(
        (2, 12, 40), ((-1, -1), (104858, -1), (-1, 419430))
    ):
        tokens = torch.randint(vocab_size, (3, 6), generator=generator)
        ratios = torch.rand(3, 6, vocab_size, generator=generator) ** 4
        sites = torch.stack([torch.randperm(6, generator=generator)[:4] for _ in range(3)])
        sites[0, 1] = -1
        uniforms = torch.rand(3, 4, generator=generator)
        given = (tokens, ratios, sites, uniforms)
        rules = {"threshold": threshold, "confidence": confidence}
        assert gibbs_triton.gibbs_step_triton(*given, **rules).equal(gibbs_step_torch(*given, **rules))
    print("same tokens")


if __name__ == "__main__":
    main()
