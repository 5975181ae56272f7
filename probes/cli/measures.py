"""``measure`` of every question, as an editor and a type checker know it.

Written by ``python -m tests.signatures`` from the settings; a test keeps both in step.
One value may stand for several.
"""

from collections.abc import Iterable
from os import PathLike
from typing import Any, Protocol, TypeVar

R_co = TypeVar("R_co", covariant=True)


class MeasureAblation(Protocol[R_co]):
    """``probes.ablation.measure``."""

    def __call__(
        self,
        *,
        workers: int = 1,
        engine: str = "local",
        address: str | None = None,
        cpus_per_cell: int = 1,
        gpus_per_cell: float = 0.0,
        data: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        encoding: str = "utf-8",
        model: str | None = None,
        layers: int = 1,
        pooling: str = "cls",
        tokens: int | None = None,
        p: float | Iterable[float] = (0.3,),
        task: str = "digits",
        n: int = 64,
        draws: int = 8,
        rank: int | None = None,
        steps: int | None = None,
        lr: float | None = None,
        seed: int = 0,
        out: str | PathLike[str] | None = None,
        ensemble: int = 16,
        part: str | Iterable[str] = ("dropout when", "dropped where", "inference", "mask kind"),
        samples: int = 8,
        margin: float = 0.25,
    ) -> R_co:
        """Measure."""


class MeasureAttribution(Protocol[R_co]):
    """``probes.attribution.measure``."""

    def __call__(
        self,
        *,
        workers: int = 1,
        engine: str = "local",
        address: str | None = None,
        cpus_per_cell: int = 1,
        gpus_per_cell: float = 0.0,
        data: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        encoding: str = "utf-8",
        model: str | None = None,
        layers: int = 1,
        pooling: str = "cls",
        tokens: int | None = None,
        p: float | Iterable[float] = (0.1,),
        task: str = "digits",
        n: int = 64,
        draws: int = 1,
        rank: int | None = None,
        steps: int | None = None,
        lr: float | None = None,
        seed: int = 0,
        out: str | PathLike[str] | None = None,
        scores: str | Iterable[str] = (),
        subsets: int = 100,
        share: float = 0.5,
        solver: str = "cg",
        damping: float | None = None,
    ) -> R_co:
        """Measure."""


class MeasureCalibration(Protocol[R_co]):
    """``probes.calibration.measure``."""

    def __call__(
        self,
        *,
        workers: int = 1,
        engine: str = "local",
        address: str | None = None,
        cpus_per_cell: int = 1,
        gpus_per_cell: float = 0.0,
        data: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        encoding: str = "utf-8",
        model: str | None = None,
        layers: int = 1,
        pooling: str = "cls",
        tokens: int | None = None,
        p: float | Iterable[float] = (0.3,),
        task: str = "digits",
        n: int = 64,
        draws: int = 8,
        rank: int | None = None,
        steps: int | None = None,
        lr: float | None = None,
        seed: int = 0,
        out: str | PathLike[str] | None = None,
        ensemble: int = 16,
    ) -> R_co:
        """Measure."""


class MeasureComparison(Protocol[R_co]):
    """``probes.comparison.measure``."""

    def __call__(
        self,
        *,
        workers: int = 1,
        engine: str = "local",
        address: str | None = None,
        cpus_per_cell: int = 1,
        gpus_per_cell: float = 0.0,
        model: str = "minimiser",
        task: str | None = None,
        p: float = 0.3,
        strength: float = 1.0,
        n: int | Iterable[int] = (),
        draws: int | None = None,
        selections: int = 64,
        bits: int = 4,
        steps: int | None = None,
        lr: float | None = None,
        delta: float = 0.05,
        seed: int = 0,
        out: str | PathLike[str] | None = None,
    ) -> R_co:
        """Measure."""


class MeasureCost(Protocol[R_co]):
    """``probes.cost.measure``."""

    def __call__(
        self,
        *,
        p: float = 0.3,
        samples: int | Iterable[int] = (1, 2, 4, 8),
        ensemble: int | Iterable[int] = (1, 4, 16),
        width: int = 384,
        heads: int = 12,
        batch: int = 8,
        tokens: int = 64,
        rounds: int = 15,
        seed: int = 0,
        device: str = "cpu",
        reuse: bool = False,
        out: str | PathLike[str] | None = None,
    ) -> R_co:
        """Measure."""


class MeasureCoverage(Protocol[R_co]):
    """``probes.coverage.measure``."""

    def __call__(
        self,
        *,
        workers: int = 1,
        engine: str = "local",
        address: str | None = None,
        cpus_per_cell: int = 1,
        gpus_per_cell: float = 0.0,
        data: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        encoding: str = "utf-8",
        model: str | None = None,
        layers: int = 1,
        pooling: str = "cls",
        tokens: int | None = None,
        p: float | Iterable[float] = (0.0, 0.1, 0.3, 0.5),
        task: str = "digits",
        n: int = 64,
        draws: int = 8,
        rank: int | None = None,
        steps: int | None = None,
        lr: float | None = None,
        seed: int = 0,
        out: str | PathLike[str] | None = None,
        alpha: float = 0.1,
    ) -> R_co:
        """Measure."""


