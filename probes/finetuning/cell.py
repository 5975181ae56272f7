"""One fine-tuning run before it is trained: all that determines its numbers."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probes.finetuning.rank_schedule import RankSchedule
from probes.finetuning.task import Corpus


@dataclass(frozen=True)
class FinetuneCell:
    """One method at one rate with one seed: all that determines its numbers.

    Attributes:
        task: glue/..., squad, squad_v2, alpaca, tweets, or the path of a file.
        digest: of the contents of a local file or folder.
        corpus: the examples.
        model: name on the hub, or a folder.
        trust_remote_code: whether code that comes with it may run.
        pad_token: for padding; None for the tokenizer's own.
        method: "lora" or "adalora".
        p, samples, grouped, own_masks, rank, alpha, target: of the method.
        ensemble: N at test time, 0 for none.
        ensemble_along: whether it is evaluated along training, or at the end alone.
        drop_at_test: of training without dropout: rate of the masks of an ensemble that is
            evaluated too; 0 for none.
        training: arguments of transformers' trainer, as
            :func:`probes.finetuning.arguments.as_key` has them.
        lora_dropout: rate of PEFT's dropout on what the update reads.
        rank_dropout: rate of dropout between A and B.
        rescale: whether masks are divided by 1 - p.
        regularizer, strength: the method of ``probes.training.rivals`` that the other values are
            of; empty and 0 where none was named.
        ranks: of AdaLoRA.
        target_pattern: regular expression for whole names of the adapted layers, in place of
            target; empty for none.
    """

    task: str
    digest: str
    corpus: Corpus
    model: str
    trust_remote_code: bool
    pad_token: str | None
    method: str
    p: float
    samples: int
    grouped: bool
    own_masks: bool
    rank: int
    alpha: float
    target: tuple[str, ...]
    ensemble: int
    ensemble_along: bool
    training: tuple[tuple[str, Any], ...]
    lora_dropout: float = 0.0
    rank_dropout: float = 0.0
    rescale: bool = False
    regularizer: str = ""
    strength: float = 0.0
    drop_at_test: float = 0.0
    ranks: RankSchedule = field(default_factory=RankSchedule)
    target_pattern: str = ""

    @property
    def label(self) -> str:
        """What it is called in tables: the method, and the regularizer at its strength.

        Where none was named, what a config has beside the rate of LoRA Dropout.
        """
        if self.regularizer:
            strength = f" {self.strength:g}" if self.strength else ""
            return f"{self.method}, {self.regularizer}{strength}"
        more = {"rescaled": self.rescale, f"PEFT lora_dropout {self.lora_dropout:g}":
                self.lora_dropout > 0}  # fmt: skip
        return ", ".join([self.method, *(name for name, given in more.items() if given)])

    @property
    def initial_rank(self) -> int:
        """Rank at the start of training, by which alpha is divided."""
        return self.rank if self.method == "lora" else self.ranks.initial(self.rank)

    @property
    def libraries(self) -> tuple[str, ...]:
        """What its numbers are computed with."""
        return (
            "torch", "numpy", "scipy", "scikit-learn", "torchmetrics", "transformers", "peft",
            "accelerate", "datasets",
        )  # fmt: skip

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        return self.samples

    @property
    def name(self) -> str:
        """What a reader knows it by; cells that differ in something else have the same name."""
        task = Path(self.task).stem
        words = re.sub(r"[^\w.]+", "-", self.label)
        return f"{task}-{words}-p{self.p:g}-N{self.samples}-seed{self.corpus.seed}"
