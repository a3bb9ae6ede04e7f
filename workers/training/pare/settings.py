"""Every number of the `pare` recipe and its controls: frozen, written beside the student.

The paper's rates are for 14 billion parameters; these are for `wan-tiny`'s four million.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from workers.training.settings import Settings, TransformerSettings
from workers.training.video.settings import ClipPoolSettings, EvaluationSettings

RouterKind = Literal["content", "time", "text", "static", "random", "none"]


class CalibrationSettings(Settings):
    """What importances and roles are measured on.

    Attributes:
        samples: clips of the training data, each at every noise level.
        bins: noise levels, the middles of as many equal parts of [0, 1].
        queries: tokens of each time slice whose attention is looked at; all where there are fewer.
        batch: clips of one forward.
    """

    samples: int = 200
    bins: int = 10
    queries: int = 64
    batch: int = 20


class PruningSettings(Settings):
    """What is kept (equations 3 to 7).

    Attributes:
        kept_share: of heads and of neurons; 1 keeps all.
        scores: of heads; `magnitude` looks at the weights alone.
        protection: factor on the score of a self-attention head that is temporal.
        spatial_above, temporal_below: of the in-slice mass r', 0 for even attention, 1 within slices alone.
        similarity, similarity_step: a neuron more similar than this to a kept one is passed over; raised by
            the step until enough are kept. 1: never passed over.
        corrected: whether the gains of the norms of queries and keys make up for what the missing heads did
            to their statistic.
    """

    kept_share: float = 0.7
    scores: Literal["importance", "magnitude"] = "importance"
    protection: float = 1.5
    spatial_above: float = 0.685
    temporal_below: float = 0.265
    similarity: float = 0.9
    similarity_step: float = 0.02
    corrected: bool = True


class LossSettings(Settings):
    """Weights of the four losses (equations 13 to 15), the paper's for text to video.

    Attributes:
        features: of block outputs, relative to the teacher's mean square there.
        teacher, data: of the velocity against the teacher's, and against noise - clip.
        change: of its differences between neighbouring slices.
        watched_blocks: whose outputs are compared at a step.
        outlier_deviations: tokens whose norm in the teacher is further from the mean are not compared.
    """

    features: float = 10.0
    teacher: float = 6.0
    data: float = 1.0
    change: float = 8.0
    watched_blocks: int = 4
    outlier_deviations: float = 3.0


class StageSettings(TransformerSettings):
    """One stage of training; fields as for `flux-tiny`, but nothing is guided.

    Attributes:
        muon_rate: 0: AdamW for all.
        router_rate: AdamW's, for the router.
        probed_share: of the steps on which one block is evaluated that rows skip, so that its logit learns.
    """

    num_steps: int = 2500
    warmup_steps: int = 100
    decay_steps: int = 2400
    guided_steps: int = 0
    batch: int = 32
    muon_rate: float = 1.5e-3
    adam_rate: float = 5e-4
    router_rate: float = 1e-3
    probed_share: float = 0.1
    compiled: bool = False


class PareSettings(Settings):
    """The whole recipe.

    Attributes:
        control: which control this is, None for the student itself.
        least_share, most_share: K_min and K_max as shares of the blocks.
        router: what it looks at. `content`: time and latents; `text`: the prompt as well; `static`: nothing,
            one set of blocks; `random`: dice; `none`: all blocks run.
        teacher_states: training states of the teacher, whose heads' roles are reported too.
        pool: clips that are encoded for a teacher whose own are not at hand.
        sharding: `fsdp` spreads the blocks' weights over the ranks; with two at least, and without Muon.
        device, dtype: of the forwards; the weights in training are float32.
    """

    seed: int = 0
    control: str | None = None
    least_share: float = 0.4
    most_share: float = 0.85
    router: RouterKind = "content"
    calibration: CalibrationSettings = CalibrationSettings()
    pruning: PruningSettings = PruningSettings()
    losses: LossSettings = LossSettings()
    distil: StageSettings = StageSettings()
    route: StageSettings = StageSettings(num_steps=3000, decay_steps=2900, muon_rate=1e-3, adam_rate=3e-4)
    teacher_states: tuple[Path, ...] = ()
    pool: ClipPoolSettings = ClipPoolSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    sharding: Literal["none", "fsdp"] = "none"
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"

    @model_validator(mode="after")
    def _can_be_sharded(self) -> Self:
        for stage in (self.distil, self.route):
            if self.sharding == "fsdp" and (stage.ranks == 1 or stage.muon_rate):
                raise ValueError("sharding needs ranks of at least 2 and a muon_rate of 0 in both stages")
        return self


_SHORT = PareSettings(
    distil=StageSettings(num_steps=1000, decay_steps=900),
    route=StageSettings(num_steps=1000, decay_steps=900, muon_rate=1e-3, adam_rate=3e-4),
)
_NOTHING_PRUNED = PruningSettings(kept_share=1.0)
_MAGNITUDE = PruningSettings(scores="magnitude", protection=1.0, similarity=1.0, corrected=False)


def _control(name: str, **changes: object) -> PareSettings:
    return _SHORT.model_copy(update={"control": name, **changes})


CONTROLS: Mapping[str, PareSettings] = {
    "short": _control("short"),
    "uniform": _control("uniform", pruning=_MAGNITUDE),
    "unprotected": _control("unprotected", pruning=PruningSettings(protection=1.0)),
    "raw": _control(
        "raw",
        distil=StageSettings(num_steps=0),
        route=_SHORT.route.model_copy(update={"num_steps": 2000, "decay_steps": 1900}),
    ),
    "time": _control("time", router="time"),
    "static": _control("static", router="static"),
    "random": _control("random", router="random"),
    "width": _control("width", router="none"),
    "routing": _control("routing", pruning=_NOTHING_PRUNED),
}
"""Name -> settings. `short` is the student at the controls' length: what they are to be compared with.

uniform: pruned by the weights' magnitude, without data. unprotected: without the factor for temporal heads.
raw: no first stage, as many steps. time: a router that sees no content. static: the best fixed set of blocks
of the same mean depth. random: dice of the same depth. width: pruned only. routing: routed only.
"""
