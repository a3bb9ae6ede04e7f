"""What a run may be told, checked once, with the defaults and where they come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from workers.kernels.gibbs import MAX_VOCAB_SIZE
from workers.sampling.discrete import grids
from workers.sampling.discrete.errors import refuse
from workers.sampling.discrete.grids import Grid
from workers.sampling.discrete.noise import Geometric
from workers.sampling.discrete.predictors import PREDICTORS

GRIDS = ("geometric", "odds", "log-linear", "time")
PAPER = "gadd-paper"
PAPER_SHARE, PAPER_THRESHOLD = 0.31, 0.1
OWN_OPTIONS: dict[str, tuple[str, ...]] = {
    "none": (),
    "blocks": ("spacing", "share", "segment"),
    "exact": ("updates",),
    "gated": ("updates", "confidence"),
    "stale": ("updates", "threshold"),
    "sync": ("sweeps", "threshold", "frozen"),
    "ctmc": ("multiplier",),
    PAPER: (),
}
"""Correctors, and the options that mean something under each."""
CORRECTORS = tuple(OWN_OPTIONS)
_LEAST = {"num_tokens": 1, "vocab_size": 2, "updates": 0, "sweeps": 0, "spacing": 1}
DEFAULT_SIGMA_MAX = 6.0
"""Where one token in 400 is still its own."""
_ALWAYS = ("grid", "sigma_max", "sigma_min", "denoise")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run goes. See `docs/discrete-sampling.md` for what each was measured to do.

    Args:
        num_tokens, vocab_size: d and S.
        corrector, predictor: by name.
        sigma_max, sigma_min: the first level, where tokens are as good as uniform, and the last one before
            the final denoising.
        grid: a name, or a function of the number of steps.
        denoise: end with Tweedie's step to no noise, one call; else at `sigma_min`.
        updates: one-site updates a step: one call each for exact and gated, one for all for stale; 0: none.
        confidence: gated: a site is resampled if its largest conditional probability is above.
        threshold: stale, sync: a token is changed only if its probability is below; None: always.
        sweeps, frozen: sync: sweeps a step, from one score or each from its own.
        multiplier: ctmc: its width over the predictor's.
        theta: theta-trapezoidal: where in the step the second score is taken.
        spacing: blocks: least distance between sites resampled at once. Nearer sites make blocks larger and
            more of them refused.
        share: blocks: at most this share of the tokens.
        segment: blocks: tokens whose verdict is one; None: the whole row. Shorter ones keep more and are
            less exact at their ends.
    """

    num_tokens: int
    vocab_size: int
    corrector: str = "blocks"
    predictor: str = "tweedie"
    sigma_max: float = DEFAULT_SIGMA_MAX
    sigma_min: float = 0.01
    grid: str | Callable[[int], Grid] = "geometric"
    denoise: bool = True
    updates: int = 1
    confidence: float = 0.6
    threshold: float | None = PAPER_THRESHOLD
    sweeps: int = 1
    frozen: bool = True
    multiplier: float = 1.5
    theta: float = 0.5
    spacing: int = 2
    share: float = 0.5
    segment: int | None = 16

    def __post_init__(self) -> None:
        _check_one_of("grid", self.grid, GRIDS)
        for name, least in _LEAST.items():
            _check_count(name, getattr(self, name), least)
        if self.vocab_size > MAX_VOCAB_SIZE:
            raise refuse("vocab_size", self.vocab_size, f"2 to {MAX_VOCAB_SIZE}")
        if self.segment is not None:
            _check_count("segment", self.segment, 1)
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise refuse("sigma_min", self.sigma_min, f"above 0 and below sigma_max, {self.sigma_max:g}")
        for name in ("confidence", "threshold", "share", "theta"):
            _check_share(name, getattr(self, name))
        if not 0 < self.multiplier < math.inf:
            raise refuse("multiplier", self.multiplier, "a number above 0")

    def make_grid(self, num_steps: int) -> Grid:
        """The levels of a run of `num_steps` steps."""
        if callable(self.grid):
            return self.grid(num_steps)
        if self.grid == "time":
            return grids.time_grid(Geometric(self.sigma_min, self.sigma_max), num_steps)
        makers = {
            "geometric": grids.geometric_grid,
            "odds": grids.odds_grid,
            "log-linear": grids.log_linear_grid,
        }
        return makers[self.grid](num_steps, self.sigma_max, self.sigma_min)


def read_settings(
    num_tokens: int, vocab_size: int, corrector: str, predictor: str | None, options: Mapping[str, object]
) -> Settings:
    """Settings of what `sample` was told.

    Args:
        predictor: None: the corrector's own, Euler for the paper's settings and Tweedie for all others.

    Raises:
        InvalidArgument: something that is unknown, out of range, or means nothing under this corrector.
    """
    _check_one_of("corrector", corrector, CORRECTORS)
    usual = "euler" if corrector == PAPER else "tweedie"
    predictor = usual if predictor is None else predictor
    _check_one_of("predictor", predictor, PREDICTORS)
    if corrector == PAPER and predictor != usual:
        raise refuse("predictor", repr(predictor), f"{usual!r} under corrector {PAPER!r}")
    _check_options(corrector, predictor, options)
    told = dict(options)
    if corrector in ("stale", PAPER):
        told.setdefault("updates", max(1, round(PAPER_SHARE * num_tokens)))
    name = "stale" if corrector == PAPER else corrector
    return Settings(num_tokens, vocab_size, name, predictor, **told)  # type: ignore[arg-type]


def _check_options(corrector: str, predictor: str, options: Mapping[str, object]) -> None:
    """Refuse options that nobody would read."""
    own = OWN_OPTIONS[corrector] + (("theta",) if predictor == "theta-trapezoidal" else ())
    known = {field.name for field in fields(Settings)}
    for name in options:
        if name not in (*_ALWAYS, *own):
            what = f"for corrector {corrector!r} and predictor {predictor!r}" if name in known else "unknown"
            raise refuse(name, f"an option {what}", (*_ALWAYS, *own))


def _check_one_of(param: str, value: object, allowed: tuple[str, ...]) -> None:
    if not callable(value) and value not in allowed:
        raise refuse(param, repr(value), allowed)


def _check_count(param: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise refuse(param, value, f"whole numbers from {least} up")


def _check_share(param: str, value: float | None) -> None:
    if value is None and param == "threshold":
        return
    if not isinstance(value, int | float) or not 0 < value <= 1 or (param == "theta" and value == 1):
        raise refuse(param, value, "a number in (0, 1)" if param == "theta" else "a number in (0, 1]")
