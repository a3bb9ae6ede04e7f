"""What the text encoders cost: `CLIPTextModel`, `T5EncoderModel`, `UMT5EncoderModel`.

They run over all the tokens their tokenizer pads to, however short the prompt is.
"""

from __future__ import annotations

from protocol.cost.ops import attention, linear
from protocol.shapes import ClipTextShape, T5Shape


def clip_cost(shape: ClipTextShape) -> int:
    """FLOP of one prompt through CLIP's text model."""
    dim = shape.hidden_size
    layer = 4 * linear(shape.tokens, dim, dim) + attention(shape.tokens, shape.tokens, dim)
    layer += 2 * linear(shape.tokens, dim, shape.intermediate_size)
    return shape.num_hidden_layers * layer


def t5_cost(shape: T5Shape) -> int:
    """FLOP of one prompt through a T5 or UMT5 encoder; the position bias costs no product."""
    layer = 4 * linear(shape.tokens, shape.d_model, shape.inner_dim)
    layer += attention(shape.tokens, shape.tokens, shape.inner_dim)
    layer += (3 if shape.gated else 2) * linear(shape.tokens, shape.d_model, shape.d_ff)
    return shape.num_layers * layer
