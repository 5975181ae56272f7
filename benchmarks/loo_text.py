"""Time of leave-one-out retraining of a transformer, per replica, by four variants, in one run.

The task ``tweets``: MiniLM's last layer, adapted on query and value.

(a) a sequential loop over Hugging Face PEFT LoRA models of the whole encoder, with a
    ``DataLoader`` and a running loss;
(b) ``torch.func.vmap`` over the replicas of the last layer, in our algebra;
(c) JAX ``jit(vmap(scan))`` after compilation, in our algebra;
(d) this project: a cell in one process, and cells in two workers of one thread.

In (b), (c) and (d) what lies below the last layer is computed once; that is not timed.

    python -m benchmarks.loo_text --n 32 --repetitions 3
"""

import math
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import cache, partial
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.interleaved_timing import Variant, compare, print_peak
from benchmarks.jax_peer import array, compiled_training
from probes.cli.command_line import run_functions
from probes.cli.stability_settings import StabilitySettings
from probes.jobs.local_engine import start_worker
from probes.jobs.validation import check_count, require
from probes.models.encoder import Encoder, Tokens
from probes.models.network import Factors
from probes.tasks import TextSource, load_task
from probes.tasks.text import TextTask, load_encoder, read_texts
from probes.tasks.tweets import clean_tweets
from probes.training.example_weights import full_sample, leave_one_out
from probes.training.mask_draws import draw_steps
from probes.training.plan import Dropout, Training
from probes.training.retrain import retrain

P = 0.1
RANK = 8
ONE_PROCESS, IN_WORKERS = "(d) one process", "(d) two workers"
#: Worker processes, and cells that they run for one measurement.
WORKERS, CELLS = 2, 4


class Cell(NamedTuple):
    """One leave-one-out cell of ``tweets``: what every variant gets."""

    network: Encoder
    inputs: Tokens
    index: Tensor
    weights: Tensor
    start: Factors
    steps: int
    lr: float


@cache
def tweets() -> tuple[TextSource, TextTask]:
    """The files and the model of the task, and the task: read once."""
    source = StabilitySettings(task="tweets").text_source("tweets")
    task = load_task("tweets", source)
    assert source is not None
    assert isinstance(task, TextTask)
    return source, task


@cache
def make_cell(n: int, steps: int) -> Cell:
    """Make a cell, once for every variant.

    Args:
        n: size of S.
        steps: of the training.

    Returns:
        The cell, on the CPU.
    """
    _, task = tweets()
    require(2 <= n < len(task), "n", f"from 2 to {len(task) - 1}", n)
    generator = torch.Generator().manual_seed(0)
    network = task.network(rank=RANK, alpha=RANK, dtype=torch.float32, device="cpu")
    index = torch.randperm(len(task), generator=generator)[:n]
    weights = torch.cat([full_sample(n), leave_one_out(n)]).float()
    start = network.initial_factors(generator)
    return Cell(network, task.read(network, index), index, weights, start, steps, task.lr)


def run_ours(cell: Cell) -> Tensor:
    """Train all replicas of a cell; return their losses on S, (R, n)."""
    training = Training(steps=cell.steps, lr=cell.lr)
    factors = retrain(cell.network, cell.inputs, cell.weights, cell.start, training, Dropout(P))
    return final_losses(cell, factors)


def final_losses(cell: Cell, factors: Factors) -> Tensor:
    """Evaluate the expected-weight networks.

    Args:
        cell: whose replicas these are.
        factors: of R replicas.

    Returns:
        Losses on S, (R, n).
    """
    with torch.no_grad():
        return cell.network.losses(factors, cell.inputs, update_scale=(1 - P) ** 2)


def run_in_workers(pool: Executor, n: int, steps: int) -> None:
    """Train ``CELLS`` cells in the workers of a pool.

    Args:
        pool: of processes of one thread.
        n, steps: as for :func:`make_cell`.
    """
    for future in [pool.submit(_work, n, steps) for _ in range(CELLS)]:
        future.result()


def _work(n: int, steps: int) -> None:
    run_ours(make_cell(n, steps))


def run_vmap(cell: Cell) -> Tensor:
    """Our algebra of one replica, vmapped over replicas, with PyTorch's Adam."""
    gradient = torch.func.vmap(
        torch.func.grad(lambda *arguments: _one_replica(cell, *arguments)), in_dims=(0, 0, None)
    )
    stacked = [
        f.expand(len(cell.weights), *f.shape[1:]).clone() for pair in cell.start for f in pair
    ]
    optimizer = torch.optim.Adam(stacked, lr=cell.lr, fused=True)
    for masks in masks_of(cell):
        for factor, grad in zip(stacked, gradient(stacked, cell.weights, masks), strict=True):
            factor.grad = grad
        optimizer.step()
    return final_losses(cell, [(stacked[0], stacked[1]), (stacked[2], stacked[3])])


