"""Whether a language model reads what stands behind the token that it predicts."""

from typing import Any

import torch

#: Tokens of the two texts that are compared; they differ in the last alone.
TOKENS = 4
#: Of the largest output: rounding is far below, attention to the last token far above.
TOLERANCE = 1e-4


@torch.no_grad()
def check_causal(model: Any) -> None:
    """Check that a model's outputs do not change with later tokens.

    An encoder that is loaded as a language model reads the answer that it is to predict: its loss
    would say nothing.

    Args:
        model: of transformers, on the CPU.

    Raises:
        ValueError: outputs of the first tokens change with the last one.
    """
    known = model.get_input_embeddings().num_embeddings
    # Any tokens will do, if there are two.
    first = torch.arange(TOKENS) % known
    other = first.clone()
    other[-1] = (first[-1] + 1) % known
    training = model.training
    texts = torch.stack([first, other])
    read = model.eval()(input_ids=texts, attention_mask=torch.ones_like(texts), use_cache=False)
    model.train(training)
    outputs = read.logits.float()
    before = outputs[:, :-1]
    apart = (before[0] - before[1]).abs().max() > TOLERANCE * outputs.abs().max()
    if known > 1 and bool(apart):
        raise ValueError(
            f"model must be a causal language model; {type(model).__name__} reads what stands "
            "behind a token (of an encoder: is_decoder is not set in its config)"
        )
