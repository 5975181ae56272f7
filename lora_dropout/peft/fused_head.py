"""What TRL's models return in place of logits, computed from logits that were averaged."""

from collections.abc import Callable
from inspect import getclosurevars
from types import SimpleNamespace
from typing import Any

from torch import Tensor

#: The label of a token that does not count.
IGNORED = -100


def fused_output(
    output: Any,
    labels: Tensor | None,
    shift_labels: Tensor | None = None,
    temperature: float = 1.0,
) -> SimpleNamespace:
    """Compute the fields of TRL's ``FusedCausalLMOutput`` (TRL 1.16, ``add_fused_lm_head``).

    TRL asks a language model for the log-probabilities of the labels alone, so that its logits need
    not be held. An ensemble averages logits, and holds them.

    Args:
        output: of the model, with logits (rows, tokens, words).
        labels: (rows, tokens), compared with the logits of the token before.
        shift_labels: (rows, tokens), shifted already, in place of ``labels``.
        temperature: that logits are divided by, positive.

    Returns:
        ``log_probs``, ``entropy``, ``log_sum_sq_probs``, ``mean_logits`` and ``is_top1``, a value a
        label and 0 where it does not count, ``label_mask``, where it does, ``logits``, and the
        output's ``aux_loss``.
    """
    logits = output["logits"].float() / temperature
    if shift_labels is None:
        assert labels is not None
        logits, shift_labels = logits[:, :-1], labels[:, 1:]
    mask = shift_labels != IGNORED
    log_probs = logits.log_softmax(-1)
    chosen = shift_labels.where(mask, 0)
    told = {
        "log_probs": log_probs.gather(-1, chosen.unsqueeze(-1)).squeeze(-1),
        "entropy": -(log_probs.exp() * log_probs).sum(-1),
        "log_sum_sq_probs": (2 * log_probs).logsumexp(-1),
        "mean_logits": logits.mean(-1),
    }
    counted = {name: value.where(mask, 0.0) for name, value in told.items()}
    return SimpleNamespace(
        **counted,
        is_top1=(logits.argmax(-1) == chosen) & mask,
        label_mask=mask,
        logits=output["logits"],
        aux_loss=getattr(output, "aux_loss", None),
    )


def temperature_of(forward: Callable[..., Any]) -> float:
    """Return what TRL divides logits by: a trainer gives it to ``add_fused_lm_head``.

    Args:
        forward: of a language model, TRL's or the model's own.

    Returns:
        The temperature; 1 where TRL was given none.
    """
    known = getclosurevars(forward).nonlocals if hasattr(forward, "__func__") else {}
    given: float = known.get("temperature", 1.0)
    return given
