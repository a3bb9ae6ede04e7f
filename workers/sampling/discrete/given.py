"""Tokens that are to be kept, bit for bit."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import SupportsIndex

import torch
from torch import Tensor

from workers.sampling.discrete.errors import refuse

Asked = Tensor | Sequence[int | None] | Mapping[int, int] | tuple[Tensor, Tensor] | None
"""How `sample` may be told: a prefix for all rows (n,) or one a row (B, n); a list in which None is free; a
mapping from position to token; or a mask and tokens, each (d,) or (B, d)."""


@dataclass(frozen=True, slots=True)
class Given:
    """Which tokens are fixed.

    Args:
        mask: (B, d), bool.
        tokens: (B, d), int64; what stands outside the mask means nothing.
    """

    mask: Tensor
    tokens: Tensor

    def impose(self, tokens: Tensor) -> Tensor:
        """The same tokens with the given ones in their places."""
        return torch.where(self.mask, self.tokens, tokens)

    def to(self, device: torch.device | str) -> Given:
        return Given(self.mask.to(device), self.tokens.to(device))


def read_given(asked: Asked, batch: int, num_tokens: int, vocab_size: int) -> Given:
    """Check what was asked and lay it out.

    Raises:
        InvalidArgument: it is longer than the sequence, or a position or token is out of range.
    """
    mask, tokens = _laid_out(asked, num_tokens)
    mask, tokens = (_for_rows(each, batch, num_tokens) for each in (mask, tokens))
    _check_range(mask, tokens, vocab_size)
    return Given(mask, torch.where(mask, tokens, 0))


def _laid_out(asked: Asked, num_tokens: int) -> tuple[Tensor, Tensor]:
    """Mask and tokens, (d,) or (B, d)."""
    if asked is None:
        return _from_positions({}, num_tokens)
    if isinstance(asked, Mapping):
        return _from_positions(asked, num_tokens)
    if isinstance(asked, Tensor):
        return _from_prefix(asked, num_tokens)
    tensors = [each for each in asked if isinstance(each, Tensor) and each.ndim]
    if len(asked) == 2 == len(tensors):
        mask, tokens = tensors
        return _from_pair(mask, tokens, num_tokens)
    _check_length(len(asked), num_tokens)
    return _from_positions({place: each for place, each in enumerate(asked) if each is not None}, num_tokens)


def _from_positions(asked: Mapping[int, SupportsIndex], num_tokens: int) -> tuple[Tensor, Tensor]:
    mask, tokens = torch.zeros(num_tokens, dtype=torch.bool), torch.zeros(num_tokens, dtype=torch.int64)
    for place, token in asked.items():
        if not 0 <= place < num_tokens:
            raise refuse("given", f"position {place}", f"0 to {num_tokens - 1}")
        mask[place], tokens[place] = True, _whole(token)
    return mask, tokens


def _from_prefix(asked: Tensor, num_tokens: int) -> tuple[Tensor, Tensor]:
    if asked.ndim not in (1, 2):
        raise refuse("given", f"a tensor of {asked.ndim} dimensions", "(n,) or (batch, n)")
    _check_whole(asked)
    _check_length(asked.shape[-1], num_tokens)
    rest = (0, num_tokens - asked.shape[-1])
    known = torch.ones(asked.shape, dtype=torch.bool, device=asked.device)
    return torch.nn.functional.pad(known, rest), torch.nn.functional.pad(asked.long(), rest)


def _from_pair(mask: Tensor, tokens: Tensor, num_tokens: int) -> tuple[Tensor, Tensor]:
    if mask.dtype is not torch.bool:
        raise refuse("given", f"a mask of {mask.dtype}", "torch.bool")
    _check_whole(tokens)
    for name, each in (("mask", mask), ("tokens", tokens)):
        if each.ndim not in (1, 2) or each.shape[-1] != num_tokens:
            wanted = f"({num_tokens},) or (batch, {num_tokens})"
            raise refuse("given", f"{name} of shape {tuple(each.shape)}", wanted)
    return mask, tokens.long()


def _for_rows(each: Tensor, batch: int, num_tokens: int) -> Tensor:
    if each.ndim == 2 and each.shape[0] not in (1, batch):
        raise refuse("given", f"{each.shape[0]} rows", f"1 or {batch}")
    return each.expand(batch, num_tokens)


def _check_whole(tokens: Tensor) -> None:
    if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype is torch.bool:
        raise refuse("given", f"tokens of {tokens.dtype}", "whole numbers")


def _whole(token: SupportsIndex) -> int:
    try:
        return operator.index(token)
    except TypeError as error:
        raise refuse("given", repr(token), "whole numbers") from error


def _check_length(length: int, num_tokens: int) -> None:
    if length > num_tokens:
        raise refuse("given", f"{length} tokens", f"at most num_tokens, {num_tokens}")


def _check_range(mask: Tensor, tokens: Tensor, vocab_size: int) -> None:
    wrong = mask & ((tokens < 0) | (tokens >= vocab_size))
    if wrong.any():
        row, place = wrong.nonzero()[0].tolist()
        token = int(tokens[row, place])
        raise refuse("given", f"token {token} at position {place}", f"0 to {vocab_size - 1}")
