"""A frozen linear layer with a low-rank update whose rows and columns are dropped."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lora_dropout.functional import add_update_rows, mask_factors, merge_weight
from lora_dropout.masks import LayerShape
from lora_dropout.schedule import MaskSchedule

#: How the masks are treated in ``eval()``: see :class:`LoRADropoutLinear`.
Inference = Literal["no masks", "expected weight", "ensemble"]


class LoRADropoutLinear(nn.Module):
    r"""LoRA Dropout over a frozen ``nn.Linear``.

    .. math:: h = W_0 x + \tfrac{\alpha}{r}\,\mathrm{diag}(m_B)\,B\,A\,\mathrm{diag}(m_A)\,x

    In training one mask pair is used a forward pass, shared by all examples and tokens; it is a
    pure function of (seed, step, layer, sample number), see :class:`MaskSchedule`. In ``eval()``
    the attribute ``inference`` decides:

    - ``"no masks"``: the update as it stands. After training without rescaling it is larger than
      the average masked update by 1/((1-p_in)(1-p_out)).
    - ``"expected weight"`` (the default): the update times its expected mask, (1-p_in)(1-p_out).
    - ``"ensemble"``: the masks that the layer holds, so that the network is one sampled member;
      :class:`lora_dropout.Ensemble` averages N of them.

    With ``rescale`` the surviving entries are divided by their probability, and the expected weight
    is the update as it stands.

    Source: arXiv 2404.09610, Eq. 2 (masks), Eq. 8 (ensemble). The expected-weight network is the
    usual deterministic rule for dropout and not in the paper.

    Args:
        base: the frozen layer; its parameters are left out of training.
        rank: r, from 1 to the smaller side of the weight.
        alpha: scaling numerator; the update is multiplied by alpha / rank. ``rank`` if left out.
        p: rate at which A's input columns are dropped, in [0, 1).
        p_out: rate at which B's output rows are dropped, in [0, 1); ``p`` if left out.
        rescale: whether survivors are divided by 1 - p ("inverted dropout"). The paper never does.
        inference: the mode in ``eval()``.
        masks: the schedule of the model that the layer belongs to; its own if left out.
        generator: source of A's initial values; B starts at zero, so that the update does.

    Shape: input (..., d_in), output (..., d_out), as the base layer.

    Raises:
        ValueError: an argument is out of range.
    """

    mask_in: Tensor
    mask_out: Tensor

    def __init__(
        self,
        base: nn.Linear,
        *,
        rank: int,
        alpha: float | None = None,
        p: float = 0.0,
        p_out: float | None = None,
        rescale: bool = False,
        inference: Inference = "expected weight",
        masks: MaskSchedule | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        smaller = min(base.in_features, base.out_features)
        if not 1 <= rank <= smaller:
            raise ValueError(
                f"rank must lie in [1, {smaller}], the layer's smaller side; got {rank}"
            )
        self.shape = LayerShape(
            base.in_features,
            base.out_features,
            _rate("p", p),
            _rate("p_out", p if p_out is None else p_out),
        )
        self.rank = rank
        self.alpha = float(rank if alpha is None else alpha)
        self.rescale = rescale
        self.inference = inference
        self.base = base.requires_grad_(False)
        self._add_factors(generator)
        self.masks = MaskSchedule() if masks is None else masks
        self.number = len(self.masks.layers)
        self.masks.layers.append(self)
        if masks is None:
            self.masks.attach(self)
            self.masks.seek(0)

    @property
    def inference(self) -> Inference:
        """The mode in ``eval()``."""
        return self._inference

    @inference.setter
    def inference(self, mode: Inference) -> None:
        if mode not in get_args(Inference):
            raise ValueError(f"inference must be one of {get_args(Inference)}, got {mode!r}")
        self._inference = mode

    @property
    def scaling(self) -> float:
        """alpha / r."""
        return self.alpha / self.rank

    @property
    def expected_mask(self) -> float:
        """Expected product of the two masks at an entry of the update."""
        return 1.0 if self.rescale else (1 - self.shape.p_in) * (1 - self.shape.p_out)

    @property
    def sparsity(self) -> float:
        """Probability that an entry of the update is dropped, 2p - p^2 for equal rates."""
        return self.shape.p_in + self.shape.p_out * (1 - self.shape.p_in)

    @property
    def draws_masks(self) -> bool:
        """Whether a forward pass now would use masks."""
        return self.sparsity > 0 and (self.training or self.inference == "ensemble")

    @property
    def deterministic_scaling(self) -> float:
        """Factor of B A in a forward pass without masks."""
        return self.scaling * (self.expected_mask if self.inference != "no masks" else 1.0)

    def merged_weight(self) -> Tensor:
        """Return the weight of the deterministic network, (d_out, d_in): see ``inference``."""
        return merge_weight(self.base.weight, self.lora_A, self.lora_B, self.deterministic_scaling)

    def hold_masks(self, mask_in: Tensor, mask_out: Tensor) -> None:
        """Take masks of shape (1, G, d) for G groups of the batch, in place where they fit."""
        for name, mask in (("mask_in", mask_in), ("mask_out", mask_out)):
            mask = mask[0, 0] if mask.shape[1] == 1 else mask[0]
            held = getattr(self, name)
            if held.shape == mask.shape:
                held.copy_(mask)
            else:
                setattr(self, name, mask.to(held))

    def forward(self, x: Tensor) -> Tensor:
        base = self.base(x)
        if self.draws_masks:
            A, B = mask_factors(self.lora_A, self.lora_B, self.mask_in, self.mask_out)
            return add_update_rows(base, x, A, B, self.scaling)
        scaling = self.scaling if self.training else self.deterministic_scaling
        return add_update_rows(base, x, self.lora_A, self.lora_B, scaling)

    def extra_repr(self) -> str:
        return (
            f"rank={self.rank}, alpha={self.alpha:g}, p={self.shape.p_in:g}, "
            f"p_out={self.shape.p_out:g}, rescale={self.rescale}, inference={self.inference!r}"
        )

    def _add_factors(self, generator: torch.Generator | None) -> None:
        weight = self.base.weight
        # Drawn on the CPU in float32, so that device and dtype do not change the initial values.
        initial = initial_factor(self.rank, self.shape.d_in, generator)
        self.lora_A = nn.Parameter(initial.to(weight))
        self.lora_B = nn.Parameter(weight.new_zeros(self.shape.d_out, self.rank))
        self.register_buffer("mask_in", weight.new_ones(self.shape.d_in), persistent=False)
        self.register_buffer("mask_out", weight.new_ones(self.shape.d_out), persistent=False)


def initial_factor(rank: int, d_in: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw LoRA's initial A: uniform in [-1/sqrt(d_in), 1/sqrt(d_in)], as ``nn.Linear`` does.

    Returns:
        (rank, d_in), float32, on the CPU.
    """
    limit = 1 / math.sqrt(d_in)
    return torch.empty(rank, d_in).uniform_(-limit, limit, generator=generator)


def _rate(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"{name} must lie in [0, 1), got {value:g}")
    return float(value)
