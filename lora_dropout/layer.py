"""A frozen linear layer with a low-rank update whose rows and columns are dropped."""

import math

import torch
from torch import Tensor, nn

from lora_dropout.adaptable import check_is_adaptable
from lora_dropout.functional import GroupsNotSupportedError, merge_weight
from lora_dropout.given_numbers import (
    checked_rate,
    positive_number,
    true_or_false,
    whole_number,
)
from lora_dropout.masked import Inference, MaskedUpdate
from lora_dropout.masks import MASK_KINDS, LayerShape, MaskKind
from lora_dropout.schedule import MaskSchedule


class LoRADropoutLinear(MaskedUpdate):
    r"""LoRA Dropout over a frozen ``nn.Linear``.

    .. math:: h = W_0 x + \tfrac{\alpha}{r}\,\mathrm{diag}(m_B)\,B\,A\,\mathrm{diag}(m_A)\,x

    How the masks are drawn in training and treated in ``eval()``: see :class:`MaskedUpdate`.

    Source: arXiv 2404.09610, Eq. 2.

    Args:
        base: the frozen layer; its parameters are left out of training.
        rank: r, from 1 to the smaller side of the weight.
        alpha: scaling numerator, positive, ``rank`` if left out; the update is multiplied by
            alpha / rank.
        p: rate at which A's input columns are dropped, in [0, 1).
        p_out: rate at which B's output rows are dropped, in [0, 1); ``p`` if left out.
        rescale: whether masks are divided by 1 - p ("inverted dropout"). The paper never does.
        mask_kind: "bernoulli" (LoRA Dropout), "gaussian" or "two-point" (noise of the same mean and
            variance) or "mean" (the constant 1 - p): see ``lora_dropout.masks``.
        inference: the mode in ``eval()``.
        masks: the schedule of the model that the layer belongs to; its own if left out.
        generator: source of A's initial values; B starts at zero, so that the update does.

    Shape: input (..., d_in), output (..., d_out), as the base layer.

    Raises:
        ValueError: an argument is out of range, or ``base`` does more than multiply by its weight.
    """

    def __init__(
        self,
        base: nn.Linear,
        *,
        rank: int,
        alpha: float | None = None,
        p: float = 0.0,
        p_out: float | None = None,
        rescale: bool = False,
        mask_kind: MaskKind = "bernoulli",
        inference: Inference = "expected weight",
        masks: MaskSchedule | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        check_is_adaptable("base", base)
        smaller = min(base.in_features, base.out_features)
        rank = whole_number("rank", rank, 0)
        if not 1 <= rank <= smaller:
            raise ValueError(
                f"rank must lie in [1, {smaller}], the layer's smaller side; got {rank}"
            )
        shape = layer_shape(base.in_features, base.out_features, p, p_out, mask_kind)
        rescale = true_or_false("rescale", rescale)
        super().__init__(shape, rescale=rescale, inference=inference, like=base.weight)
        self.rank = rank
        self.alpha = positive_number("alpha", rank if alpha is None else alpha)
        self.base = base.requires_grad_(False)
        # Drawn on the CPU in float32, so that device and dtype do not change the initial values.
        initial = initial_factor(rank, shape.d_in, generator)
        self.lora_A = nn.Parameter(initial.to(base.weight))
        self.lora_B = nn.Parameter(base.weight.new_zeros(shape.d_out, rank))
        (self.masks if masks is None else masks).join(self)
        if masks is None:
            self.masks.attach(self)
            self.masks.seek(0)

    @property
    def factors(self) -> tuple[Tensor, ...]:
        """The trained tensors, A and B."""
        return self.lora_A, self.lora_B

    def low_rank(self) -> tuple[Tensor, Tensor, float]:
        """Return A, B and alpha / r."""
        return self.lora_A, self.lora_B, self.scaling

    @property
    def scaling(self) -> float:
        """alpha / r."""
        return self.alpha / self.rank

    def merged_weight(self) -> Tensor:
        """Return the weight of the deterministic network, (d_out, d_in): see ``inference``."""
        scaling = self.scaling * self.deterministic_mask
        return merge_weight(self.base.weight, self.lora_A, self.lora_B, scaling)

    @property
    def weight(self) -> Tensor:
        """The weight that a pass multiplies by now, (d_out, d_in), masks included.

        For code that reads the weight of a linear layer and does not call it, as
        ``nn.MultiheadAttention`` and PyTorch's fast path of transformer layers do.
        """
        self.used = True
        A, B, scaling = self.mask(self.lora_A, self.lora_B, self.scaling)
        if A.dim() > 2:
            raise GroupsNotSupportedError(
                "a weight that is read has one value for the whole batch, and takes no groups"
            )
        return merge_weight(self.base.weight, A, B, scaling)

    @property
    def bias(self) -> Tensor | None:
        """The bias, (d_out,), if there is one."""
        return self.base.bias

    @property
    def in_features(self) -> int:
        """d_in."""
        return self.shape.d_in

    @property
    def out_features(self) -> int:
        """d_out."""
        return self.shape.d_out

    def forward(self, x: Tensor) -> Tensor:
        """Compute W0 x + b and add the masked update: (..., d_in) to (..., d_out)."""
        return self.add_update(self.base(x), x, self.lora_A, self.lora_B, self.scaling)

    def extra_repr(self) -> str:
        """Rank, alpha, rates, kind of masks and inference, as ``print(model)`` shows them."""
        return (
            f"rank={self.rank}, alpha={self.alpha:g}, p={self.shape.p_in:g}, "
            f"p_out={self.shape.p_out:g}, rescale={self.rescale}, mask_kind={self.shape.kind!r}, "
            f"inference={self.inference!r}"
        )


def initial_factor(rank: int, d_in: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw LoRA's initial A: uniform in [-1/sqrt(d_in), 1/sqrt(d_in)], as ``nn.Linear`` does.

    Args:
        rank: r, at least 1.
        d_in: number of A's columns, at least 1.
        generator: source of the values; PyTorch's own if left out.

    Returns:
        (rank, d_in), float32, on the CPU or where the generator is.
    """
    limit, device = 1 / math.sqrt(d_in), generator.device if generator else "cpu"
    initial = torch.empty(rank, d_in, dtype=torch.float32, device=device)
    return initial.uniform_(-limit, limit, generator=generator)


def layer_shape(
    d_in: int, d_out: int, p: float, p_out: float | None = None, mask_kind: MaskKind = "bernoulli"
) -> LayerShape:
    """Put together what the masks of a layer depend on, and check the rates and the kind.

    Args:
        d_in, d_out: sides of the update.
        p: rate at which A's input columns are dropped, in [0, 1).
        p_out: rate at which B's output rows are dropped, in [0, 1); ``p`` if left out.
        mask_kind: "bernoulli", "gaussian", "two-point" or "mean".

    Returns:
        The sides, both rates and the kind.

    Raises:
        ValueError: a rate out of range, or an unknown kind.
    """
    p_in, p_out = checked_rate("p", p), checked_rate("p_out", p if p_out is None else p_out)
    if mask_kind not in MASK_KINDS:
        raise ValueError(f"mask_kind must be one of {MASK_KINDS}, got {mask_kind!r}")
    return LayerShape(d_in, d_out, p_in, p_out, mask_kind)
