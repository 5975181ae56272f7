"""LoRA Dropout over embeddings: masks on the words of the vocabulary and on the features."""

from typing import Any

from peft.tuners.lora.layer import Embedding as PlainEmbedding
from torch import Tensor, nn

from lora_dropout.adaptable import why_refused
from lora_dropout.functional import GroupsNotSupportedError
from lora_dropout.peft.adapter_masks import AdapterMasks
from lora_dropout.peft.factors import entry_of
from lora_dropout.peft.variant import DropoutVariant, VariantOfConfig


class WordMasks(AdapterMasks):
    r"""Masks over the words of an embedding, and over its features.

    An embedding is a linear layer whose input is 1 at a word and 0 elsewhere. So A's input columns
    are the words, B's output rows are the features, and the masked update of word v is

    .. math:: m_{A,v}\,c\,\mathrm{diag}(m_B)\,B A_{:v}.

    A dropped word has the frozen embedding at all its places in the pass. The expected value is
    (1-p_in)(1-p_out) c B A_{:v}, as the two masks are independent.

    Source: arXiv 2404.09610, Eq. 2, for this input.
    """

    def add_rows(
        self, base: Tensor, words: Tensor, hidden: Tensor, B: Tensor, scaling: float
    ) -> Tensor:
        """Add the update of some words to their frozen embeddings, as the mode says.

        Args:
            base: the frozen embeddings, (..., d_out).
            words: their numbers, (...).
            hidden: their columns of A, (..., r).
            B: (d_out, r).
            scaling: alpha / r.

        Returns:
            The sum, (..., d_out).

        Raises:
            GroupsNotSupportedError: the rows do not divide into the groups that have masks.
        """
        return self.masks.lock.run_part(self._rows_now, base, words, hidden, B, scaling)

    def _rows_now(
        self, base: Tensor, words: Tensor, hidden: Tensor, B: Tensor, scaling: float
    ) -> Tensor:
        self.used = True
        if not self._masked:
            # Not in place: a model that is prepared for swaps holds its scaling as a tensor.
            scaling = scaling * (1.0 if self.training else self.deterministic_mask)
            return base + scaling * (hidden @ B.mT)
        # One group of rows, or one a mask pair: the words' masks are looked up as their columns.
        mask_in = self.mask_in.to(B.dtype).reshape(-1, self.shape.d_in)
        B = B * self.mask_out.to(B.dtype).reshape(-1, self.shape.d_out, 1)
        groups = len(mask_in)
        if groups > 1 and (not words.dim() or len(words) % groups):
            raise GroupsNotSupportedError(
                f"words of shape {tuple(words.shape)} do not divide into {groups} groups of rows"
            )
        kept = mask_in.gather(1, words.reshape(groups, -1).long()).unsqueeze(-1)
        update = (hidden.reshape(groups, -1, hidden.shape[-1]) * kept) @ B.mT
        return base + scaling * update.reshape(base.shape)


class EmbeddingVariant(DropoutVariant):
    """The masked update of an embedding."""

    @staticmethod
    def forward(
        module: Any, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any
    ) -> Tensor:
        """Add the masked update.

        Args:
            module: the layer.
            active_adapter: name of the adapter.
            x: numbers of the words, (...).
            result: output of the frozen layer, (..., d_out).
            **kwargs: ignored.

        Returns:
            The output with the update, (..., d_out).
        """
        A, B = module.factors_of(active_adapter)
        hidden = module._embed(x, A.mT)
        masks = module.lora_masks[active_adapter]
        return masks.add_rows(result, x, hidden, B, module.scaling[active_adapter])


class Embedding(VariantOfConfig, PlainEmbedding):
    """PEFT's LoRA layer over ``nn.Embedding``."""

    over = nn.Embedding
    kind_of_masks = WordMasks
    masked = EmbeddingVariant

    @classmethod
    def why_not(cls, base: nn.Module, config: Any) -> str | None:
        """Say why a layer is refused, as in :meth:`HoldsMasks.why_not`.

        Refused is one that scales or renormalizes what it looks up.
        """
        reason = why_refused(base, cls.over)
        if reason is None and base.max_norm is not None:
            return "renormalizes its weight in every pass (max_norm)"
        if reason is None and base.sparse:
            return "has sparse gradients, which a factor cannot have"
        return reason or ("has no LoRA Dropout with use_dora" if config.use_dora else None)

    def factors_of(self, adapter: str) -> tuple[Tensor, ...]:
        """A (r, words) and B (d_out, r)."""
        A, B = self.lora_embedding_A, self.lora_embedding_B
        return entry_of(A, adapter), entry_of(B, adapter)

    def _mixed_batch_forward(
        self, x: Tensor, *args: Any, adapter_names: list[str], **kwargs: Any
    ) -> Tensor:
        # PEFT's own asks no variant, and would leave out the masks and (1-p)^2.
        masked = {name for name in adapter_names if self.masks_of(name) is not None}
        others = ["__base__" if name in masked else name for name in adapter_names]
        result = super()._mixed_batch_forward(x, *args, adapter_names=others, **kwargs)
        for adapter in masked:
            rows = [row for row, name in enumerate(adapter_names) if name == adapter]
            update = self.masked.forward(self, adapter, x[rows], result[rows])
            result[rows] = update.to(result.dtype)
        return result
