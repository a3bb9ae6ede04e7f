"""The transformer of Score-Entropy-Discrete-Diffusion in plain torch, under its own parameter names.

    x = vocab_embed(tokens);  c = silu(sigma_map(sigma))
    each block:  x += gate * attention(modulate(norm1(x)));  x += gate * mlp(modulate(norm2(x)))
    log ratios = output_layer(x, c), the entry at the current token set to 0

Shift, scale and gate are a block's `adaLN_modulation` of c; queries and keys are turned by rotary tables,
each head's halves a pair. Two things are ours and off in published checkpoints: `positions` adds a learned
embedding of the place, without which bidirectional attention under rotary tables cannot tell places apart
when the tokens are pure noise, and `parameterization` says what the output layer gives.

Source: Lou, Meng, Ermon 2024, 2310.16834, and its code, github.com/louaaron/Score-Entropy-Discrete-Diffusion.
The original runs its blocks under bfloat16 autocast around a float32 residual; here all of it has the
weights' dtype, the norms and the noise level's sines apart.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, log_softmax, scaled_dot_product_attention, silu

from protocol.sedd_shape import SeddShape

_SIGMA_CHANNELS = 256
_MAX_PERIOD = 10_000
_MLP_RATIO = 4

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines (n, head dimension), float32."""


class SeddConfig(SeddShape):
    """What a `SEDD` is built from; unknown keys are refused.

    Attributes:
        dropout: in training, on what attention and feed-forward add.
        positions: whether a learned embedding of the place is added to the token's.
        parameterization: "score": the output layer gives log ratios, as published. "leave_one_out": it gives
            the log posterior of the clean token from all the others, and the ratios follow from that.
    """

    dropout: float = 0.1
    positions: bool = False
    parameterization: Literal["score", "leave_one_out"] = "score"


class LayerNorm(nn.Module):
    """A layer norm with a weight and no bias, computed in float32."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        normed = layer_norm(x.float(), (x.shape[-1],)) * self.weight
        return normed.type_as(x)


class TimestepEmbedder(nn.Module):
    """Sines and cosines of the total noise (B,), then two linear layers: (B, cond_dim)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(_SIGMA_CHANNELS, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size)
        )

    def forward(self, sigma: Tensor) -> Tensor:
        half = _SIGMA_CHANNELS // 2
        exponents = torch.arange(half, dtype=torch.float32, device=sigma.device) / half
        angles = sigma[:, None].float() * torch.exp(-math.log(_MAX_PERIOD) * exponents)
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
        embedded: Tensor = self.mlp(waves.to(next(self.mlp.parameters()).dtype))
        return embedded


class RotaryTables(nn.Module):
    """Holds the inverse frequencies under the published buffer's name."""

    inv_freq: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        exponents = torch.arange(0, dim, 2).float() / dim
        self.register_buffer("inv_freq", 1.0 / (_MAX_PERIOD**exponents))

    def forward(self, length: int) -> Rotary:
        places = torch.arange(length, device=self.inv_freq.device, dtype=torch.float32)
        angles = places[:, None] * self.inv_freq.float()
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos(), angles.sin()


class DDiTBlock(nn.Module):
    """One transformer block, modulated by the noise level."""

    def __init__(self, config: SeddConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.n_heads = config.n_heads
        self.norm1 = LayerNorm(dim)
        self.attn_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.attn_out = nn.Linear(dim, dim, bias=False)
        self.dropout1 = nn.Dropout(config.dropout)
        self.norm2 = LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, _MLP_RATIO * dim), nn.GELU(approximate="tanh"), nn.Linear(_MLP_RATIO * dim, dim)
        )
        self.dropout2 = nn.Dropout(config.dropout)
        self.adaLN_modulation = _zeroed(nn.Linear(config.cond_dim, 6 * dim))

    def forward(self, x: Tensor, rotary: Rotary, c: Tensor) -> Tensor:
        parts = self.adaLN_modulation(c)[:, None].chunk(6, dim=2)
        shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp = parts
        attended = self.attn_out(self._attend(_modulate(self.norm1(x), shift_msa, scale_msa), rotary))
        x = x + gate_msa * self.dropout1(attended)
        fed = self.mlp(_modulate(self.norm2(x), shift_mlp, scale_mlp))
        result: Tensor = x + gate_mlp * self.dropout2(fed)
        return result

    def _attend(self, x: Tensor, rotary: Rotary) -> Tensor:
        qkv = self.attn_qkv(x).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind()
        mixed = scaled_dot_product_attention(_turn(query, rotary), _turn(key, rotary), value.contiguous())
        return mixed.transpose(1, 2).flatten(2)


