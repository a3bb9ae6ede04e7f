"""LoRA files of a checkpoint: loaded beside its weights, one of them or none at work at a time.

`rheostat.json` lists them, by the names requests use:

    {"loras": {"oil-paint": {"file": "loras/oil.safetensors", "scale": 0.8}}}

`file` is relative to the checkpoint's folder, in any layout diffusers reads; `scale` is 1 where it is left
out. They change the denoiser only. Their own two small products a Linear are not priced: a LoRA of rank r
adds about 2 r / width to what a Linear costs.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

from workers.models.folder import LoraFile
from workers.models.row_linear import RowLinear, isolate_rows
from workers.models.row_probe import mixing_linears

_OF_TEXT_ENCODERS = ("text_encoder", "lora_te")


class Loras:
    """A pipeline's LoRAs, with the denoiser's rows as isolated as they were.

    Args:
        pipeline: diffusers'; its transformer's Linears are RowLinear where they need be already.
        folder: of the checkpoint.
        files: by name.

    Raises:
        ImportError: there are files, and peft is not installed.
        ValueError: a file that diffusers cannot read, or that has weights for the text encoders.
    """

    def __init__(self, pipeline: Any, folder: Path, files: Mapping[str, LoraFile]) -> None:
        self._transformer = pipeline.transformer
        self._scales = {name: lora.scale for name, lora in files.items()}
        self._used: str | None = None
        for name, lora in files.items():
            _load(pipeline, name, folder / lora.file)
        if files:
            isolate_rows(
                self._transformer, [*_of_rows(self._transformer), *mixing_linears(self._transformer)]
            )
            self._transformer.disable_lora()

    def use(self, name: str | None) -> None:
        """Have the denoiser's next forwards run with this one; None: with its own weights alone."""
        if name == self._used:
            return
        if name is None:
            self._transformer.disable_lora()
        else:
            self._transformer.enable_lora()
            self._transformer.set_adapters([name], [self._scales[name]])
        self._used = name


def _load(pipeline: Any, name: str, file: Path) -> None:
    with safe_open(file, "pt") as weights:
        foreign = [key for key in weights.keys() if key.startswith(_OF_TEXT_ENCODERS)]  # noqa: SIM118
    if foreign:
        raise ValueError(
            f"loras.{name}: {file} changes the text encoders ({foreign[0]}), which is not supported"
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # so it is meant
            pipeline.load_lora_weights(
                file.parent, weight_name=file.name, adapter_name=name, local_files_only=True
            )
    except ValueError as error:
        if "PEFT backend is required" in str(error):
            raise ImportError("loras need peft: install rheostat[lora]") from error
        raise ValueError(f"loras.{name}: {error}") from error


def _of_rows(transformer: nn.Module) -> Iterator[str]:
    """Names of the LoRAs' Linears beside a Linear that runs a row at a time."""
    for name, module in transformer.named_modules():
        if isinstance(getattr(module, "base_layer", None), RowLinear):
            for part in ("lora_A", "lora_B"):
                yield from (f"{name}.{part}.{adapter}" for adapter in getattr(module, part))
