"""FLOP of the operations that are counted, and how a denoiser's cost is told.

Counted is what `torch.utils.flop_counter.FlopCounterMode` counts: two FLOP a multiply-accumulate of matrix
products, convolutions (positions in the padding included) and attention (the whole square, also under a
causal mask). Norms, activations, rotary tables and sums over residuals are left out by both.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DenoiserCost:
    """FLOP of one evaluation for one row (one lane of one sample)."""

    embed: int
    blocks: tuple[int, ...]
    head: int

    @property
    def evaluation(self) -> int:
        """FLOP of a full evaluation of one row."""
        return self.embed + sum(self.blocks) + self.head

    def of_depth(self, depth: int) -> int:
        """FLOP of an evaluation of one row that runs so many blocks, whichever they are.

        Raises:
            ValueError: it depends on which.
        """
        if depth == len(self.blocks):
            return self.evaluation
        if len(set(self.blocks)) > 1:
            raise ValueError("the blocks do not cost the same, so their number does not tell the cost")
        return self.embed + depth * self.blocks[0] + self.head


def linear(rows: int, in_features: int, out_features: int) -> int:
    """A linear layer over `rows` vectors."""
    return 2 * rows * in_features * out_features


def attention(queries: int, keys: int, inner_dim: int) -> int:
    """Scores and weighted sum; `inner_dim` is heads x head dimension."""
    return 4 * queries * keys * inner_dim


def conv(positions: int, in_channels: int, out_channels: int, kernel: int) -> int:
    """A convolution with `positions` outputs; `kernel` is the number of its taps (9 for 3 x 3)."""
    return 2 * positions * in_channels * out_channels * kernel
