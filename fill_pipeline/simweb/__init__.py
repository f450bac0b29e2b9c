"""A simulated web of vehicle sites for demos, tests, benchmarks and drills."""

from .handle import SimWeb, start_simweb

__all__ = ["SimWeb", "start_simweb"]
