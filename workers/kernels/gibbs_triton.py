"""The Gibbs step as a Triton kernel: a program a site, three passes over its row, only tokens written."""

import triton
import triton.language as tl
from torch import Tensor

from workers.kernels.gibbs import LARGEST, RULE_BITS, UNIFORM_BITS, WEIGHT_BITS

MAX_BLOCK = 4096

_LARGEST = tl.constexpr(LARGEST)
_WEIGHT_UNIT = tl.constexpr(float(2**WEIGHT_BITS))
_UNIFORM_UNIT = tl.constexpr(float(2**UNIFORM_BITS))
_UNIFORM_BITS = tl.constexpr(UNIFORM_BITS)
_RULE_BITS = tl.constexpr(RULE_BITS)
_PEAK = tl.constexpr(2 ** (WEIGHT_BITS + RULE_BITS))


@triton.jit
def _weights(row, offsets, vocab_size, peak):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """A block of the row in units of 2**-24 of its largest entry; 0 beyond the row's end."""
    values = tl.load(row + offsets, mask=offsets < vocab_size, other=0.0)
    values = tl.minimum(tl.maximum(values, 0.0), _LARGEST)
    return tl.floor(tl.div_rn(values, peak) * _WEIGHT_UNIT).to(tl.int64)


@triton.jit  # type: ignore[untyped-decorator]
def gibbs_kernel(  # type: ignore[no-untyped-def] # noqa: ANN201, PLR0917
    tokens,  # noqa: ANN001
    ratios,  # noqa: ANN001
    sites,  # noqa: ANN001
    uniforms,  # noqa: ANN001
    out,  # noqa: ANN001
    num_tokens,  # noqa: ANN001
    num_sites,  # noqa: ANN001
    vocab_size,  # noqa: ANN001
    threshold,  # noqa: ANN001
    confidence,  # noqa: ANN001
    BLOCK: tl.constexpr,  # noqa: N803
):
    """Resample site `program` of the flattened (B, k) sites; `out` starts as a copy of `tokens`."""
    place = tl.program_id(0).to(tl.int64)
    site = tl.load(sites + place)
    if site >= 0:
        at = (place // num_sites) * num_tokens + site
        row = ratios + at * vocab_size
        current = tl.load(tokens + at)
        block = tl.arange(0, BLOCK)
        largest = tl.zeros([BLOCK], tl.float32)
        for start in range(0, vocab_size, BLOCK):
            values = tl.load(row + start + block, mask=start + block < vocab_size, other=0.0)
            largest = tl.maximum(largest, tl.minimum(values, _LARGEST))
        peak = tl.max(largest, 0)
        totals = tl.zeros([BLOCK], tl.int64)
        kept = tl.zeros([BLOCK], tl.int64)
        for start in range(0, vocab_size, BLOCK):
            weights = _weights(row, start + block, vocab_size, peak)
            totals += weights
            kept += tl.where(start + block == current, weights, 0)
        total = tl.sum(totals, 0)
        held = tl.sum(kept, 0)
        uniform = (tl.load(uniforms + place) * _UNIFORM_UNIT).to(tl.int64)
        target = (uniform * total) >> _UNIFORM_BITS
        passed = tl.zeros([BLOCK], tl.int64)
        before = total * 0
        for start in range(0, vocab_size, BLOCK):
            weights = _weights(row, start + block, vocab_size, peak)
            passed += (tl.cumsum(weights, 0) + before <= target).to(tl.int64)
            before += tl.sum(weights, 0)
        drawn = tl.sum(passed, 0)
        low = (threshold < 0) | ((held << _RULE_BITS) < total * threshold)
        sure = (confidence < 0) | (total * confidence < _PEAK)
        tl.store(out + at, tl.where(low & sure, drawn, current))


def gibbs_step_triton(
    tokens: Tensor, ratios: Tensor, sites: Tensor, uniforms: Tensor, *, threshold: int, confidence: int
) -> Tensor:
    """The step by the kernel; arguments as `gibbs_step_torch` takes them, ratios read as float32."""
    out = tokens.clone()
    rows = ratios.float().contiguous()
    vocab_size = rows.shape[-1]
    if sites.numel():
        gibbs_kernel[(sites.numel(),)](
            tokens.contiguous(),
            rows,
            sites.contiguous(),
            uniforms.contiguous(),
            out,
            tokens.shape[1],
            sites.shape[1],
            vocab_size,
            threshold,
            confidence,
            BLOCK=min(triton.next_power_of_2(vocab_size), MAX_BLOCK),
        )
    return out
