"""The token that fills batches up, which stock GPT-2 and LLaMA do not have."""

from typing import Any


def set_padding(tokenizer: Any, token: str | None) -> None:
    """Give a tokenizer a token for padding.

    Args:
        tokenizer: of transformers, changed in place.
        token: of its vocabulary, by the user's choice; None for its own, or else the token that
            ends a text.

    Raises:
        ValueError: the token is not in the vocabulary, or there is none that could be taken.
    """
    if token is not None:
        if token not in tokenizer.get_vocab():
            raise ValueError(f"pad_token must be a token of the model's vocabulary; got {token!r}")
        tokenizer.pad_token = token
    elif tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise ValueError(
                "pad_token must be given for this model, a token of its vocabulary: its tokenizer "
                "has none for padding or for the end of a text"
            )
        tokenizer.pad_token = tokenizer.eos_token


def tell_padding(model: Any, tokenizer: Any) -> None:
    """Tell a model which token is padding: it reads the last token that is not.

    Args:
        model: of transformers; its config is changed in place.
        tokenizer: with a token for padding.
    """
    for config in {id(one): one for one in (model.config, model.config.get_text_config())}.values():
        config.pad_token_id = tokenizer.pad_token_id
