"""The last layers of a transformer encoder of the BERT family, adapted on query and value.

Everything below the first adapted layer is frozen and was computed once an example, as were the
frozen products of that layer. In the last layer, with the first token read out, only that token is
computed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probes.models.losses import Loss
from probes.models.low_rank_maps import AdaptedMap, LowRankMap, MergedMap, average
from probes.models.network import Factors, Masks, Network, mask_layers

Pooling = Literal["cls", "mean"]
POOLINGS: tuple[str, ...] = get_args(Pooling)
#: A linear map or a layer norm: weight and bias.
Affine = tuple[Tensor, Tensor]
#: Input and output of every adapted map, in the order in which they run; tokens last but one.
Trace = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class EncoderLayer:
    """Frozen weights of one post-norm transformer layer.

    Source: Vaswani et al. 2017, arXiv 1706.03762 (the layer); Devlin et al. 2019, arXiv 1810.04805
    (BERT, whose layers these are).

    Attributes:
        query, key, value, output: of the attention, (d, d) weights.
        attention_norm: layer norm after the attention.
        up, down: of the feed-forward block.
        norm: layer norm after it.
    """

    query: Affine
    key: Affine
    value: Affine
    output: Affine
    attention_norm: Affine
    up: Affine
    down: Affine
    norm: Affine

    @classmethod
    def of(cls, layer: nn.Module) -> "EncoderLayer":
        """Take the weights of a layer of transformers' BERT family."""
        places = {
            "query": "attention.self.query",
            "key": "attention.self.key",
            "value": "attention.self.value",
            "output": "attention.output.dense",
            "attention_norm": "attention.output.LayerNorm",
            "up": "intermediate.dense",
            "down": "output.dense",
            "norm": "output.LayerNorm",
        }
        found = {}
        for name, place in places.items():
            weight, bias = layer.get_submodule(place).parameters()
            found[name] = (weight.data, bias.data)
        return cls(**found)

    def place(self, like: Tensor) -> "EncoderLayer":
        """Return the same on the device and in the precision of a tensor."""
        placed = {
            field.name: tuple(tensor.to(like) for tensor in getattr(self, field.name))
            for field in fields(self)
        }
        return EncoderLayer(**placed)


@dataclass(frozen=True)
class Tokens:
    """Examples as inputs of the first adapted layer.

    Attributes:
        hidden: (m, tokens, d).
        mask: whether a token is there, (m, tokens).
        keys: of the first adapted layer, (m, heads, tokens, d / heads).
        queries: of the frozen first adapted layer without their bias, of the tokens that it
            computes, (m, tokens or 1, d).
        values: of the frozen first adapted layer without their bias, (m, tokens, d).
        targets: (k, m).
    """

    hidden: Tensor
    mask: Tensor
    keys: Tensor
    queries: Tensor
    values: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.hidden)

    def take(self, index: Tensor) -> "Tokens":
        """Return the examples of a mini-batch."""
        return Tokens(
            self.hidden[index], self.mask[index], self.keys[index], self.queries[index],
            self.values[index], self.targets[:, index],
        )  # fmt: skip

    def place(self, like: Tensor) -> "Tokens":
        """Return the same on the device and in the precision of a tensor."""
        return Tokens(
            self.hidden.to(like), self.mask.to(like.device), self.keys.to(like),
            self.queries.to(like), self.values.to(like), self.targets.to(like),
        )  # fmt: skip


@dataclass(frozen=True)
class LayerMasks:
    """What a layer drops in a pass, common to all replicas.

    Attributes:
        hidden: mask of the output of the feed-forward block, (m, tokens, d).
        keys: whether a token may be attended to, (m, tokens), bool.
    """

    hidden: Tensor
    keys: Tensor

    def attended(self, mask: Tensor) -> Tensor:
        """Tokens that are attended to: of an example that would lose all of them, all that are.

        Args:
            mask: whether a token is there, (m, tokens), bool.

        Returns:
            Whether it is attended to, (m, tokens), bool.
        """
        kept = mask & self.keys
        return kept.where(kept.any(-1, keepdim=True), mask)


