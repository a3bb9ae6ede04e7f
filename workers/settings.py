"""The worker's settings: command line over environment over file over default.

Environment variables are the field names in capitals after `RHEOSTAT_WORKER_`, parts of `queue`, `s3`,
`audit` and `tracing` after another `__`; the file is YAML with the same names. Unknown keys are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from protocol.jobqueue import QueueSettings
from protocol.layered_settings import LayeredSettings
from protocol.logs import LogFormat, LogLevel
from protocol.s3 import S3Settings
from protocol.tracing import TracingSettings

DATA_DIR = Path.home() / ".local" / "share" / "rheostat"
"""Where everything on this machine lives unless told otherwise."""

ModelName = Annotated[str, Field(min_length=1, max_length=1024)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class AuditSettings(BaseModel):
    """How much is audited.

    Attributes:
        share: of finished jobs whose budget was below full; 0: none. A job is chosen by its id, so that it is
            chosen always or never.
        after_idle_s: how long the worker must have held no job before it begins an audit.
        max_waiting, memory_bytes: audits that wait for that, and what they keep meanwhile; the oldest go
            first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    after_idle_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    max_waiting: Annotated[int, Field(ge=1)] = 64
    memory_bytes: Annotated[int, Field(ge=0)] = 256 * 2**20


class WorkerSettings(LayeredSettings):
    """Everything a worker can be told."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="RHEOSTAT_WORKER_", env_nested_delimiter="__"
    )

    redis_url: str = "redis://127.0.0.1:6379/0"
    artifacts: str = str(DATA_DIR / "artifacts")
    """A folder or an fsspec URL; the gateways' too."""
    s3: S3Settings = S3Settings()
    """How the bucket is reached, if `artifacts` is one."""
    models: Annotated[tuple[ModelName, ...], NoDecode, Field(min_length=1)] = ("flux-tiny",)
    """Names of reference models, folders or hub ids; in text, separated by commas."""
    device: str = "cpu"
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    threads: Annotated[int, Field(ge=1)] = 1
    """Threads of one forward. More than one lets a busy neighbour stop them all (OpenMP spins)."""
    attention_backend: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Which of diffusers' attention backends runs; None: torch's own. One that cannot run here is refused."""
    compile_blocks: bool = False
    """Compile the denoiser's repeated blocks when they first run: faster steps for a slower start.

    Pictures then keep their bits in company in a tolerance only, as on a GPU.
    """
    weight_dtype: Literal["int8", "float8"] | None = None
    """Round the blocks' weights to 8 bits, which takes half of bfloat16's memory and errs a little.

    Prices stay what they were: as many operations, in the same dtype. None: weights as they were stored.
    """
    offload: Literal["none", "blocks"] = "none"
    """`blocks` keeps the blocks in the host's memory and brings each to the device as it runs."""
    ranks: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes, each with a device of its own, that share every forward of the one model served."""
    attention_split: Literal["ulysses", "ring"] = "ulysses"
    """How ranks that hold parts of a sample's tokens attend to the others'.

    `ulysses` exchanges heads, so their number must be a multiple of the ranks'; `ring` passes keys and values
    on, and needs an attention backend that tells its log-sum-exps.
    """
    cfg_parallel: bool = False
    """Half of the ranks evaluate the prompt's lane, half the negative prompt's, where a sample is guided."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None
    """How this worker is called in logs and readiness; None: host and a random part. Must be its own."""

    max_running_jobs: Annotated[int, Field(ge=1, le=256)] = 16
    """Jobs in the engine at once, where memory would allow more."""
    claim_batch: Annotated[int, Field(ge=1, le=64)] = 8
    """Jobs taken by one claim. More is fewer calls; less leaves more to other workers."""
    keep_for_others: Annotated[float, Field(ge=0, le=0.5)] = 0.25
    """Of places and memory, what jobs of one model leave to the other models served, shared among those.

    One place each at least, where there are so many. 0: nothing is kept.
    """
    weights: dict[str, Positive] = {}
    """The share of the engine's time a model has against the others, by its name; 1 for those not named.

    Counts only where several models have work.
    """
    publish_every_s: Annotated[float, Field(ge=0, le=5)] = 0.05
    """Step events go out at most this often; `started` and the end at once."""

    preview_every: Annotated[int, Field(ge=0)] = 0
    """Evaluations of a sample between two previews; 0: none.

    Each is billed as a decode, of a clip as that of one frame.
    """

    audit: AuditSettings = AuditSettings()
    """What is run again at full compute, to see what budgets cost in quality; nothing by default."""

    drain_s: Annotated[float, Field(ge=0)] = 20.0
    """After SIGTERM or SIGINT: jobs that run this long on are handed back.

    A second signal hands back at once.
    """
    step_timeout_s: Positive = 30.0
    """The engine may stand still this long, or 20 predicted turns if that is more, before it is killed."""
    warmup_timeout_s: Positive = 600.0
    """The same while models load and compile."""
    max_failed_starts: Annotated[int, Field(ge=1)] = 3
    """Starts in a row that never became ready, after which the worker gives up with exit code 1."""
    restart_backoff_s: Positive = 0.5
    """Pause after a failed start, doubled each time up to 30 s.

    An engine that had been ready restarts at once.
    """

    log_format: LogFormat = "auto"
    """`text`, `json`, or by whether standard error is a terminal."""
    log_level: LogLevel = "info"
    tracing: TracingSettings = TracingSettings()
    """Where spans of jobs go; off without an endpoint."""

    metrics_host: str = "127.0.0.1"
    metrics_port: Port | None = None
    """Where Prometheus reads; None: nowhere, 0: any free port (logged)."""
    queue: QueueSettings = QueueSettings()

    @property
    def lane_ranks(self) -> int:
        """Among how many ranks the lanes of guidance are split."""
        return 2 if self.cfg_parallel else 1

    @model_validator(mode="after")
    def _check_ranks(self) -> Self:
        if self.ranks % self.lane_ranks:
            raise ValueError(f"cfg_parallel needs an even number of ranks, not {self.ranks}")
        if self.ranks > 1 and ":" in self.device:
            raise ValueError(
                f"device: {self.ranks} ranks take one each, not {self.device}; allowed: cpu, cuda"
            )
        if self.ranks > 1 and len(self.models) > 1:
            raise ValueError(f"models: {self.ranks} ranks serve one model, not {len(self.models)}")
        if self.ranks > 1 and self.audit.share:
            raise ValueError("audit.share: an audit is given up in the middle of a forward; allowed: 0")
        return self

    @field_validator("models", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value