class MeasureCurves(Protocol[R_co]):
    """``probes.curves.measure``."""

    def __call__(
        self,
        *,
        workers: int = 1,
        engine: str = "local",
        address: str | None = None,
        cpus_per_cell: int = 1,
        gpus_per_cell: float = 0.0,
        data: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        encoding: str = "utf-8",
        model: str | None = None,
        layers: int = 1,
        pooling: str = "cls",
        tokens: int | None = None,
        p: float | Iterable[float] = (0.0, 0.3),
        task: str = "digits",
        n: int = 64,
        draws: int = 8,
        rank: int | None = None,
        steps: int | None = None,
        lr: float | None = None,
        seed: int = 0,
        out: str | PathLike[str] | None = None,
        methods: str | Iterable[str] = ("LoRA", "AdaLoRA"),
    ) -> R_co:
        """Measure."""


class MeasureEnsemble(Protocol[R_co]):
    """``probes.ensemble.measure``."""

    def __call__(
        self,
        *,
        workers: int = 1,
        engine: str = "local",
        address: str | None = None,
        cpus_per_cell: int = 1,
        gpus_per_cell: float = 0.0,
        data: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        encoding: str = "utf-8",
        model: str | None = None,
        layers: int = 1,
        pooling: str = "cls",
        tokens: int | None = None,
        p: float | Iterable[float] = (0.1, 0.3, 0.5),
        task: str = "digits",
        n: int = 64,
        draws: int = 16,
        rank: int | None = None,
        steps: int | None = None,
        lr: float | None = None,
        seed: int = 0,
        out: str | PathLike[str] | None = None,
        sizes: int | Iterable[int] = (1, 2, 4, 8, 16, 32, 64),
        rescale: bool = False,
        rivals: int = 0,
        bags: int = 1000,
    ) -> R_co:
        """Measure."""


class MeasureFinetune(Protocol[R_co]):
    """``probes.finetune.measure``."""

    def __call__(
        self,
        *,
        task: str = "glue/mrpc",
        model: str | None = None,
        trust_remote_code: bool = False,
        pad_token: str | None = None,
        method: str | Iterable[str] = ("lora",),
        p: float | Iterable[float] = (0.0, 0.3),
        regularizer: str | Iterable[str] = (),
        strength: float | Iterable[float] = (),
        adapter_config: str | PathLike[str] | None = None,
        samples: int = 1,
        grouped: bool = False,
        own_masks: bool = False,
        ensemble: int = 0,
        ensemble_along: bool = False,
        drop_at_test: float | None = None,
        n: int | None = None,
        held_out: int | None = None,
        draws: int = 1,
        rank: int = 8,
        alpha: float | None = None,
        init_rank: int | None = None,
        tinit: int | None = None,
        tfinal: int | None = None,
        delta_t: int = 1,
        target: str | Iterable[str] = (),
        data: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        pair_column: str | None = None,
        regression: bool = False,
        held_out_file: str | None = None,
        encoding: str = "utf-8",
        tokens: int | None = None,
        seed: int = 0,
        out: str | PathLike[str] | None = None,
        training: dict[str, Any] = ...,
    ) -> R_co:
        """Measure."""


class MeasureGeneralization(Protocol[R_co]):
    """``probes.generalization.measure``."""

    def __call__(
        self,
        *,
        workers: int = 1,
        engine: str = "local",
        address: str | None = None,
        cpus_per_cell: int = 1,
        gpus_per_cell: float = 0.0,
        data: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        encoding: str = "utf-8",
        model: str | None = None,
        layers: int = 1,
        pooling: str = "cls",
        tokens: int | None = None,
        p: float | Iterable[float] = (0.1, 0.3, 0.5, 0.7),
        n: int | Iterable[int] = (64,),
        matched: bool = False,
        ensemble: int | Iterable[int] = (),
        task: str = "digits",
        draws: int = 8,
        rank: int | None = None,
        steps: int | None = None,
        lr: float | None = None,
        delta: float = 0.05,
        seed: int = 0,
        out: str | PathLike[str] | None = None,
    ) -> R_co:
        """Measure."""


class MeasureInformation(Protocol[R_co]):
    """``probes.information.measure``."""

    def __call__(
        self,
        *,
        workers: int = 1,
        engine: str = "local",
        address: str | None = None,
        cpus_per_cell: int = 1,
        gpus_per_cell: float = 0.0,
        data: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        encoding: str = "utf-8",
        model: str | None = None,
        layers: int = 1,
        pooling: str = "cls",
        tokens: int | None = None,
        p: float | Iterable[float] = (0.0, 0.1, 0.3),
        n: int | Iterable[int] = (32, 64, 128),
        selections: int = 128,
        loss: str | None = None,
        loss_bound: float | None = None,
        bins: int = 4,
        matched: bool = False,
        ensemble: int | Iterable[int] = (),
        task: str = "digits",
        draws: int = 5,
        rank: int | None = None,
        steps: int | None = None,
        lr: float | None = None,
        delta: float = 0.05,
        seed: int = 0,
        out: str | PathLike[str] | None = None,
    ) -> R_co:
        """Measure."""