class Encoder(Network):
    """The adapted layers, a pooling and a frozen linear head.

    Source: Devlin et al. 2019, arXiv 1810.04805 (layers); Hu et al. 2022, arXiv 2106.09685 (updates
    of query and value).

    Args:
        layers: frozen weights of the adapted layers, first layer first.
        head: frozen weight of the readout, (k, d).
        heads: number of attention heads.
        pooling: "cls", the first token, or "mean", the average of all tokens.
        tokens: of the longest text.
        activation: of the feed-forward block.
        epsilon: of the layer norms.
        rank, alpha, loss: as for :class:`Network`.
    """

    def __init__(
        self,
        layers: Sequence[EncoderLayer],
        head: Tensor,
        *,
        heads: int,
        pooling: Pooling,
        tokens: int,
        activation: Callable[[Tensor], Tensor] = F.gelu,
        epsilon: float = 1e-12,
        rank: int,
        alpha: float,
        loss: Loss,
    ) -> None:
        adapted = [weight for layer in layers for weight in (layer.query[0], layer.value[0])]
        super().__init__(adapted, rank=rank, alpha=alpha, loss=loss)
        self.layers, self.head, self.heads = list(layers), head, heads
        self.pooling, self.activation, self.epsilon = pooling, activation, epsilon
        # Frozen weights are read once a block and are large: few large blocks read them less often.
        self.block_activations = 2**23
        self.tokens, self.outputs_count = tokens, len(head)
        width, inner = head.shape[1], len(layers[0].up[0])
        computed = len(layers) * tokens if pooling == "mean" else (len(layers) - 1) * tokens + 1
        attention = heads * computed * tokens
        self.activations = computed * (6 * width + 3 * inner) + attention

    @property
    def depth(self) -> int:
        """Number of adapted transformer layers."""
        return len(self.layers)

    def place(self, like: Tensor) -> Self:
        """Return the same network on the device and in the precision of a tensor."""
        return type(self)(
            [layer.place(like) for layer in self.layers],
            self.head.to(like),
            heads=self.heads,
            pooling=self.pooling,
            tokens=self.tokens,
            activation=self.activation,
            epsilon=self.epsilon,
            rank=self.rank,
            alpha=self.scaling * self.rank,
            loss=self.loss,
        )

    def read(self, hidden: Tensor, mask: Tensor, targets: Tensor) -> Tokens:
        """Prepare examples: move them to the network and compute what never changes.

        Args:
            hidden: inputs of the first adapted layer, (m, tokens, d).
            mask: whether a token is there, (m, tokens), bool.
            targets: one-hot classes, (m, k).

        Returns:
            The examples on the network's device and in its dtype.
        """
        like, first = self.weights[0], self.layers[0]
        hidden = hidden.to(like)
        read = hidden[:, :1] if self._reads_first_token(0) else hidden
        return Tokens(
            hidden,
            mask.to(like.device),
            self._by_head(F.linear(hidden, *first.key)).transpose(1, 2),
            F.linear(read, first.query[0]),
            F.linear(hidden, first.value[0]),
            targets.to(like).mT.contiguous(),
        )

    def outputs(self, weights: Sequence[Tensor], inputs: Tokens) -> Tensor:
        """Compute outputs from merged weights, as in :meth:`Network.outputs`."""
        return self.mapped_outputs([MergedMap(weight) for weight in weights], inputs)

    def replica_outputs(
        self,
        factors: Factors,
        inputs: Tokens,
        *,
        masks: Masks | None = None,
        update_scale: float = 1.0,
    ) -> Tensor:
        """Compute outputs without merging the weights, as in :meth:`Network.replica_outputs`."""
        if masks is not None:
            factors = mask_layers(factors, masks)
        return self.mapped_outputs(self.low_rank_maps(factors, inputs, update_scale), inputs)

    def gradient_norms(self, factors: Factors, inputs: Tokens, update_scale: float = 1.0) -> Tensor:
        """Compute per-example gradient norms, as in :meth:`Network.gradient_norms`.

        The gradient of a map's weight is the sum over tokens of outer products g_t x_t', whose
        squared norm is the sum over pairs of tokens of (g_s . g_t)(x_s . x_t).
        """
        trace: Trace = []
        with torch.inference_mode(False), torch.enable_grad():
            factors = [(A.clone().requires_grad_(), B.clone()) for A, B in factors]
            maps = self.low_rank_maps(factors, inputs, update_scale)
            outputs = self.mapped_outputs(maps, inputs, trace)
            value = self.loss.value(outputs, inputs.targets).sum()
            gradients = torch.autograd.grad(value, [output for _, output in trace])
        total = torch.zeros_like(outputs[:, 0])
        for (x, _), grad in zip(trace, gradients, strict=True):
            products = (grad @ grad.mT) * (x @ x.mT)
            # Over pairs of tokens; the blocks of a weight that belong to different heads are
            # disjoint, and their squared norms add up.
            each = products.sum((-2, -1))
            total += each if each.dim() == 2 else each.sum(-1)
        return total.detach().sqrt_()

    def mapped_outputs(
        self,
        maps: Sequence[AdaptedMap],
        inputs: Tokens,
        trace: Trace | None = None,
        dropped: Sequence[LayerMasks | None] | None = None,
    ) -> Tensor:
        """Compute outputs by the given maps.

        Args:
            maps: query and value of every adapted layer, first layer first, of R replicas.
            inputs: m examples.
            trace: a list to which input and output of every map are appended; None to keep none.
            dropped: what every adapted layer drops; None for nothing.

        Returns:
            Outputs, (R, k, m); differentiable in the maps.
        """
        x, keys = inputs.hidden.unsqueeze(0), inputs.keys.unsqueeze(0)
        pairs = zip(maps[::2], maps[1::2], strict=True)
        for number, (layer, (query, value)) in enumerate(zip(self.layers, pairs, strict=True)):
            if number > 0:
                keys = self._by_head(F.linear(x, *layer.key)).transpose(2, 3)
            first_alone = self._reads_first_token(number)
            masks = None if dropped is None else dropped[number]
            x = self._layer(layer, query, value, x, keys, inputs.mask, first_alone, trace, masks)
        pooled = x[:, :, 0] if self.pooling == "cls" else _mean(x, inputs.mask)
        return (pooled @ self.head.mT).mT

    def low_rank_maps(
        self, factors: Factors, inputs: Tokens, update_scale: float = 1.0
    ) -> list[LowRankMap]:
        """Return query and value of every adapted layer, first layer first.

        Args:
            factors: of R replicas.
            inputs: m examples.
            update_scale: factor of every update.

        Returns:
            Two maps a layer, which compute the frozen products and the updates of all replicas.
        """
        frozen: list[Tensor | None] = [inputs.queries, inputs.values]
        frozen += [None] * (len(factors) - len(frozen))
        return [
            LowRankMap(weight, A, self.scaling * update_scale * B, products)
            for weight, (A, B), products in zip(self.weights, factors, frozen, strict=True)
        ]

    def _reads_first_token(self, number: int) -> bool:
        """Whether a layer, counted from the first adapted one, computes the first token alone."""
        return self.pooling == "cls" and number == len(self.layers) - 1

    def _layer(
        self,
        layer: EncoderLayer,
        query: AdaptedMap,
        value: AdaptedMap,
        x: Tensor,
        keys: Tensor,
        mask: Tensor,
        first_alone: bool,
        trace: Trace | None,
        dropped: LayerMasks | None,
    ) -> Tensor:
        """One layer: x (R or 1, m, tokens, d) to (R, m, tokens, d), or the first token alone."""
        if dropped is not None:
            mask = dropped.attended(mask)
        read = x[:, :, :1] if first_alone else x
        queries = _traced(read, query(read), trace) + layer.query[1]
        attention = _attention(self._by_head(queries / math.sqrt(keys.shape[-1])), keys, mask)
        if first_alone:
            attention = attention.squeeze(3)
            context = value.averaged(attention, x).unsqueeze(3)
            if trace is not None:
                trace.append((average(attention, x).detach().unsqueeze(3), context))
        else:
            values = self._by_head(_traced(x, value(x), trace)).transpose(2, 3)
            context = attention @ values
        context = context.transpose(2, 3).flatten(3) + layer.value[1]
        middle = self._norm(F.linear(context, *layer.output) + read, layer.attention_norm)
        inner = self.activation(F.linear(middle, *layer.up))
        added = F.linear(inner, *layer.down)
        if dropped is not None:
            added = added * dropped.hidden[:, : added.shape[2]]
        return self._norm(added + middle, layer.norm)

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))

    def _norm(self, x: Tensor, affine: Affine) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], *affine, self.epsilon)


def _attention(queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
    """Attention (R, m, heads, queries, tokens) of queries (R, m, queries, heads, e).

    Keys (R or 1, m, heads, tokens, e). A product that broadcasts would make R copies of what is
    common to all replicas; its softmax runs in the order in which the product leaves the scores.
    """
    absent = ~mask[:, None, None, None]
    if len(keys) == 1:
        scores = torch.einsum("rmqhe,mhte->mhrqt", queries, keys[0])
        return scores.masked_fill(absent, -torch.inf).softmax(-1).permute(2, 0, 1, 3, 4)
    scores = torch.einsum("rmqhe,rmhte->rmhqt", queries, keys)
    return scores.masked_fill(absent[:, 0], -torch.inf).softmax(-1)


def _traced(x: Tensor, output: Tensor, trace: Trace | None) -> Tensor:
    if trace is not None:
        trace.append((x.detach(), output))
    return output


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    weight = mask.to(x) / mask.sum(-1, keepdim=True)
    return (x * weight.unsqueeze(-1)).sum(-2)
