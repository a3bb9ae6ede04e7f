"""Limits of one engine, each with a default."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt


class EngineSettings(BaseModel):
    """How much an engine takes on and how it shares its turns.

    Args:
        memory_bytes: what all samples in flight may hold; None takes `memory_share` of what is free at the
            start.
        memory_share: of the free memory; the rest is for the allocator and for others.
        num_threads: torch's intra-op threads, a setting of the whole process; None leaves it alone. One is
            best where anything else runs on the same cores: idle OpenMP threads spin.
        max_samples: in flight at once, whatever memory says.
        max_rows: lanes in one forward; larger batches gain nothing and make every row wait longer.
        max_wait_turns: a sample that its group's forwards passed over this often moves next.
        min_batch_gain: a smaller batch must be this much faster a row before it is preferred.
        explore_turns: every so many turns of a group, another batch size is measured.
        max_forecasts: evaluations a sample may forecast in one turn before it waits for the next.
        max_encodes: jobs whose prompts are encoded in one turn; the others wait for the next.
        preview_every: evaluations of a sample between two previews, each of which costs a decode; 0: none are
            made.
        weights: the share of the clock a model has against the others', by name; 1 for those not named.
            Counts only where several models have work.
        burst_s: seconds a model may save up while it does nothing. More keeps a model quick that comes in
            bursts; less lets the others wait for less time.
        slice_s: in an engine of several models a forward is laid aside after so long, at the end of a block,
            so that another model's samples may move. Less is a shorter wait, more is fewer interruptions.
        latents_only: results carry latents and no picture or clip, for measurements that need none. Their
            receipts' other compute still counts the decoder.
        decode_backlog: of the samples waiting for their decoder, one in this many (at least one) is decoded a
            turn, each model for itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_bytes: PositiveInt | None = None
    memory_share: float = Field(0.8, gt=0.0, le=1.0)
    num_threads: PositiveInt | None = None
    max_samples: PositiveInt = 64
    max_rows: PositiveInt = 32
    max_wait_turns: PositiveInt = 8
    min_batch_gain: float = Field(0.05, ge=0.0, lt=1.0)
    explore_turns: PositiveInt = 32
    max_forecasts: PositiveInt = 8
    max_encodes: PositiveInt = 8
    preview_every: NonNegativeInt = 0
    latents_only: bool = False
    decode_backlog: PositiveInt = 4
    weights: Mapping[str, PositiveFloat] = {}
    burst_s: PositiveFloat = 10.0
    slice_s: PositiveFloat = 0.05
