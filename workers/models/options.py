"""How a checkpoint is loaded, beside where and in which dtype. Every default is the plain way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from workers.models.mesh import Mesh

NarrowWeights = Literal["int8", "float8"]
Offload = Literal["none", "blocks"]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What is done to a pipeline's denoiser.

    Args:
        mesh: the ranks that share its forwards; None: there is this process only.
        attention_backend: diffusers' name of it; None: the one diffusers takes, torch's own.
        compile_blocks: compile its repeated blocks at their first use. Faster steps for a slow start.
        weights: round the Linears' weights of its blocks to 8 bits and widen them as they are used: half the
            memory, a small error. None: as they were stored.
        offload: `blocks` keeps its blocks in the host's memory and brings each in as it is run.
    """

    mesh: Mesh | None = None
    attention_backend: str | None = None
    compile_blocks: bool = False
    weights: NarrowWeights | None = None
    offload: Offload = "none"

    def check(self, loras: Iterable[str]) -> None:
        """Refuse what does not go with these LoRAs.

        Raises:
            ValueError: saying which option, and what is allowed.
        """
        if not any(True for _ in loras):
            return
        if self.weights is not None:
            raise ValueError("weight_dtype: a checkpoint with loras keeps its own; allowed: null")
        if self.offload != "none":
            raise ValueError("offload: a checkpoint with loras stays on its device; allowed: none")

    @property
    def exact(self) -> bool:
        """Whether a row keeps its bits in company; else it is a stated tolerance, as on a GPU."""
        return self.mesh is None and not self.compile_blocks


PLAIN = LoadOptions()
