r"""DoRA with dropout: the masked update within the direction, the magnitude as it is.

DoRA (Liu et al., arXiv 2402.09353, Eq. 5) gives row o of the weight a trained magnitude
:math:`m_o` and the direction of :math:`w_o + c\,\delta_o`, with :math:`\delta = B A`. Under
dropout a pass has the DoRA network of its masked factors,

.. math:: m_o\,\frac{w_o + c\,\tilde\delta_o}{\lVert w_o + c\,\tilde\delta_o\rVert},
          \qquad \tilde\delta = \mathrm{diag}(m_B)\,B A\,\mathrm{diag}(m_A),

so that every member of an ensemble is a DoRA network, a dropped row has the direction of the frozen
one, and magnitudes are never dropped. As in PEFT, the norm is a constant for the gradient.

The expected weight has no closed form, as the norm is not linear. "Expected weight" therefore means
the DoRA network whose update is multiplied by q = (1-p_in)(1-p_out), which is also what a saved
adapter is without this package. It is the expected weight to first order in the update (derived
here): with :math:`u = w_o/\lVert w_o\rVert`,

.. math:: m_o\Bigl(u + \frac{c}{\lVert w_o\rVert}(I - u u^\top)\tilde\delta_o\Bigr)
          + O(\lVert\tilde\delta_o\rVert^2)

is linear in the masked update, whose expected value is q times the update. The difference is of
second order in :math:`c\lVert\delta_o\rVert/\lVert w_o\rVert`.
"""

from typing import Any

import torch
from peft.tuners.lora.variants import DoraLinearVariant
from peft.utils.integrations import dequantize_module_weight
from peft.utils.other import transpose
from torch import Tensor

from lora_dropout.functional import GroupsNotSupportedError


class DoraDropoutVariant(DoraLinearVariant):
    """DoRA with a masked update; merging is PEFT's, with the update of the mode."""

    #: A weight has one direction for the whole batch.
    takes_groups = False

    def supports_lora_conversion(self) -> bool:
        """Whether PEFT's ``convert_to_lora`` gives the same network: it leaves the magnitude out.

        Returns:
            False.
        """
        return False

    @staticmethod
    def forward(
        module: Any, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any
    ) -> Tensor:
        """Give the weight the direction that it has with the masked update.

        Args:
            module: the layer.
            active_adapter: name of the adapter.
            x: input of the layer, (..., d_in).
            result: output of the frozen layer, (..., d_out).
            **kwargs: ignored.

        Returns:
            The output, (..., d_out).

        Raises:
            GroupsNotSupportedError: the layer holds masks for several groups of the batch.
        """
        masks = module.lora_masks[active_adapter]
        A, B, scaling = masks.mask(*module.low_rank_of(active_adapter))
        if A.dim() > 2:
            raise GroupsNotSupportedError(
                "a weight of DoRA has one direction for the whole batch, and takes no groups"
            )
        base = module.get_base_layer()
        weight = transpose(
            dequantize_module_weight(base).to(A.dtype), getattr(module, "fan_in_fan_out", False)
        )
        norm = torch.linalg.norm(weight + scaling * (B @ A), dim=1).detach()
        factor = module.lora_magnitude_vector[active_adapter].weight / norm
        product = result if base.bias is None else result - base.bias
        return result + (factor - 1) * product + factor * scaling * ((x @ A.mT) @ B.mT)
