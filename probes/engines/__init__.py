"""Where cells run: in this process, in others beside it, or on a Ray cluster."""

from probes.engines.options import ENGINES, EngineOptions

__all__ = ["ENGINES", "EngineOptions"]
