"""What a pretrained model can read: how many tokens, and which."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from probes.tasks.labelled_texts import say_once

#: Share of unknown tokens that is told.
TOLD = 0.01
#: Models whose table of positions begins behind the padding token, as RoBERTa's does.
BEHIND_PADDING = (
    "camembert", "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke",
    "markuplm", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
)  # fmt: skip


def positions(config: Any) -> int | None:
    """Count the tokens that a model has positions for.

    Args:
        config: of transformers, of the model.

    Returns:
        The largest number of tokens; None where positions are rotary or relative, or no table is
        known, so that no length is too long.
    """
    config = config.get_text_config()
    count = getattr(config, "max_position_embeddings", None)
    if not isinstance(count, int) or count < 1 or _without_table(config):
        return None
    if config.model_type in BEHIND_PADDING:
        return count - (config.pad_token_id or 0) - 1
    return count


def _without_table(config: Any) -> bool:
    """Whether positions are computed (rotary, relative), so that texts may be of any length."""
    if config.model_type == "esm":  # it has settings of rotary positions beside a table
        return bool(config.position_embedding_type != "absolute")
    rotary = bool(getattr(config, "rope_parameters", None))
    return rotary or getattr(config, "position_biased_input", True) is False


def window(asked: int | None, default: int, config: Any) -> int:
    """Choose how many tokens of a text are read.

    Args:
        asked: by the user; None where that is left open.
        default: where it is left open.
        config: of transformers, of the model.

    Returns:
        ``asked``, or the default, or as many as the model has positions for if that is less.

    Raises:
        ValueError: the user asks for more than the model has positions for.
    """
    most = positions(config)
    if most is None:
        return asked or default
    if asked is not None and asked > most:
        raise ValueError(f"tokens must be at most {most}, the positions of the model; got {asked}")
    return asked or min(default, most)


def which_are_cut(coded: Any, tokens: int) -> list[bool]:
    """Say which texts of a batch were longer than what is read.

    Args:
        coded: made by a tokenizer of transformers, which cuts.
        tokens: that it cuts after.

    Returns:
        One value a text. A slow tokenizer does not say: then whether the text fills the window.
    """
    if coded.encodings:
        return [bool(one.overflowing) for one in coded.encodings]
    return [len(one) >= tokens for one in coded["input_ids"]]


def which_are_lost(ids: Sequence[Sequence[int]], tokenizer: Any) -> list[bool]:
    """Say of which texts a tokenizer keeps nothing: all of their tokens are special.

    Args:
        ids: numbers of the tokens of each text, with padding or without.
        tokenizer: of transformers.

    Returns:
        One value a text.
    """
    special = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    return [special.issuperset(one) for one in ids]


def check_texts_kept(lost: Sequence[bool], where: str = "") -> None:
    """Check that a tokenizer keeps something of the texts; say of how many it keeps nothing.

    Args:
        lost: by :func:`which_are_lost`.
        where: what the texts are called, with a colon and a blank.

    Raises:
        ValueError: it keeps nothing of any.
    """
    nothing = sum(lost)
    if nothing == len(lost):
        raise ValueError(
            f"{where}model must have a tokenizer that reads the texts; its tokenizer keeps nothing "
            "of any"
        )
    if nothing:
        say_once(f"{where}texts of which the tokenizer keeps nothing: {nothing} of {len(lost)}")


def check_tokens_known(ids: "np.ndarray[Any, Any]", tokenizer: Any) -> None:
    """Check that a tokenizer knows the texts; say what share of the tokens it does not know.

    Args:
        ids: numbers of tokens.
        tokenizer: of transformers.

    Raises:
        ValueError: of the tokens that are not special, it knows none.
    """
    unknown, special = tokenizer.unk_token_id, list(tokenizer.all_special_ids)
    if unknown is None:
        return
    lost = int((ids == unknown).sum())
    known = int((~np.isin(ids, special)).sum())
    if lost and not known:
        raise ValueError(
            "model must have a tokenizer that knows the texts; its tokenizer knows none of their "
            "tokens (are its files there?)"
        )
    if lost > TOLD * (lost + known):
        say_once(f"tokens that the tokenizer does not know: {lost / (lost + known):.0%}")


def check_vocabulary(largest: Any, model: Any) -> None:
    """Check that a model has an embedding for every token of its tokenizer.

    Args:
        largest: number of a token of the texts.
        model: of transformers.

    Raises:
        ValueError: it has none for that token.
    """
    try:
        table = model.get_input_embeddings()
    except NotImplementedError:  # a model of characters, such as CANINE
        return
    weight = getattr(table, "weight", None)
    if weight is None:  # learned queries, such as Perceiver's
        return
    known = len(weight)
    if largest >= known:
        raise ValueError(
            f"model has embeddings of {known} tokens, and its tokenizer makes token {largest}: "
            "they do not belong together"
        )
