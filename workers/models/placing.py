"""A pipeline as its checkpoint has it, made ready for a device in the way its options ask for."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.hooks import apply_group_offloading
from diffusers.models import attention_dispatch
from torch import Tensor, nn

from workers.models.options import LoadOptions, NarrowWeights

_HOST = torch.device("cpu")


def place(pipeline: Any, device: torch.device, options: LoadOptions) -> Any:
    """The pipeline on `device`, but for what is offloaded, its weights narrow if that is asked for."""
    if options.offload == "none":
        if options.weights is not None:
            narrow(pipeline.transformer, options.weights)
        return pipeline.to(device)
    for component in pipeline.components.values():
        if isinstance(component, nn.Module) and component is not pipeline.transformer:
            component.to(device)
    place_denoiser(pipeline.transformer, device, options)
    return pipeline


def place_denoiser(transformer: Any, device: torch.device, options: LoadOptions) -> Any:
    """A denoiser on `device`, as `place` does it."""
    if options.weights is not None:
        narrow(transformer, options.weights)
    if options.offload == "none":
        return transformer.to(device)
    inside = {id(tensor) for block in _offloaded(transformer) for tensor in _tensors(block)}
    for tensor in _tensors(transformer):
        if id(tensor) not in inside:
            tensor.data = tensor.data.to(device)
    return transformer


def prepare(transformer: Any, device: torch.device, options: LoadOptions) -> None:
    """What comes after the adapter has put its own modules into the denoiser.

    Raises:
        ValueError: an attention backend that is not known or cannot run here, with those that can.
    """
    if options.attention_backend is not None:
        _set_attention_backend(transformer, options.attention_backend)
    if (
        options.mesh is not None
        and options.mesh.passes_keys
        and options.attention_backend in (None, "native")
    ):
        raise ValueError(
            "attention_split 'ring' needs an attention_backend that tells its log-sum-exps; "
            f"allowed: {', '.join(_ringed())}"
        )
    if options.offload == "blocks":
        group = nn.Module()
        group.blocks = nn.ModuleList(_offloaded(transformer))
        apply_group_offloading(group, device, _HOST, offload_type="block_level", num_blocks_per_group=1)
    if options.compile_blocks:
        transformer.compile_repeated_blocks()


def narrow(transformer: Any, weights: NarrowWeights) -> None:
    """Round the weights of all Linears of its blocks to 8 bits, a scale a row; nothing else changes.

    Raises:
        ImportError: torchao is not installed.
    """
    try:
        from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise ImportError("weight_dtype needs torchao: install rheostat[narrow]") from error

    config = {"int8": Int8WeightOnlyConfig, "float8": Float8WeightOnlyConfig}[weights]
    for block in _blocks(transformer):
        quantize_(block, config())


def attention_backends() -> list[str]:
    """Names of diffusers' attention backends whose packages are installed here."""
    found = []
    for backend in attention_dispatch.AttentionBackendName:
        try:
            attention_dispatch._check_attention_backend_requirements(backend)
        except RuntimeError:
            continue
        found.append(backend.value)
    return sorted(found)


def _ringed() -> list[str]:
    """Installed backends that ranks can share, torch's own apart."""
    shared = attention_dispatch._AttentionBackendRegistry._supports_context_parallel
    return [name for name in attention_backends() if name in set(shared) - {"native"}]


def _set_attention_backend(transformer: Any, name: str) -> None:
    allowed = attention_backends()
    if name not in allowed:
        raise ValueError(f"attention_backend {name!r} cannot run here; allowed: {', '.join(allowed)}")
    transformer.set_attention_backend(name)


def _blocks(transformer: Any) -> list[nn.Module]:
    """Its repeated blocks, by diffusers' own list of their classes."""
    names = transformer._repeated_blocks
    return [module for module in transformer.modules() if type(module).__name__ in names]


def _offloaded(transformer: Any) -> list[nn.Module]:
    """All blocks but the first, into which caches look before it runs."""
    return _blocks(transformer)[1:]


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
