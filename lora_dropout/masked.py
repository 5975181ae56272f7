"""What every adapted layer has: the masks of one low-rank update, and how they are treated."""

import warnings
import weakref
from abc import ABC, abstractmethod
from multiprocessing.context import get_spawning_popen
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from lora_dropout.functional import (
    add_update_apart,
    add_update_rows,
    computed_in,
    mask_factors,
    may_add_apart,
)
from lora_dropout.masks import LayerShape, drop_probability, expected_mask
from lora_dropout.schedule import MaskSchedule

#: How the masks are treated in ``eval()``: see :class:`MaskedUpdate`.
Inference = Literal["no masks", "expected weight", "ensemble"]
#: Where a state dict, in what PyTorch keeps beside its tensors, says how factors were trained.
TRAINED = "lora_dropout"
#: Masks that a process is started with; their memory is shared, and so must live until it has them.
_sent: "weakref.WeakKeyDictionary[Any, list[Any]]" = weakref.WeakKeyDictionary()


class MaskedUpdate(nn.Module, ABC):
    r"""The masks of one low-rank update :math:`c\,B A`.

    In training one mask pair is used a forward pass, shared by all examples and tokens; it is a
    pure function of (seed, step, layer, sample number), see :class:`MaskSchedule`. In ``eval()``
    the attribute ``inference`` decides:

    - ``"no masks"``: the update as it stands. After training without rescaling it is larger than
      the average masked update by 1/((1-p_in)(1-p_out)).
    - ``"expected weight"``: the update times its expected mask, (1-p_in)(1-p_out).
    - ``"ensemble"``: the masks that the layer holds, so that the network is one sampled member;
      :class:`lora_dropout.Ensemble` averages N of them.

    With ``rescale`` masks are divided by their mean, 1 - p, and the expected weight is the update
    as it stands. All this holds for every kind of masks, as all kinds have the same mean: see
    ``lora_dropout.masks``.

    Source: arXiv 2404.09610, Eq. 2 (masks), Eq. 8 (ensemble). The expected-weight network is the
    usual deterministic rule for dropout and not in the paper.

    Args:
        shape: sides and rates, and the kind of the masks.
        rescale: whether masks are divided by 1 - p.
        inference: the mode in ``eval()``.
        like: gives the device and precision of the masks; a tensor that has no data (on the device
            "meta") leaves them on the CPU.

    Attributes:
        mask_in, mask_out: held masks, (d_in,) and (d_out,), or (G, d) for G groups of the batch.
        rounded_to: precision of the frozen layer, to which entries of masks are rounded.
        masks: the schedule of the model that the layer belongs to.
        number: of the layer in its schedule.
        used: whether a pass used the update since the schedule last asked.
        rank, alpha: the update is multiplied by alpha / rank.

    Raises:
        ValueError: a rate out of range, or an unknown mode.
    """

    mask_in: Tensor
    mask_out: Tensor
    rank: int
    alpha: float
    #: Name of the adapter in PEFT, and what it adds to the adapted layer's name.
    adapter = place = ""
    #: Whether groups of the batch can have masks of their own.
    takes_groups = True
    #: Whether the pass that runs now names an adapter for each row of the batch.
    rows_name_adapters = False

    def __init__(
        self, shape: LayerShape, *, rescale: bool, inference: Inference, like: Tensor
    ) -> None:
        super().__init__()
        self.shape, self.rescale, self.inference = shape, rescale, inference
        self.masks, self.number = MaskSchedule(), 0
        self.used = False
        where = "cpu" if like.is_meta else like.device
        dtype = computed_in(like.dtype, torch.float32)
        self.rounded_to = dtype
        for name, size in (("mask_in", shape.d_in), ("mask_out", shape.d_out)):
            ones = torch.ones(size, dtype=dtype, device=where)
            self.register_buffer(name, ones, persistent=False)

    @property
    @abstractmethod
    def factors(self) -> tuple[Tensor, ...]:
        """The trained tensors of the update."""

    @abstractmethod
    def low_rank(self) -> tuple[Tensor, Tensor, float]:
        """Return A (..., r, d_in), B (..., d_out, r) and the factor c of their product."""

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
    def in_use(self) -> bool:
        """Whether a forward pass adds the update."""
        return True

    @property
    def expected_mask(self) -> float:
        """Expected product of the two masks at an entry of the update."""
        return expected_mask(self.shape.p_in, self.shape.p_out, self.rescale)

    @property
    def sparsity(self) -> float:
        """Probability that an entry of the update is dropped, 2p - p^2 for equal rates.

        It is 0 for masks of another kind than Bernoulli, which drop nothing.
        """
        if self.shape.kind != "bernoulli":
            return 0.0
        return drop_probability(self.shape.p_in, self.shape.p_out)

    @property
    def draws_masks(self) -> bool:
        """Whether a forward pass now would use masks."""
        return self.in_use and self._masked

    @property
    def _masked(self) -> bool:
        """As ``draws_masks``, where the update is known to be added."""
        shape = self.shape
        return (self.training or self._inference == "ensemble") and (
            shape.p_in > 0 or shape.p_out > 0
        )

    @property
    def deterministic_mask(self) -> float:
        """Factor of the update in the network without masks: see ``inference``."""
        return 1.0 if self.inference == "no masks" else self.expected_mask

    def add_update(self, base: Tensor, x: Tensor, A: Tensor, B: Tensor, scaling: float) -> Tensor:
        """Add the update to the output of the frozen layer, as the mode says.

        Args:
            base: output of the frozen layer, (..., d_out).
            x: its input, (..., d_in).
            A, B: the factors, (r, d_in) and (d_out, r).
            scaling: alpha / r.

        Returns:
            The sum, (..., d_out).
        """
        A, B, scaling = self.mask(A, B, scaling)
        if not base.dtype == x.dtype == A.dtype and not torch.is_autocast_enabled(x.device.type):
            # Some set the precision of the factors alone, to a higher or to a lower one.
            if x.dtype == A.dtype == B.dtype and may_add_apart(base, A, scaling):
                return add_update_apart(base, x, A, B, scaling)
            dtype = torch.promote_types(base.dtype, A.dtype)
            base, x, A, B = (one.to(dtype) for one in (base, x, A, B))
        return add_update_rows(base, x, A, B, scaling)

    def mask(self, A: Tensor, B: Tensor, scaling: float) -> tuple[Tensor, Tensor, float]:
        """Apply the masks, or their expected weight, as a forward pass does now.

        Args:
            A, B: the factors, (r, d_in) and (d_out, r).
            scaling: alpha / r.

        Returns:
            The factors and their scaling. The factors are (G, r, d_in) and (G, d_out, r) where the
            layer holds masks for G groups of the batch.
        """
        return self.masks.lock.run_part(self.masked_now, A, B, scaling)

    def masked_now(self, A: Tensor, B: Tensor, scaling: float) -> tuple[Tensor, Tensor, float]:
        """Do what :meth:`mask` does, while no other thread changes masks and modes.

        Args:
            A, B, scaling: as there.

        Returns:
            A and B, masked where a pass has masks, and the factor of their product.
        """
        # Writing an attribute of a module takes longer than reading it; compiled code guards reads.
        if torch.compiler.is_compiling() or not self.used:
            self.used = True
        if self._masked:
            mask_in, mask_out = self.mask_in, self.mask_out
            if not mask_in.dtype == A.dtype == B.dtype:
                # Some set the precision of the parameters alone (p.data = ..., DeepSpeed, FSDP).
                mask_in, mask_out = mask_in.to(A.dtype), mask_out.to(B.dtype)
            if A.is_meta:
                # Masks have values, which a pass that computes shapes alone does not take.
                mask_in, mask_out = mask_in.to(A.device), mask_out.to(B.device)
            return *mask_factors(A, B, mask_in, mask_out), scaling
        return A, B, scaling * (1.0 if self.training else self.deterministic_mask)

    @property
    def trained_with(self) -> dict[str, Any]:
        """What decides, beside the factors, by how much their update changes the weight."""
        p_in, p_out = self.shape.p_in, self.shape.p_out
        return {"p_in": p_in, "p_out": p_out, "rescale": self.rescale, "alpha": self.alpha}

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]][TRAINED] = self.trained_with

    def _load_from_state_dict(
        self, state: Any, prefix: str, metadata: dict[str, Any], *args: Any
    ) -> None:
        warn_of_other_training(metadata.get(TRAINED), self.trained_with)
        super()._load_from_state_dict(state, prefix, metadata, *args)

    def __getstate__(self) -> dict[str, Any]:
        # A pickle of masks that are parts of one memory would hold all of it, once for every mask.
        own = {name: one if one is None else one.clone() for name, one in self._buffers.items()}
        starting = get_spawning_popen()
        if starting is not None:
            _sent.setdefault(starting, []).append(own)
        return {**vars(self), "_buffers": own}

    def __copy__(self) -> Self:
        copied = type(self).__new__(type(self))
        vars(copied).update(vars(self))
        return copied

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        before = self.mask_in, self.mask_out
        # The masks may have a higher precision than the model, and are cast as it is.
        self.rounded_to = fn(self.mask_in.new_empty(0, dtype=self.rounded_to)).dtype
        super()._apply(fn, recurse)
        for old, new in zip(before, (self.mask_in, self.mask_out), strict=True):
            if new is not old and not new.is_meta and (old.is_meta or (new != old.to(new)).any()):
                # Memory that was given to tensors without data, as by to_empty(), holds no masks.
                self.masks.stale = True
        if self.mask_in.device.type == "cpu" and self.mask_in.is_shared():
            # By share_memory(): other processes train the factors too, at steps of their own.
            self.mask_in, self.mask_out = self.mask_in.clone(), self.mask_out.clone()
        return self


def warn_of_other_training(factors: dict[str, Any] | None, layer: dict[str, Any]) -> None:
    """Warn of factors that go into a layer in which they mean something else.

    Args:
        factors: how they were trained, as :attr:`MaskedUpdate.trained_with`; None where nobody
            knows, and nothing is said.
        layer: the same of the layer.
    """
    differ = [name for name, value in layer.items() if factors and factors.get(name) != value]
    if factors and differ:
        trained, here = (
            ", ".join(f"{name}={one[name]}" for name in differ) for one in (factors, layer)
        )
        warnings.warn(
            f"factors that were trained with {trained} are loaded into a layer with {here}: in "
            "eval() their update is too large or too small. Make the model with the settings of "
            "the training; to take the factors as they are, load dict(state)",
            stacklevel=3,
        )
