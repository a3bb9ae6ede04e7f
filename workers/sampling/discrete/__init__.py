"""Uniform-rate discrete diffusion: conventions, grids, predictors, correctors, runs asked and told."""

from workers.sampling.discrete.draws import row_keys
from workers.sampling.discrete.errors import InvalidArgument
from workers.sampling.discrete.given import Given, read_given
from workers.sampling.discrete.sample import sample
from workers.sampling.discrete.settings import CORRECTORS, Settings, read_settings
from workers.sampling.discrete.solver import DiscreteSolver
from workers.sampling.discrete.state import TokenPoint, TokenState

__all__ = [
    "CORRECTORS",
    "DiscreteSolver",
    "Given",
    "InvalidArgument",
    "Settings",
    "TokenPoint",
    "TokenState",
    "read_given",
    "read_settings",
    "row_keys",
    "sample",
]
