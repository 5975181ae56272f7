"""Sizes of the models that whole steps are timed on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Of a model.

    Attributes:
        width: of the hidden states, a multiple of 64.
        layers: their number.
        inner: width inside the feed-forward layers.
        head: width of an attention head.
    """

    width: int
    layers: int
    inner: int
    head: int = 64


#: arXiv 2111.09543 (DeBERTa-v3-base) and 2302.13971, Table 2 (LLaMA-7B).
WHOLE = {"deberta": Shape(768, 12, 3072), "llama": Shape(4096, 32, 11008, 128)}
