"""The settings of LoRA Dropout in Hugging Face PEFT, and the form in which they are saved."""

import copy
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, get_args

from peft import AdaLoraConfig, LoraConfig
from peft.utils.other import get_pattern_key

from lora_dropout.given_numbers import (
    checked_rate,
    positive_number,
    true_or_false,
    whole_number,
)
from lora_dropout.layer import layer_shape
from lora_dropout.masked import Inference
from lora_dropout.masks import MaskKind, expected_mask

#: What a saved config's ``training_alpha`` may hold.
TRAINING_ALPHA = ("lora_alpha", "alpha_pattern")
#: What decides, beside alpha, what an adapter's factors mean in training and in ``eval()``.
MEANING = (
    "dropout_rate", "dropout_rate_out", "dropout_pattern", "mask_kind", "rescale", "inference",
)  # fmt: skip
#: Initial values that change the frozen weight, and so mean something else under dropout.
CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass
class DropoutFields:
    """What LoRA Dropout adds to a config of PEFT.

    Source: arXiv 2404.09610, Eq. 2.

    Args:
        dropout_rate: p, rate at which input columns of A (of Q in AdaLoRA) are dropped, in [0, 1).
            It has to be given: 0 is plain LoRA.
        dropout_rate_out: rate at which output rows of B (of P) are dropped; p if left out.
        dropout_pattern: rates of layers by the end of their names, or by a regular expression for
            it, as in ``rank_pattern``; for both sides of a layer. The others have ``dropout_rate``.
        rescale: whether masks are divided by 1 - p. The paper never does.
        mask_kind: "bernoulli" (LoRA Dropout), "gaussian" or "two-point" (noise of the same mean and
            variance) or "mean" (the constant 1 - p): see ``lora_dropout.masks``.
        mask_seed: seed of the masks, a function of it, the optimizer step, the layer and the sample
            number alone. Left out, it is the trainer's seed, and 0 without our trainer. Adapters
            that are used together need seeds of their own: those of one seed drop the same.
        inference: what ``eval()``, merging and a saved adapter mean: "expected weight", the update
            times (1-p)^2; "no masks", the update as it stands; "ensemble", for evaluation by
            members, merged and saved as "expected weight".
        training_alpha: in a saved config, ``lora_alpha`` and ``alpha_pattern`` of the training; the
            fields of these names then hold them times (1-p)^2, which is what a reader that knows
            nothing of dropout needs.

    Raises:
        ValueError: a value out of range, or another option of PEFT that does not go with it.
    """

    dropout_rate: float | None = field(
        default=None,
        metadata={"help": "Rate p of LoRA Dropout, in [0, 1).", "is_lora_variant": True},
    )
    dropout_rate_out: float | None = field(
        default=None, metadata={"help": "Rate of B's output rows; dropout_rate if left out."}
    )
    dropout_pattern: dict[str, float] = field(
        default_factory=dict,
        metadata={"help": "Rates of layers by name or pattern, in place of dropout_rate."},
    )
    rescale: bool = field(default=False, metadata={"help": "Divide masks by 1 - p."})
    mask_kind: MaskKind = field(
        default="bernoulli", metadata={"help": "Bernoulli masks, or others of the same mean."}
    )
    mask_seed: int | None = field(
        default=None, metadata={"help": "Seed of the masks; the trainer's, or 0, if left out."}
    )
    inference: Inference = field(
        default="expected weight", metadata={"help": "Mode in eval(): see MaskedUpdate."}
    )
    training_alpha: dict[str, Any] | None = field(
        default=None, metadata={"help": "In a saved config: the alpha of the training."}
    )

    #: Whether a model of diffusers carries the adapter.
    _in_diffusers: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[misc]
        if self.training_alpha is not None:
            if not {*self.training_alpha} <= {*TRAINING_ALPHA}:
                raise ValueError(
                    f"training_alpha holds {TRAINING_ALPHA}, got {self.training_alpha}"
                )
            vars(self).update(self.training_alpha, training_alpha=None)
        if self.dropout_rate is None:
            raise ValueError("dropout_rate must be given, in [0, 1); 0 is LoRA without dropout")
        self._check_rates()
        if self.inference not in get_args(Inference):
            raise ValueError(f"unknown inference {self.inference!r}")
        if self.drops:
            self._refuse_what_does_not_go_with_it()

    def _check_rates(self) -> None:
        # A config is read from a file that may hold anything.
        for name in ("dropout_rate", "dropout_rate_out"):
            if getattr(self, name) is not None:
                vars(self)[name] = checked_rate(name, getattr(self, name))
        if self.mask_seed is not None:
            vars(self)["mask_seed"] = whole_number("mask_seed", self.mask_seed, 0, 2**64)
        vars(self)["rescale"] = true_or_false("rescale", self.rescale)
        layer_shape(1, 1, 0.0, mask_kind=self.mask_kind)
        if not isinstance(self.dropout_pattern, dict):
            raise ValueError(
                f"dropout_pattern must map names to rates, got {self.dropout_pattern!r}"
            )
        for name in self.dropout_pattern:
            _check_expression(name)
        vars(self)["dropout_pattern"] = {
            name: checked_rate(f"dropout_pattern[{name!r}]", rate)
            for name, rate in self.dropout_pattern.items()
        }
        self.check_patterns()

    def check_patterns(self) -> None:
        """Raise ``ValueError`` where two patterns decide on a layer by names of their own.

        The first name that matches a layer counts, so that the order does too.
        """
        alphas = getattr(self, "alpha_pattern", {})
        if self.dropout_pattern and alphas and list(alphas) != list(self.dropout_pattern):
            raise ValueError(
                "alpha_pattern and dropout_pattern must name the same layers, in the same order: "
                f"got {list(alphas)} and {list(self.dropout_pattern)} (where no alpha_pattern was "
                "given, PEFT made it of old names of experts: name them in target_parameters)"
            )

    @property
    def drops(self) -> bool:
        """Whether anything is dropped."""
        return bool(
            self.dropout_rate or self.dropout_rate_out or any(self.dropout_pattern.values())
        )

    @property
    def saved_factor(self) -> float:
        """Factor of alpha in a saved adapter, where no pattern says otherwise."""
        return self._factor(self.dropout_rate or 0.0, self.dropout_rate_out)

    @property
    def meaning(self) -> tuple[Any, ...]:
        """What decides, beside alpha, what the factors mean."""
        return tuple(copy.copy(getattr(self, name)) for name in MEANING)

    def of_layer(self, name: str) -> "DropoutFields":
        """Return the config as it is for one layer.

        Args:
            name: of the layer in its model.

        Returns:
            This config, or a copy without a pattern, which has the rate of the layer.
        """
        if not self.dropout_pattern:
            return self
        found = copy.copy(self)
        vars(found)["dropout_pattern"] = {}
        key = get_pattern_key(list(self.dropout_pattern), name)
        if key in self.dropout_pattern:
            vars(found).update(dropout_rate=self.dropout_pattern[key], dropout_rate_out=None)
        return found

    def unused_patterns(self, layers: Iterable[str]) -> list[str]:
        """Find what ``dropout_pattern`` names and no layer is.

        Args:
            layers: names of the adapted layers.

        Returns:
            Keys of the pattern.
        """
        keys = list(self.dropout_pattern)
        used = {get_pattern_key(keys, name) for name in layers}
        return [key for key in keys if key not in used]

    def _factor(self, p_in: float, p_out: float | None) -> float:
        if self.inference == "no masks":
            return 1.0
        shape = layer_shape(1, 1, p_in, p_out)
        return expected_mask(shape.p_in, shape.p_out, self.rescale)

    def to_dict(self) -> dict[str, Any]:
        """Return what is saved: alpha of the deterministic network, and beside it the training's.

        Raises:
            ValueError: diffusers asks, which would write what it cannot read.
        """
        if self._in_diffusers:
            raise ValueError(
                "diffusers' save_lora_adapter would write an adapter that diffusers cannot load: "
                "save the config by its save_pretrained(folder) and the factors that "
                "peft.get_peft_model_state_dict(model) returns"
            )
        saved = super().to_dict()  # type: ignore[misc]
        known = {name: saved[name] for name in TRAINING_ALPHA if name in saved}
        saved["lora_alpha"] = self.saved_factor * known["lora_alpha"]
        alphas = known.get("alpha_pattern") or dict.fromkeys(
            self.dropout_pattern, known["lora_alpha"]
        )
        if alphas:
            saved["alpha_pattern"] = {
                layer: alpha * self._factor_of(layer) for layer, alpha in alphas.items()
            }
        return saved | {"training_alpha": known}

    def _factor_of(self, key: str) -> float:
        rate = self.dropout_pattern.get(key)
        return self.saved_factor if rate is None else self._factor(rate, None)

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """Save the config so that PEFT without this package loads the deterministic network.

        Args:
            save_directory: folder of ``adapter_config.json``; made if missing.
            **kwargs: passed on to ``save_pretrained`` of PEFT's config.
        """
        saved = copy.copy(self)
        vars(saved)["_in_diffusers"] = False
        super(DropoutFields, saved).save_pretrained(save_directory, **kwargs)  # type: ignore[misc]

    def _refuse_what_does_not_go_with_it(self) -> None:
        config: Any = self
        if config.lora_dropout:
            raise ValueError(
                "lora_dropout, which drops input activations a token, and dropout_rate are "
                "different methods: set one of them"
            )
        variants = [
            one.name
            for one in fields(config)
            if one.metadata.get("is_lora_variant") and one.name not in ("dropout_rate", "use_dora")
        ]
        for name in ("lora_bias", *variants):
            if getattr(config, name):
                raise ValueError(f"{name} does not go with dropout_rate")
        self._refuse_initial_values(config.init_lora_weights)
        positive_number("lora_alpha", config.lora_alpha)

    def _refuse_initial_values(self, start: Any) -> None:
        known = [one.metadata.get("lora_variants", ()) for one in fields(self)]
        kind = start.lower() if isinstance(start, str) else ""
        # Such as MiCA, which keeps B as it begins.
        if any(kind in variants for variants in known):
            raise ValueError(f"init_lora_weights={start!r} does not go with dropout_rate")
        if kind.startswith(CHANGES_THE_BASE):
            raise ValueError(
                f"init_lora_weights={start!r} takes a part of the frozen weight into the update, "
                "which dropout would drop"
            )
        if start == "eva" and self.dropout_pattern:
            raise ValueError(
                "init_lora_weights='eva' gives layers an alpha of their own by their whole names, "
                "which does not go with dropout_pattern"
            )


def _check_expression(name: str) -> None:
    try:
        re.compile(name)
    except re.error as reason:
        raise ValueError(
            f"dropout_pattern names {name!r}, which is no regular expression: {reason}"
        ) from None


@dataclass
class LoraDropoutConfig(DropoutFields, LoraConfig):
    """``peft.LoraConfig`` with LoRA Dropout: see :class:`DropoutFields`."""


@dataclass
class AdaLoraDropoutConfig(DropoutFields, AdaLoraConfig):
    """``peft.AdaLoraConfig`` with LoRA Dropout: see :class:`DropoutFields`."""

    def _refuse_what_does_not_go_with_it(self) -> None:
        super()._refuse_what_does_not_go_with_it()
        if {self._factor_of(name) for name in self.dropout_pattern} - {self.saved_factor}:
            raise ValueError(
                "dropout_pattern does not go with AdaLoRA, in which PEFT scales all layers by one "
                "lora_alpha, and so by one (1-p)^2: take LoraDropoutConfig, or rescale=True"
            )
