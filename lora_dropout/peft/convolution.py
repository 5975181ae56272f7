"""LoRA Dropout over convolutions: masks on input and output channels."""

from typing import Any

from peft.tuners.lora.layer import Conv1d as PlainConv1d
from peft.tuners.lora.layer import Conv2d as PlainConv2d
from torch import Tensor, cat, nn

from lora_dropout.adaptable import why_refused
from lora_dropout.functional import GroupsNotSupportedError, mask_factors
from lora_dropout.peft.adapter_masks import AdapterMasks
from lora_dropout.peft.variant import DropoutVariant, VariantOfConfig


class ChannelMasks(AdapterMasks):
    r"""Masks over the channels of a convolution, at all places of its kernel alike.

    PEFT's A is a convolution to r channels and B one of size 1, so that the update of the kernel is
    :math:`c\,B A_k` at place k. Its input columns are input channels, its output rows are output
    channels, and the masked update is

    .. math:: \mathrm{diag}(m_B)\,c\,B A_k\,\mathrm{diag}(m_A),

    whose expected value is (1-p_in)(1-p_out) c B A_k, entry by entry, as the two masks are
    independent. An entry is a pair of channels at a place; those of one pair live or die together.
    (Derived here: the paper has linear layers alone. To drop columns of the unfolded input in place
    of channels would have the same expectation, and drop one offset of a feature at a time.)

    Source: arXiv 2404.09610, Eq. 2, at each place of the kernel.
    """

    def masked_now(self, A: Tensor, B: Tensor, scaling: float) -> tuple[Tensor, Tensor, float]:
        """Apply the masks, or their expected weight, as a forward pass does now.

        Args:
            A: (places, r, channels_in).
            B: (1, channels_out, r).
            scaling: alpha / r.

        Returns:
            The factors and their scaling, the factors with a leading dimension of G where the layer
            holds masks for G groups of the batch.
        """
        if not self._masked:
            return super().masked_now(A, B, scaling)
        self.used = True
        mask_in, mask_out = self.mask_in.to(A.dtype), self.mask_out.to(B.dtype)
        return *mask_factors(A, B, mask_in.unsqueeze(-2), mask_out.unsqueeze(-2)), scaling


class ConvolutionVariant(DropoutVariant):
    """The masked update of a convolution."""

    @staticmethod
    def forward(
        module: Any, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any
    ) -> Tensor:
        """Add the masked update.

        Args:
            module: the layer.
            active_adapter: name of the adapter.
            x: input of the layer, (rows, channels_in, *size), or without rows.
            result: output of the frozen layer, (rows, channels_out, *size).
            **kwargs: ignored.

        Returns:
            The output with the update, of the shape of ``result``.

        Raises:
            GroupsNotSupportedError: the rows do not divide into the groups that have masks.
        """
        masks = module.lora_masks[active_adapter]
        A, B, scaling = masks.mask(*module.low_rank_of(active_adapter))
        if A.dim() == 3:
            return result + scaling * module.convolved(active_adapter, x, A, B)
        if x.dim() < module.get_base_layer().weight.dim() or len(x) % len(A):
            raise GroupsNotSupportedError(
                f"an input of shape {tuple(x.shape)} does not divide into {len(A)} groups of rows"
            )
        parts = zip(x.chunk(len(A)), A, B, strict=True)
        return result + scaling * cat([module.convolved(active_adapter, *part) for part in parts])


class Convolution(VariantOfConfig):
    """What PEFT's LoRA over a convolution is mixed with."""

    kind_of_masks = ChannelMasks
    masked = ConvolutionVariant
    conv_fn: Any

    @classmethod
    def why_not(cls, base: nn.Module, config: Any) -> str | None:
        """Say why a layer is refused, as in :meth:`HoldsMasks.why_not`.

        PEFT's A has neither dilation, groups nor another padding.
        """
        reason = why_refused(base, cls.over)
        if reason is not None:
            return reason
        layer: Any = base
        if any(step != 1 for step in layer.dilation):
            return "has a dilation, which PEFT's update has not"
        if layer.groups != 1:
            return "has groups of channels, where PEFT cannot merge the update"
        if layer.padding_mode != "zeros":
            return f"pads by {layer.padding_mode!r} values, which PEFT's update does not"
        return "has no LoRA Dropout with use_dora" if config.use_dora else None

    def low_rank_of(self, adapter: str) -> tuple[Tensor, Tensor, float]:
        """A (places of the kernel, r, channels_in), B (1, channels_out, r) and alpha / r."""
        A, B = self.factors_of(adapter)
        return A.flatten(2).permute(2, 0, 1), B.flatten(2).permute(2, 0, 1), self.scaling[adapter]

    def convolved(self, adapter: str, x: Tensor, A: Tensor, B: Tensor) -> Tensor:
        """Convolve an input by the update.

        Args:
            adapter: name of the adapter.
            x: (rows, channels_in, *size), or without rows.
            A: (places of the kernel, r, channels_in).
            B: (1, channels_out, r).

        Returns:
            (rows, channels_out, *size), or without rows.
        """
        first, second = self.lora_A[adapter], self.lora_B[adapter]
        hidden = self.conv_fn(x, _kernel(A, first), None, first.stride, first.padding)
        return self.conv_fn(hidden, _kernel(B, second))


class Conv1d(Convolution, PlainConv1d):
    """PEFT's LoRA layer over ``nn.Conv1d``."""

    over = nn.Conv1d


class Conv2d(Convolution, PlainConv2d):
    """PEFT's LoRA layer over ``nn.Conv2d``."""

    over = nn.Conv2d


def _kernel(factor: Tensor, layer: Any) -> Tensor:
    """Put the places (places, out, in) of a kernel back into their dimensions (out, in, *size)."""
    return factor.permute(1, 2, 0).unflatten(2, layer.kernel_size)
