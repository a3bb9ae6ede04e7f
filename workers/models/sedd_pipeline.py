"""A discrete model's checkpoint folder, laid out as diffusers lays out its own.

model_index.json                    _class_name SeddPipeline and the three components
transformer/config.json             `SeddConfig`
transformer/model.safetensors       the averaged weights, under the original's names
tokenizer/vocabulary.json           see `workers.models.vocabulary`
scheduler/scheduler_config.json     the noise: _class_name GeometricNoise, sigma_min and sigma_max,
                                    or _class_name LogLinearNoise and eps
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file

from protocol.vocabularies import CharacterVocabulary, ChoraleVocabulary
from workers.models.folder import INDEX_FILE
from workers.models.sedd_modules import SEDD, SeddConfig
from workers.models.vocabulary import read_vocabulary, write_vocabulary

PIPELINE_CLASS = "SeddPipeline"
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
SCHEDULER_FILE = "scheduler_config.json"
_NOISES = {"GeometricNoise": {"sigma_min", "sigma_max"}, "LogLinearNoise": {"eps"}}


@dataclass(frozen=True)
class SeddPipeline:
    """A network, its vocabulary and the schedule of its noise."""

    transformer: SEDD
    tokenizer: CharacterVocabulary | ChoraleVocabulary
    scheduler: dict[str, Any]

    @classmethod
    def from_pretrained(cls, folder: Path, dtype: torch.dtype = torch.float32) -> Self:
        """Read a folder; the network is ready to evaluate.

        Raises:
            ValueError: an unknown key, vocabulary or noise, or weights of other shapes than the config's.
        """
        weights = load_file(folder / "transformer" / WEIGHTS_FILE)
        network = build(read_config(folder / "transformer" / CONFIG_FILE), weights)
        scheduler = json.loads((folder / "scheduler" / SCHEDULER_FILE).read_text("utf-8"))
        check_noise(scheduler)
        tokenizer = read_vocabulary(folder / "tokenizer")
        if tokenizer.size != network.config.tokens:
            raise ValueError(
                f"{tokenizer.size} tokens in the vocabulary, {network.config.tokens} in the network"
            )
        return cls(cast(network, dtype).eval().requires_grad_(False), tokenizer, scheduler)

    def save_pretrained(self, folder: Path) -> None:
        """Write the folder, weights in their dtype."""
        index = {"_class_name": PIPELINE_CLASS}
        for name, part in (("transformer", self.transformer), ("tokenizer", self.tokenizer)):
            index[name] = type(part).__name__
        index["scheduler"] = self.scheduler["_class_name"]
        config = {"_class_name": "SEDD", **self.transformer.config.model_dump()}
        _write_json(folder / "transformer" / CONFIG_FILE, config)
        weights = {name: value.contiguous() for name, value in self.transformer.state_dict().items()}
        save_file(weights, folder / "transformer" / WEIGHTS_FILE)
        write_vocabulary(self.tokenizer, folder / "tokenizer")
        _write_json(folder / "scheduler" / SCHEDULER_FILE, self.scheduler)
        _write_json(folder / INDEX_FILE, index)


def build(config: SeddConfig, weights: dict[str, torch.Tensor]) -> SEDD:
    """A network that holds these very weights.

    Raises:
        ValueError: names or shapes that are not the config's.
    """
    with torch.device("meta"):
        network = SEDD(config)
    try:
        network.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ValueError(f"the weights are not the config's: {error}") from error
    return network


def cast(network: SEDD, dtype: torch.dtype) -> SEDD:
    """Give the parameters another dtype; rotary frequencies stay float32."""
    for parameter in network.parameters():
        parameter.data = parameter.data.to(dtype)
    return network


def read_config(path: Path) -> SeddConfig:
    """A `config.json` of ours.

    Raises:
        ValueError: another class, or an unknown key.
    """
    content = json.loads(path.read_text("utf-8"))
    if (name := content.pop("_class_name", None)) != "SEDD":
        raise ValueError(f"{path.name} is of a {name}, not of a SEDD")
    return SeddConfig.model_validate(content)


def check_noise(scheduler: dict[str, Any]) -> None:
    """Refuse a noise that nobody here can make.

    Raises:
        ValueError: it names what is known.
    """
    name = scheduler.get("_class_name")
    if name not in _NOISES or set(scheduler) - {"_class_name"} != _NOISES[name]:
        raise ValueError(f"noise {scheduler} is not one of {_NOISES}")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