class EmbeddingLayer(nn.Module):
    """A table (vocabulary, dim), looked up by token."""

    def __init__(self, dim: int, vocab_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(vocab_dim, dim))
        nn.init.kaiming_uniform_(self.embedding, a=math.sqrt(5))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.embedding[tokens]


class DDitFinalLayer(nn.Module):
    """The output layer; all zeros at first."""

    def __init__(self, config: SeddConfig) -> None:
        super().__init__()
        self.norm_final = LayerNorm(config.hidden_size)
        self.linear = _zeroed(nn.Linear(config.hidden_size, config.tokens))
        self.adaLN_modulation = _zeroed(nn.Linear(config.cond_dim, 2 * config.hidden_size))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(c)[:, None].chunk(2, dim=2)
        output: Tensor = self.linear(_modulate(self.norm_final(x), shift, scale))
        return output


class SEDD(nn.Module):
    """The whole network."""

    def __init__(self, config: SeddConfig) -> None:
        super().__init__()
        self.config = config
        self.vocab_embed = EmbeddingLayer(config.hidden_size, config.tokens)
        if config.positions:
            self.position_embed = EmbeddingLayer(config.hidden_size, config.length)
        self.sigma_map = TimestepEmbedder(config.cond_dim)
        self.rotary_emb = RotaryTables(config.hidden_size // config.n_heads)
        self.blocks = nn.ModuleList(DDiTBlock(config) for _ in range(config.n_blocks))
        self.output_layer = DDitFinalLayer(config)

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens (B, n), int64, as vectors (B, n, hidden_size)."""
        embedded: Tensor = self.vocab_embed(tokens)
        if self.config.positions:
            embedded = embedded + self.position_embed.embedding[: tokens.shape[1]]
        return embedded

    def condition(self, sigma: Tensor) -> Tensor:
        """Total noise (B,) as the blocks take it, (B, cond_dim)."""
        return silu(self.sigma_map(sigma))

    def raw(self, tokens: Tensor, sigma: Tensor) -> Tensor:
        """What the output layer gives, (B, n, S)."""
        x, c, rotary = self.embed(tokens), self.condition(sigma), self.rotary_emb(tokens.shape[1])
        for block in self.blocks:
            x = block(x, rotary, c)
        output: Tensor = self.output_layer(x, c)
        return output

    def forward(self, tokens: Tensor, sigma: Tensor) -> Tensor:
        """Log ratios.

        Args:
            tokens: (B, n), int64.
            sigma: (B,), total noise above 0.

        Returns:
            log q_sigma(y) / q_sigma(x) for y that has `a` in place i of x, (B, n, S), float32; 0 at a = x_i.
        """
        return self.log_ratios(self.raw(tokens, sigma), tokens, sigma)

    def log_ratios(self, raw: Tensor, tokens: Tensor, sigma: Tensor) -> Tensor:
        """The log ratios that an output of `raw` stands for, (B, n, S), float32."""
        if self.config.parameterization == "score":
            zeros = torch.zeros_like(tokens, dtype=torch.float32)[..., None]
            return raw.float().scatter(-1, tokens[..., None], zeros)
        return leave_one_out_log_ratios(raw.float(), tokens, sigma)


def leave_one_out_log_ratios(logits: Tensor, tokens: Tensor, sigma: Tensor) -> Tensor:
    """Log ratios from the clean token's posterior mu given all other tokens.

    s_a = (S alpha mu_a + 1 - alpha) / (S alpha mu_x + 1 - alpha), alpha = exp(-sigma).

    Args:
        logits: of mu, up to a constant, (B, n, S).
        tokens: x, (B, n).
        sigma: (B,), above 0.

    Source: the conversion of 2605.22765 (github.com/samsongourevitch/rev_udm).
    """
    noise = sigma.float()[:, None, None]
    kept = math.log(logits.shape[-1]) - noise + log_softmax(logits, dim=-1)
    joint = torch.logaddexp(kept, torch.log(-torch.expm1(-noise)))
    return joint - joint.gather(-1, tokens[..., None])


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return x * (1 + scale) + shift


def _turn(x: Tensor, rotary: Rotary) -> Tensor:
    """Turn the pairs (i, i + D/2) of heads (B, heads, n, D)."""
    cosines, sines = (table.to(x.dtype) for table in rotary)
    first, second = x.chunk(2, dim=-1)
    return x * cosines + torch.cat([-second, first], dim=-1) * sines


def _zeroed(linear: nn.Linear) -> nn.Linear:
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