def _one_replica(cell: Cell, factors: list[Tensor], weight: Tensor, masks: list[Tensor]) -> Tensor:
    """Weighted loss of one replica: the last layer of a BERT encoder, first token read out."""
    network, inputs, layer = cell.network, cell.inputs, cell.network.layers[0]
    m, heads, tokens, e = inputs.keys.shape
    A_q, B_q, A_v, B_v = _masked(factors, masks)
    x, first = inputs.hidden, inputs.hidden[:, 0]
    queries = inputs.queries[:, 0] + layer.query[1] + (first @ A_q.mT) @ B_q.mT
    scores = torch.einsum("mhe,mhte->mht", queries.view(m, heads, e), inputs.keys) / math.sqrt(e)
    attention = scores.masked_fill(~inputs.mask[:, None], -torch.inf).softmax(-1)
    base = torch.einsum("mht,mthe->mhe", attention, inputs.values.view(m, tokens, heads, e))
    hidden = torch.einsum("mht,mtk->mhk", attention, x @ A_v.mT)
    added = torch.einsum("mhk,hek->mhe", hidden, B_v.view(heads, e, -1))
    context = (base + added).reshape(m, -1) + layer.value[1]
    norm = partial(F.layer_norm, normalized_shape=first.shape[-1:], eps=network.epsilon)
    middle = norm(
        F.linear(context, *layer.output) + first,
        weight=layer.attention_norm[0], bias=layer.attention_norm[1],
    )  # fmt: skip
    inner = F.linear(F.gelu(F.linear(middle, *layer.up)), *layer.down)
    z = norm(inner + middle, weight=layer.norm[0], bias=layer.norm[1]) @ network.head.mT
    return (weight * F.cross_entropy(z, inputs.targets.mT, reduction="none")).sum()


def _masked(factors: Any, masks: Any) -> list[Any]:
    A_q, B_q, A_v, B_v = factors
    in_q, out_q, in_v, out_v = masks
    return [A_q * in_q, B_q * out_q[:, None], A_v * in_v, B_v * out_v[:, None]]


def masks_of(cell: Cell) -> list[list[Tensor]]:
    """The masks of every step: in and out of the query, then of the value."""
    drawn = draw_steps(cell.network, P, range(cell.steps), range(1), 0)
    return [[mask.flatten() for pair in layers for mask in pair] for layers in drawn]


def prepare_jax(cell: Cell) -> Callable[[], Tensor]:
    """Compile the peer; the compilation is not timed."""
    import jax
    import jax.numpy as jnp

    network, inputs, layer = cell.network, cell.inputs, cell.network.layers[0]
    m, heads, tokens, e = inputs.keys.shape
    x, keys, targets = map(array, (inputs.hidden, inputs.keys, inputs.targets.mT))
    frozen_q = array(inputs.queries[:, 0] + layer.query[1])
    frozen_v = array(inputs.values.reshape(m, tokens, heads, e))
    absent = array(~inputs.mask[:, None])
    output, up, down = [tuple(map(array, getattr(layer, n))) for n in ("output", "up", "down")]
    norms = [tuple(map(array, pair)) for pair in (layer.attention_norm, layer.norm)]
    value_bias, head = array(layer.value[1]), array(network.head)
    first = x[:, 0]

    def linear(rows: Any, pair: tuple) -> Any:
        return rows @ pair[0].T + pair[1]

    def norm(rows: Any, pair: tuple) -> Any:
        centred = rows - rows.mean(-1, keepdims=True)
        scale = jnp.sqrt((centred**2).mean(-1, keepdims=True) + network.epsilon)
        return centred / scale * pair[0] + pair[1]

    def loss(factors: list, weight: Any, masks: list) -> Any:
        A_q, B_q, A_v, B_v = _masked(factors, masks)
        queries = (frozen_q + (first @ A_q.T) @ B_q.T).reshape(m, heads, e)
        scores = jnp.einsum("mhe,mhte->mht", queries, keys) / math.sqrt(e)
        attention = jax.nn.softmax(jnp.where(absent, -jnp.inf, scores), axis=-1)
        base = jnp.einsum("mht,mthe->mhe", attention, frozen_v)
        hidden = jnp.einsum("mht,mtk->mhk", attention, x @ A_v.T)
        added = jnp.einsum("mhk,hek->mhe", hidden, B_v.reshape(heads, e, -1))
        context = (base + added).reshape(m, -1) + value_bias
        middle = norm(linear(context, output) + first, norms[0])
        inner = linear(jax.nn.gelu(linear(middle, up), approximate=False), down)
        z = norm(inner + middle, norms[1]) @ head.T
        return (weight * (jax.nn.logsumexp(z, axis=-1) - (z * targets).sum(-1))).sum()

    start = [factor[0] for pair in cell.start for factor in pair]
    masks = [torch.stack(kind) for kind in zip(*masks_of(cell), strict=True)]
    train = compiled_training(loss, start, cell.weights, masks, cell.lr)

    def run() -> Tensor:
        A_q, B_q, A_v, B_v = train()
        return final_losses(cell, [(A_q, B_q), (A_v, B_v)])

    return run


