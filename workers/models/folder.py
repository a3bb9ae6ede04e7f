"""A checkpoint folder: its digest, its age, and what `rheostat.json` says beside the weights.

`rheostat.json` stands beside `model_index.json` and is optional. It may narrow what the architecture would
allow to what the weights were trained for; every entry may be left out, unknown ones are refused:

    {
      "defaults": {"width": 64, "height": 64, "num_inference_steps": 28, "guidance_scale": 3.5},
      "sizes": {"min_side": 32, "max_side": 128, "max_pixels": 16384}
    }

`defaults` is what a request gets where it is silent, `sizes` what it may ask for, in pixels. A model of clips
may have `"frames": {"max_frames": 17, "fps": 8}` and a default `num_frames` as well, a model of sequences a
default `length`. `loras` are described in `workers.models.loras`. `prediction` is another kind of entry: it
says what the weights are, see `workers.models.declaration`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from protocol.catalog import InputDefaults, SizeLimits
from protocol.jobs import LoraName
from workers.core import Prediction
from workers.models.digests import sha256_of

SETTINGS_FILE = "rheostat.json"
INDEX_FILE = "model_index.json"
FEW_STEPS_FOLDER = "transformer_few"
"""The component that a pipeline's index does not name, see `workers.models.few_steps`."""
_WEIGHTS = (".safetensors",)
_DIGESTED = (*_WEIGHTS, ".json", ".txt", ".model")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DefaultsOverride(_Strict):
    """See `protocol.catalog.InputDefaults`."""

    width: PositiveInt | None = None
    height: PositiveInt | None = None
    num_inference_steps: PositiveInt | None = None
    guidance_scale: PositiveFloat | None = None
    num_frames: PositiveInt | None = None
    length: PositiveInt | None = None


class SizesOverride(_Strict):
    """See `protocol.catalog.SizeLimits`; `multiple` is the architecture's and cannot be changed."""

    min_side: PositiveInt | None = None
    max_side: PositiveInt | None = None
    max_pixels: PositiveInt | None = None


class FramesOverride(_Strict):
    """See `protocol.catalog.FrameLimits`; `fps` is how fast clips play."""

    max_frames: PositiveInt | None = None
    fps: PositiveFloat | None = None


class LoraFile(_Strict):
    """See `workers.models.loras`."""

    file: Annotated[str, Field(min_length=1)]
    scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0


class PredictionSettings(_Strict):
    """What the network predicts and the least divisor when a flow is made of it; None: the target's own."""

    target: Literal[Prediction.FLOW, Prediction.X0, Prediction.EPS]
    clamp: float | None = Field(None, ge=0.0, lt=1.0)


class FolderSettings(_Strict):
    """The content of `rheostat.json`."""

    defaults: DefaultsOverride = DefaultsOverride()
    sizes: SizesOverride = SizesOverride()
    frames: FramesOverride = FramesOverride()
    loras: dict[LoraName, LoraFile] = {}
    prediction: PredictionSettings | None = None

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The folder's settings, or none.

        Raises:
            ValueError: the file holds something else; the message names the key.
        """
        path = folder / SETTINGS_FILE
        return cls.model_validate_json(path.read_bytes()) if path.exists() else cls()

    def fill(self, defaults: InputDefaults) -> InputDefaults:
        return defaults.model_copy(update=self.defaults.model_dump(exclude_none=True))

    def limit(self, sizes: SizeLimits) -> SizeLimits:
        return sizes.model_copy(update=self.sizes.model_dump(exclude_none=True))


def digest_of(folder: Path, *, students: bool = True) -> str:
    """SHA-256 over names and bytes of all weights, configs and vocabularies the pipeline is made of, and over
    the prediction that `rheostat.json` declares, if it does.

    Args:
        folder: of the checkpoint.
        students: with the student of few steps, if there is one; else of what it could have learned from.
    """
    total = hashlib.sha256()
    for path in _files(folder, _DIGESTED, students=students):
        total.update(f"{path.relative_to(folder).as_posix()}\0{sha256_of(path)}\n".encode())
    if (prediction := FolderSettings.read(folder).prediction) is not None:
        total.update(f"prediction\0{prediction.model_dump_json()}\n".encode())
    return total.hexdigest()


def served_digest(folder: Path, digest: str, weights: str | None) -> str:
    """What names all that can run: the checkpoint's digest, what rounds it, its LoRAs and their scales.

    The plain digest where nothing is rounded and there are no LoRAs.

    Raises:
        ValueError: a file is not there.
    """
    loras = FolderSettings.read(folder).loras
    if missing := [name for name, lora in loras.items() if not (folder / lora.file).is_file()]:
        raise ValueError(f"loras.{missing[0]}: no file {folder / loras[missing[0]].file}")
    if not loras and weights is None:
        return digest
    total = hashlib.sha256(f"{digest}\0{weights}\n".encode())
    for name, lora in sorted(loras.items()):
        total.update(f"{name}\0{lora.scale}\0{sha256_of(folder / lora.file)}\n".encode())
    return total.hexdigest()


def newest_change(folder: Path) -> int:
    """Unix seconds of the youngest weights file."""
    return max((int(path.stat().st_mtime) for path in _files(folder, _WEIGHTS)), default=0)


def _files(folder: Path, suffixes: tuple[str, ...], *, students: bool = True) -> Iterator[Path]:
    """The index, then the components' files by name. Whatever else lies there does not change the model."""
    index = json.loads((folder / INDEX_FILE).read_text("utf-8"))
    names = {*index, FEW_STEPS_FOLDER} if students else {*index} - {FEW_STEPS_FOLDER}
    if INDEX_FILE.endswith(suffixes):
        yield folder / INDEX_FILE
    for component in sorted(name for name in names if (folder / name).is_dir()):
        yield from sorted(path for path in (folder / component).rglob("*") if path.suffix in suffixes)
