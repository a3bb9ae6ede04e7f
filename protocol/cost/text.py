"""What encoders cost: `CLIPTextModel`, `T5EncoderModel` and `UMT5EncoderModel`, and `CLIPVisionModel`.

Prompts run over all the tokens their tokenizer pads to, however short they are; images over all patches.
"""

from __future__ import annotations

from protocol.cost.ops import attention, conv, linear
from protocol.encoder_shapes import ClipImageShape, ClipTextShape, T5Shape


def clip_cost(shape: ClipTextShape) -> int:
    """FLOP of one prompt through CLIP's text model."""
    return shape.num_hidden_layers * _clip_layer(shape)


def clip_image_cost(shape: ClipImageShape) -> int:
    """FLOP of one image through CLIP's vision model, which makes a token of each patch."""
    patches = conv(shape.patches, shape.num_channels, shape.hidden_size, shape.patch_size**2)
    return patches + shape.num_hidden_layers * _clip_layer(shape)


def _clip_layer(shape: ClipTextShape | ClipImageShape) -> int:
    dim = shape.hidden_size
    flop = 4 * linear(shape.tokens, dim, dim) + attention(shape.tokens, shape.tokens, dim)
    return flop + 2 * linear(shape.tokens, dim, shape.intermediate_size)


def t5_cost(shape: T5Shape) -> int:
    """FLOP of one prompt through a T5 or UMT5 encoder; the position bias costs no product."""
    layer = 4 * linear(shape.tokens, shape.d_model, shape.inner_dim)
    layer += attention(shape.tokens, shape.tokens, shape.inner_dim)
    layer += (3 if shape.gated else 2) * linear(shape.tokens, shape.d_model, shape.d_ff)
    return shape.num_layers * layer