def run_peft(cell: Cell, replicas: int) -> None:
    """Train some replicas one after the other, the whole encoder, as a user would.

    Args:
        cell: whose replicas these are.
        replicas: number of those that are trained.
    """
    from peft import LoraConfig, get_peft_model

    source, task = tweets()
    tokenizer, _ = load_encoder(source.model)
    texts = read_texts(source, clean_tweets)["text"].iloc[cell.index.numpy()].tolist()
    coded = tokenizer(texts, truncation=True, max_length=task.hidden.shape[1], padding=True,
                      return_tensors="pt")  # fmt: skip
    target = cell.inputs.targets.argmax(0)
    for weight in cell.weights[1 : replicas + 1]:
        _, encoder = load_encoder(source.model)
        config = LoraConfig(
            r=RANK, lora_alpha=RANK, lora_dropout=P, target_modules=["query", "value"],
            layers_to_transform=[len(encoder.encoder.layer) - 1],
        )  # fmt: skip
        model = get_peft_model(encoder, config)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=cell.lr)
        kept = weight > 0
        data = TensorDataset(coded["input_ids"][kept], coded["attention_mask"][kept], target[kept])
        epoch = DataLoader(data, batch_size=len(data), shuffle=True)
        for _ in range(cell.steps):
            running = 0.0
            for ids, mask, labels in epoch:
                optimizer.zero_grad()
                last = model(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
                loss = nn.functional.cross_entropy(last @ cell.network.head.mT, labels)
                loss.backward()
                optimizer.step()
                running += loss.item()


def flops_per_step(cell: Cell) -> float:
    """Additions and multiplications of one step of one replica, by the algebra above."""
    m, heads, tokens, e = cell.inputs.keys.shape
    d, inner = heads * e, len(cell.network.layers[0].up[0])
    frozen = 2 * m * (d * d + 2 * d * inner)  # output and feed-forward: forward, and to the input
    attention = 4 * m * tokens * d + m * tokens * d  # scores and averages; keys have no gradient
    updates = 2 * m * tokens * RANK * d + 4 * m * heads * tokens * RANK + 6 * m * RANK * d
    return 2.0 * (frozen + attention + updates)


def main(n: int = 32, steps: int = 60, repetitions: int = 3, peft_replicas: int = 1) -> None:
    """Print the table.

    Args:
        n: size of the training set.
        steps: optimizer steps.
        repetitions: interleaved repetitions; medians are shown.
        peft_replicas: replicas that the sequential loop trains for its estimate, up to n; 0 leaves
            it out.
    """
    check_count("steps", steps)
    check_count("repetitions", repetitions)
    check_count("peft_replicas", peft_replicas, 0, n)
    cell = make_cell(n, steps)
    replicas = len(cell.weights)
    with ProcessPoolExecutor(WORKERS, get_context("spawn"), start_worker) as pool:
        variants = [Variant(ONE_PROCESS, lambda: run_ours(cell), replicas)]
        variants += [Variant(IN_WORKERS, lambda: run_in_workers(pool, n, steps), CELLS * replicas)]
        variants += [Variant("(b) torch.func.vmap", lambda: run_vmap(cell), replicas)]
        if find_spec("jax"):
            variants += [Variant("(c) JAX jit(vmap(scan))", prepare_jax(cell), replicas)]
        if find_spec("peft") and peft_replicas:
            variants += [Variant("(a) PEFT", lambda: run_peft(cell, peft_replicas), peft_replicas)]
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
        print(f"tweets, n = {n}, {steps} steps, {replicas} replicas, float32")
        best = compare(variants, repetitions, [ONE_PROCESS, IN_WORKERS])
    seconds = {name: best[name] for name in (ONE_PROCESS, IN_WORKERS)}
    print_peak(flops_per_step(cell) * steps, seconds, torch.float32)


if __name__ == "__main__":
    run_functions(main)
