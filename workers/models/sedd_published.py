"""Checkpoints of Score-Entropy-Discrete-Diffusion as its authors' code writes them.

A hub folder holds `config.json` (the training run's nested one) and `model.safetensors` or
`pytorch_model.bin`; a training run writes `checkpoint.pth` with the weights of the last step and, in the
order of the network's parameters, their moving average. The average is what is sampled with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from workers.models.sedd_modules import SEDD, SeddConfig
from workers.models.sedd_pipeline import CONFIG_FILE, WEIGHTS_FILE, build

_NOISES = {"geometric": ("GeometricNoise", ("sigma_min", "sigma_max")), "loglinear": ("LogLinearNoise", ())}
_LOG_LINEAR_EPS = 1e-3


def load_published(folder: Path) -> tuple[SEDD, dict[str, Any]]:
    """The network and the noise of a hub folder, or of a run's folder with a `checkpoint.pth`.

    Raises:
        ValueError: a graph other than the uniform one, or weights of other shapes than the config's.
    """
    published = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
    config = config_of(published)
    network = build(config, _read_weights(folder, config))
    return network.eval().requires_grad_(False), noise_of(published)


def config_of(published: Mapping[str, Any]) -> SeddConfig:
    """Our flat config of the authors' nested one.

    Raises:
        ValueError: an absorbing graph, or scaling by sigma, which the original refuses without one.
    """
    if (graph := published["graph"]["type"]) != "uniform":
        raise ValueError(f"graph {graph!r} is not supported; there is 'uniform'")
    model = dict(published["model"])
    if model.get("scale_by_sigma"):
        raise ValueError("scale_by_sigma is for absorbing graphs only")
    known = ("hidden_size", "cond_dim", "length", "n_blocks", "n_heads", "dropout")
    return SeddConfig(tokens=published["tokens"], **{name: model[name] for name in known})


def noise_of(published: Mapping[str, Any]) -> dict[str, Any]:
    """Our scheduler config of the authors' noise.

    Raises:
        ValueError: a noise they do not have.
    """
    noise = published["noise"]
    if noise["type"] not in _NOISES:
        raise ValueError(f"noise {noise['type']!r} is not one of {', '.join(_NOISES)}")
    name, numbers = _NOISES[noise["type"]]
    fixed = {} if numbers else {"eps": _LOG_LINEAR_EPS}
    return {"_class_name": name, **{each: float(noise[each]) for each in numbers}, **fixed}


def averaged(checkpoint: Mapping[str, Any], config: SeddConfig) -> dict[str, torch.Tensor]:
    """A training checkpoint's weights with the moving average in the parameters' places.

    Raises:
        ValueError: an average of another number of parameters.
    """
    with torch.device("meta"):
        names = [name for name, _ in SEDD(config).named_parameters()]
    shadows = checkpoint["ema"]["shadow_params"]
    if len(shadows) != len(names):
        raise ValueError(f"{len(shadows)} averaged parameters for {len(names)}")
    return {**checkpoint["model"], **dict(zip(names, shadows, strict=True))}


def _read_weights(folder: Path, config: SeddConfig) -> dict[str, torch.Tensor]:
    if (path := folder / WEIGHTS_FILE).exists():
        return load_file(path)
    found = [path for name in ("pytorch_model.bin", "checkpoint.pth") if (path := folder / name).exists()]
    if not found:
        raise ValueError(f"{folder} has no {WEIGHTS_FILE}, pytorch_model.bin or checkpoint.pth")
    content: dict[str, Any] = torch.load(found[0], map_location="cpu", weights_only=True)
    return averaged(content, config) if "ema" in content else content
