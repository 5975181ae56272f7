r"""LoRA Dropout over ``nn.MultiheadAttention``, as PEFT adapts it: its input and its output weight.

PEFT's adapter has two updates. That of the input weight, for queries, keys and values together, is
3 d by d; the output weight's is d by d. Each has masks of its own,

.. math:: W_{in} + \mathrm{diag}(m_B)\,c\,B A\,\mathrm{diag}(m_A), \qquad
          W_{out} + k\,\mathrm{diag}(m'_B)\,c\,B' A'\,\mathrm{diag}(m'_A),

whose expected values are (1-p_in)(1-p_out) times the updates (arXiv 2404.09610, Eq. 2). The factor
k is PEFT's: its 0.21 adds the update of the output weight twice (its pull request 3774), in every
pass and where it merges. Adapters that are saved here mean the same there, so it is measured and
kept. Of the two PEFT differentiates one; a pass with masks differentiates what it computes.
"""

from functools import cache
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.lora.layer import MultiheadAttention as PlainMultiheadAttention
from torch import Tensor, nn
from torch.func import functional_call

from lora_dropout.adaptable import HOOKS, why_refused, with_article
from lora_dropout.functional import GroupsNotSupportedError
from lora_dropout.peft.adapted_layer import base_layer
from lora_dropout.peft.adapter_masks import AdapterMasks
from lora_dropout.peft.linear import Linear
from lora_dropout.peft.variant import VariantOfConfig


@cache
def times_of_output() -> float:
    """How often PEFT adds the update of the output weight."""
    # Seeded numbers of PyTorch's are left as they are.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        attention = nn.MultiheadAttention(1, 1)
        layer = PlainMultiheadAttention(attention, "default", LoraConfig(), r=1, lora_alpha=1)
    held: Any = layer.get_base_layer().out_proj
    before = held.weight.detach().clone()
    with torch.no_grad():
        for factor in (held.lora_A.default.weight, held.lora_B.default.weight):
            factor.fill_(1.0)
    layer.merge()
    return round(float(held.weight.detach() - before), 3)


class WeightMasks(AdapterMasks):
    """Masks of an update that is added to a weight before the pass."""

    #: A weight has one value for the whole batch.
    takes_groups = False


class OutputProjection(Linear):
    """The output of the attention, whose weight is read, and which is never called."""

    kind_of_masks = WeightMasks
    #: PEFT puts a tensor in its place while it merges.
    holds_parameter = False
    #: How often PEFT adds an update.
    times: float

    def low_rank_of(self, adapter: str) -> tuple[Tensor, Tensor, float]:
        """A (r, d), B (d, r) and alpha / r, as often as PEFT adds their product."""
        A, B, scaling = super().low_rank_of(adapter)
        return A, B, scaling * self.times


class MultiheadAttention(VariantOfConfig, PlainMultiheadAttention):
    """PEFT's LoRA layer over ``nn.MultiheadAttention``."""

    over = nn.MultiheadAttention
    kind_of_masks = WeightMasks

    def __init__(
        self, base: Any, adapter_name: str, config: Any, r: int = 0, lora_alpha: int = 1,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        # As PEFT's, whose output projection would be of its own class.
        nn.Module.__init__(self)
        LoraLayer.__init__(self, base, **kwargs)
        self.base_layer.out_proj = OutputProjection(
            base.out_proj, adapter_name, r=r, lora_alpha=lora_alpha, config=config, **kwargs
        )
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, r, lora_alpha=lora_alpha, config=config)

    @classmethod
    def why_not(cls, base: nn.Module, config: Any) -> str | None:
        """Say why a layer is refused, as in :meth:`HoldsMasks.why_not`."""
        layer: Any = base
        if type(base).forward is not nn.MultiheadAttention.forward or "forward" in vars(base):
            return f"is {with_article(type(base).__name__)} with a forward pass of its own"
        if any(getattr(base, hooks) for hooks in HOOKS):
            return "has hooks, which would see the frozen layer without the update"
        if not layer._qkv_same_embed_dim:
            return "has keys or values of another size, which PEFT does not adapt"
        if config.use_dora:
            return "has no LoRA Dropout with use_dora"
        reason = why_refused(base_layer(layer.out_proj))
        return reason and f"has an output projection that {reason}"

    def update_layer(
        self, adapter_name: str, r: int, lora_alpha: float, config: Any, **kwargs: Any
    ) -> None:
        """Add an adapter to the input and the output weight.

        Args:
            adapter_name: name of the adapter.
            r: rank of its factors, at least 1.
            lora_alpha: scaling numerator of its updates.
            config: of the adapter; it gets masks if this is one of this package.
            **kwargs: passed on to PEFT's layer.
        """
        # One that PEFT made for an adapter without dropout takes masks too.
        self.base_layer.out_proj.__class__ = OutputProjection
        self.base_layer.out_proj.times = times_of_output()
        super().update_layer(adapter_name, r, lora_alpha=lora_alpha, config=config, **kwargs)

    def forget_masks(self, adapter: str) -> None:
        """Take away the masks of an adapter, of both weights."""
        if self.masks_of(adapter) is not None:
            self._out_proj.forget_masks(adapter)
        super().forget_masks(adapter)

    def forward(self, query: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Attend with the weights that the masks leave.

        Args:
            query: as of ``nn.MultiheadAttention``.
            *args, **kwargs: passed on to it.

        Returns:
            What it returns, in the precision of ``query``.

        Raises:
            GroupsNotSupportedError: the layer holds masks for several groups of the batch.
        """
        active = [name for name in self.active_adapters if name in self.lora_A]
        masks = [self.masks_of(name) for name in active]
        dropped = any(one is not None and max(one.shape[2:4]) > 0 for one in masks)
        if self.disable_adapters or self.merged or not dropped:
            for one in masks:
                if one is not None:
                    self._out_proj.lora_masks[one.adapter].used = one.used = True
            return super().forward(query, *args, **kwargs)
        self._check_forward_args(query, *args, **kwargs)
        base: Any = self.get_base_layer()
        weights = {
            "in_proj_weight": _with_updates(self, base.in_proj_weight, active),
            "out_proj.base_layer.weight": _with_updates(
                self._out_proj, self._out_proj.get_base_layer().weight, active
            ),
        }
        output, attention = functional_call(base, weights, (query, *args), kwargs)
        return output.to(query.dtype), attention if attention is None else attention.to(query.dtype)

    @property
    def _out_proj(self) -> Any:
        """The adapted output projection."""
        return self.get_base_layer().out_proj


def _with_updates(layer: Any, weight: Tensor, adapters: list[str]) -> Tensor:
    """Add the updates of adapters to a frozen weight, with masks where they are drawn."""
    for name in adapters:
        A, B, scaling = layer.low_rank_of(name)
        masks = layer.masks_of(name)
        if masks is not None:
            A, B, scaling = masks.mask(A, B, scaling)
        if A.dim() > 2:
            raise GroupsNotSupportedError(
                "attention reads a weight that has one value for the whole batch, and takes no "
                "groups"
            )
        weight = weight + (scaling * (B @ A)).to(weight.dtype)
    return weight