class MeasureOwnModel(Protocol[R_co]):
    """``probes.own_model.measure``."""

    def __call__(
        self,
        *,
        own: Any,
        p: float | Iterable[float] = (0.0, 0.3),
        n: int = 32,
        draws: int = 4,
        ensemble: int | Iterable[int] = (),
        seed: int = 0,
        out: str | PathLike[str] | None = None,
    ) -> R_co:
        """Measure."""


class MeasureRecommend(Protocol[R_co]):
    """``probes.recommend.measure``."""

    def __call__(
        self,
        *,
        workers: int = 1,
        engine: str = "local",
        address: str | None = None,
        cpus_per_cell: int = 1,
        gpus_per_cell: float = 0.0,
        data: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        encoding: str = "utf-8",
        model: str | None = None,
        layers: int = 1,
        pooling: str = "cls",
        tokens: int | None = None,
        minutes: float = 5.0,
        task: str | None = None,
        own: Any = None,
        method: str | Iterable[str] = (),
        trainings: int = 16,
        n: int | None = None,
        rank: int | None = None,
        steps: int | None = None,
        lr: float | None = None,
        seed: int = 0,
        out: str | PathLike[str] | None = None,
    ) -> R_co:
        """Measure."""


class MeasureRivals(Protocol[R_co]):
    """``probes.rivals.measure``."""

    def __call__(
        self,
        *,
        workers: int = 1,
        engine: str = "local",
        address: str | None = None,
        cpus_per_cell: int = 1,
        gpus_per_cell: float = 0.0,
        data: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        encoding: str = "utf-8",
        model: str | None = None,
        layers: int = 1,
        pooling: str = "cls",
        tokens: int | None = None,
        task: str = "digits",
        n: int | Iterable[int] = (64,),
        method: str | Iterable[str] = (),
        minutes: float = 10.0,
        draws: int = 12,
        tuning_draws: int = 10,
        trainings: int = 16,
        margin: float = 0.02,
        without_beta: bool = False,
        rank: int | None = None,
        steps: int | None = None,
        lr: float | None = None,
        seed: int = 0,
        out: str | PathLike[str] | None = None,
    ) -> R_co:
        """Measure."""


class MeasureSensitivity(Protocol[R_co]):
    """``probes.sensitivity.measure``."""

    def __call__(
        self,
        *,
        workers: int = 1,
        engine: str = "local",
        address: str | None = None,
        cpus_per_cell: int = 1,
        gpus_per_cell: float = 0.0,
        data: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        encoding: str = "utf-8",
        model: str | None = None,
        layers: int = 1,
        pooling: str = "cls",
        tokens: int | None = None,
        p: float | Iterable[float] = (0.1, 0.3, 0.5, 0.7),
        task: str = "digits",
        n: int = 64,
        draws: int = 4,
        rank: int | None = None,
        steps: int | None = None,
        lr: float | None = None,
        seed: int = 0,
        out: str | PathLike[str] | None = None,
        samples: int | Iterable[int] = (1, 2, 4, 8),
    ) -> R_co:
        """Measure."""


class MeasureStability(Protocol[R_co]):
    """``probes.stability.measure``."""

    def __call__(
        self,
        *,
        workers: int = 1,
        engine: str = "local",
        address: str | None = None,
        cpus_per_cell: int = 1,
        gpus_per_cell: float = 0.0,
        data: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        encoding: str = "utf-8",
        model: str | None = None,
        layers: int = 1,
        pooling: str = "cls",
        tokens: int | None = None,
        p: float | Iterable[float] = (0.1,),
        ensemble: int | Iterable[int] = (),
        task: str = "digits",
        n: int = 64,
        draws: int = 8,
        rank: int | None = None,
        alpha: float | None = None,
        steps: int | None = None,
        lr: float | None = None,
        optimizer: str = "adam",
        batch: int | None = None,
        samples: int = 1,
        objective: str = "dropout",
        strength: float | None = None,
        rescale: bool = False,
        warm_start: bool = False,
        method: str = "retrain",
        damping: float | None = None,
        solver: str = "cg",
        validate: int = 0,
        loss_bound: float | None = None,
        delta: float = 0.05,
        seed: int = 0,
        device: str = "cpu",
        dtype: str = "float32",
        max_memory: str | None = None,
        matrix: bool = False,
        out: str | PathLike[str] | None = None,
    ) -> R_co:
        """Measure."""


class MeasureVerify(Protocol[R_co]):
    """``probes.verify.measure``."""

    def __call__(
        self,
        *,
        statement: str | Iterable[str] = (),
        task: str | Iterable[str] = ("ridge", "breast_cancer", "wine"),
        strength: float | Iterable[float] = (0.01, 0.1),
        p: float | Iterable[float] = (0.05, 0.1, 0.3, 0.5, 0.9),
        n: int | Iterable[int] = (50, 200),
        draws: int = 1,
        coverage_draws: int = 20,
        delta: float = 0.05,
        seed: int = 0,
        out: str | PathLike[str] | None = None,
    ) -> R_co:
        """Measure."""
