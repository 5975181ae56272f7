"""Settings that every question of the study has."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from probes.cells.cell import Cell
from probes.cli.stability_settings import StabilitySettings
from probes.cli.text_options import TextOptions
from probes.jobs.engine_options import EngineOptions


@dataclass(frozen=True)
class StudySettings(TextOptions, EngineOptions):
    """Settings that every probe of the study has."""

    p: tuple[float, ...] = (0.1, 0.3, 0.5)
    """Dropout rates in [0, 1)."""

    task: str = "digits"
    """What is learned: digits, breast_cancer, ridge, tweets, or text (a file of your own)."""

    n: int = 64
    """Number of training examples."""

    draws: int = 8
    """Number of independent training sets S; intervals are over these."""

    rank: int | None = None
    """Rank r of the update. Default: the task's."""

    steps: int | None = None
    """Optimizer steps. Default: the task's."""

    lr: float | None = None
    """Learning rate. Default: the task's."""

    seed: int = 0
    """Seed of everything random."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for the rows, the manifest and the figure. Default: runs/ and the probe's name from
    the command line, none from Python."""

    def base_cells(self, **changes: Any) -> list[Cell]:
        """Check the shared values and return one cell a rate and draw.

        Args:
            **changes: fields of :class:`probes.cli.stability_settings.StabilitySettings` beside
                the shared ones, or in their place.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        shared = {field.name: getattr(self, field.name) for field in fields(StudySettings)}
        del shared["out"]
        return StabilitySettings(**(shared | changes)).cells()
