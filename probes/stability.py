"""How stable is LoRA Dropout? Leave-one-out retraining beside the bounds.

python -m probes.stability --p 0.1
python -m probes.stability --p 0 0.1 0.3 0.5 0.7 0.9 --ensemble 1 4 16 --draws 8

>>> result = measure(p=0.5, task="ridge", n=8, draws=2, steps=20)
>>> result.summary[["p", "inference", "draws", "diverged"]].to_dict("records")
[{'p': 0.5, 'inference': 'expected weight', 'draws': 2, 'diverged': 0}]
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

from probes.cells.run_cell import CellRun
from probes.cli.measures import MeasureStability
from probes.cli.probe import Probe
from probes.cli.stability_settings import StabilitySettings
from probes.jobs.job import TableKind
from probes.results.stability_result import StabilityResult


def _kinds(settings: StabilitySettings) -> tuple[TableKind, ...]:
    more = (TableKind.LOSS_MATRIX,) if settings.matrix else ()
    return (TableKind.ROWS, *more)


PROBE = Probe(
    "stability",
    StabilitySettings,
    cells=StabilitySettings.cells,
    run=lambda settings: CellRun(settings.matrix, settings.memory_limit(), settings.workers),
    result=lambda settings, tables: StabilityResult.of(tables, delta=settings.delta),
    kinds=_kinds,
)
measure: MeasureStability[StabilityResult] = PROBE.measure

if __name__ == "__main__":
    PROBE.main()
