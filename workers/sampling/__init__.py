"""Schedules, solvers, guidance and noise. Knows no model and no cache."""

from workers.sampling.guidance import guide
from workers.sampling.noise import initial_noise
from workers.sampling.registry import make_solver
from workers.sampling.schedule import at_nodes, check_flow_config, flow_schedule
from workers.sampling.tokens import TokenSolver

__all__ = [
    "TokenSolver",
    "at_nodes",
    "check_flow_config",
    "flow_schedule",
    "guide",
    "initial_noise",
    "make_solver",
]
