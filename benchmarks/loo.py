"""Time of leave-one-out retraining, per replica, by four variants, in one run.

(a) a sequential loop over Hugging Face PEFT LoRA models, three times: with transformers'
    ``Trainer``, as PEFT's quick tour trains; with a ``DataLoader`` over the examples that are left
    and a running loss, as its example of a multilayer perceptron does; and the barest loop;
(b) ``torch.func.vmap`` over the replicas of the same network;
(c) JAX ``jit(vmap(scan))`` after compilation, in our layout and contraction order;
(d) this project: a cell in one process; with ``--cells``, as many draws as one block, in one
    process and in two; and cells in two workers of one thread, as ``--workers`` runs them.

    python -m benchmarks.loo --n 64 256 --steps 100 300 --repetitions 5

The variants take turns within one run. Needs the
extra ``bench``; a peer that is not installed is left out and said to be.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from itertools import pairwise, product
from multiprocessing import get_context
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, default_collate

from benchmarks.interleaved_timing import Variant, compare, print_peak, timed
from benchmarks.jax_peer import array, compiled_training
from lora_dropout.masks import LayerShape, stack_masks
from probes.cli.command_line import run_functions
from probes.jobs.local_engine import start_worker
from probes.jobs.validation import check_count, require
from probes.models.feedforward import Columns, FeedForward
from probes.models.network import Factors
from probes.tasks import load_task
from probes.training.example_weights import full_sample, leave_one_out
from probes.training.plan import Dropout, Training
from probes.training.retrain import retrain, retrain_cells
from probes.training.retraining import Retraining

LR = 5e-3
P = 0.1
#: Cells of a default sweep over five rates, which a GPU may train as one block.
SWEEP_CELLS = 80
ONE_PROCESS, IN_WORKERS = "(d) one process", "(d) two workers"
TOGETHER, TOGETHER_IN_WORKERS = "(d) cells together", "(d) cells together, two workers"
#: Worker processes, and cells that they run for one measurement.
WORKERS, CELLS = 2, 8


@dataclass(frozen=True)
class Cell:
    """One leave-one-out cell of ``digits``: what every variant gets."""

    network: FeedForward
    inputs: Columns
    weights: Tensor
    start: Factors
    steps: int

    @property
    def replicas(self) -> int:
        """R: that of S, and one for every example that is left out."""
        return len(self.weights)


def check_settings(n: Sequence[int], steps: Sequence[int], repetitions: int = 1) -> None:
    """Refuse, before anything is measured, what cannot be.

    Args:
        n: sizes of the training set.
        steps: optimizer steps.
        repetitions: of all variants.

    Raises:
        ValueError: one of them is out of range.
    """
    most = len(load_task("digits")) - 1
    for size in n:
        require(2 <= size <= most, "n", f"from 2 to {most}", size)
    for count in steps:
        check_count("steps", count)
    check_count("repetitions", repetitions)


@cache
def make_cell(n: int, steps: int, dtype: torch.dtype) -> Cell:
    """Make a cell, once for every variant.

    Args:
        n: size of S.
        steps: of the training.
        dtype: of its numbers.

    Returns:
        The cell, on the CPU.
    """
    check_settings([n], [steps])
    generator = torch.Generator().manual_seed(0)
    task = load_task("digits")
    network = task.network(rank=8, alpha=8.0, dtype=dtype, device="cpu")
    index = torch.randperm(len(task.features), generator=generator)[:n]
    inputs = network.read(task.features[index], task.targets[index])
    weights = torch.cat([full_sample(n), leave_one_out(n)]).to(dtype)
    return Cell(network, inputs, weights, network.initial_factors(generator), steps)


def run_ours(cell: Cell) -> Tensor:
    """Train all replicas of a cell; return their losses on S, (R, n)."""
    training = Training(steps=cell.steps, lr=LR)
    factors = retrain(cell.network, cell.inputs, cell.weights, cell.start, training, Dropout(P))
    return cell.network.losses(factors, cell.inputs, update_scale=(1 - P) ** 2)


def run_together(cell: Cell, cells: int) -> Tensor:
    """Train cells that differ in their masks as one block.

    Args:
        cell: one of them.
        cells: their number.

    Returns:
        Losses of the first on S, (R, n).
    """
    plans = [Training(steps=cell.steps, lr=LR, seed=seed) for seed in range(cells)]
    trained = retrain_cells(
        cell.network,
        [Retraining(cell.inputs, cell.weights, cell.start, plan, Dropout(P)) for plan in plans],
    )
    return cell.network.losses(trained[0], cell.inputs, update_scale=(1 - P) ** 2)


def run_in_workers(
    pool: Executor, n: int, steps: int, dtype: torch.dtype, together: int = 1
) -> None:
    """Run :func:`blocks_in_workers` blocks of cells in the workers of a pool.

    Args:
        pool: of processes of one thread.
        n, steps, dtype: as for :func:`make_cell`.
        together: cells that a worker trains as one block.
    """
    blocks = range(blocks_in_workers(together))
    for future in [pool.submit(_work, n, steps, dtype, together) for _ in blocks]:
        future.result()


def blocks_in_workers(together: int) -> int:
    """Number of blocks that make ``CELLS`` cells, but at least one a worker.

    Args:
        together: cells of a block.
    """
    return max(WORKERS, CELLS // together)


def _work(n: int, steps: int, dtype: torch.dtype, together: int) -> None:
    cell = make_cell(n, steps, dtype)
    if together > 1:
        run_together(cell, together)
    else:
        run_ours(cell)


def run_vmap(cell: Cell) -> Tensor:
    """The network as a user writes it, rows in front, vmapped over replicas, PyTorch's Adam."""
    X, targets = cell.inputs.features.mT, cell.inputs.targets.mT
    masks = _masks(cell)
    scaling = cell.network.scaling

    def loss(factors: list[Tensor], weight: Tensor, step_masks: list[Tensor]) -> Tensor:
        h = X
        for layer, frozen in enumerate(cell.network.weights):
            A, B = factors[2 * layer], factors[2 * layer + 1]
            mask_in, mask_out = step_masks[2 * layer], step_masks[2 * layer + 1]
            update = ((h * mask_in) @ A.mT) @ B.mT * mask_out
            h = h @ frozen.mT + cell.network.biases[layer].mT + scaling * update
            if layer + 1 < len(cell.network.weights):
                h = h.relu()
        return (weight * nn.functional.cross_entropy(h, targets, reduction="none")).sum()

    gradient = torch.func.vmap(torch.func.grad(loss), in_dims=(0, 0, None))
    stacked = [
        factor.expand(cell.replicas, *factor.shape[1:]).clone()
        for pair in cell.start
        for factor in pair
    ]
    parameters = [nn.Parameter(factor) for factor in stacked]
    optimizer = torch.optim.Adam(parameters, lr=LR, fused=True)
    for step in range(cell.steps):
        grads = gradient([p.detach() for p in parameters], cell.weights, [m[step] for m in masks])
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        optimizer.step()
    factors = [(parameters[0].detach(), parameters[1].detach())]
    factors += [(parameters[2].detach(), parameters[3].detach())]
    return cell.network.losses(factors, cell.inputs, update_scale=(1 - P) ** 2)


def prepare_jax(cell: Cell, device: str = "cpu", cells: int = 1) -> Callable[[], Tensor]:
    """Compile the peer; the compilation is not timed.

    Args:
        cell: what is trained, on JAX's default device.
        device: where PyTorch computes the losses of what was trained.
        cells: that differ in their masks and are trained together.

    Returns:
        A function that trains and returns the losses of all replicas of the first cell, (R, n), on
        ``device``.
    """
    import jax

    weights, start = cell.weights, [f[0] for pair in cell.start for f in pair]
    drawn = [_masks(cell, seed) for seed in range(cells)]
    masks = [torch.stack(kind) for kind in zip(*drawn, strict=True)] if cells > 1 else drawn[0]
    frozen = [array(weight) for weight in cell.network.weights]
    X, Y = array(cell.inputs.features), array(cell.inputs.targets)
    base, scaling = frozen[0] @ X, cell.network.scaling

    def loss(factors: list, weight: "jax.Array", step_masks: list) -> "jax.Array":
        (A1, B1, A2, B2), (in1, out1, in2, out2) = factors, step_masks
        hidden = jax.nn.relu(base + scaling * ((B1 * out1[:, None]) @ ((A1 * in1) @ X)))
        # Forming the second layer's weight is the cheaper contraction, as in the project.
        z = (frozen[1] + scaling * ((B2 * out2[:, None]) @ (A2 * in2))) @ hidden
        return (weight * (jax.nn.logsumexp(z, axis=0) - (z * Y).sum(0))).sum()

    train = compiled_training(loss, start, weights, masks, LR, cells > 1)
    like = torch.empty((), dtype=cell.weights.dtype, device=device)
    network, inputs = cell.network.place(like), cell.inputs.place(like)

    def run() -> Tensor:
        trained = train() if cells == 1 else [factor[0] for factor in train()]
        A1, B1, A2, B2 = (factor.to(like) for factor in trained)
        return network.losses([(A1, B1), (A2, B2)], inputs, update_scale=(1 - P) ** 2)

    return run


def run_peft(
    cell: Cell, replicas: int, train: Callable[[nn.Module, TensorDataset, int], None]
) -> None:
    """Train some replicas one after the other with PEFT, as a user would; PEFT's own dropout.

    Args:
        cell: whose replicas these are.
        replicas: number of those that are trained.
        train: trains a model on its examples for so many steps.
    """
    from peft import LoraConfig, get_peft_model

    X, target = cell.inputs.features.mT.float().contiguous(), cell.inputs.targets.argmax(0)
    config = LoraConfig(r=8, lora_alpha=8, target_modules=["0", "2"], lora_dropout=P)
    widths = [X.shape[1], *(len(weight) for weight in cell.network.weights)]
    for weight in cell.weights[1 : replicas + 1]:
        layers = [nn.Linear(*pair) for pair in pairwise(widths)]
        model = get_peft_model(nn.Sequential(layers[0], nn.ReLU(), layers[1]), config)
        train(model, TensorDataset(X[weight > 0], target[weight > 0]), cell.steps)
        model.eval()
        with torch.no_grad():
            nn.functional.cross_entropy(model(X), target, reduction="none")


def bare_loop(model: nn.Module, data: TensorDataset, steps: int) -> None:
    """Full batches, and nothing but the steps.

    Args:
        model: that is trained, in place.
        data: examples that it sees.
        steps: of Adam.
    """
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=LR)
    features, labels = data.tensors
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(features), labels).backward()
        optimizer.step()


def loader_loop(model: nn.Module, data: TensorDataset, steps: int) -> None:
    """A ``DataLoader`` and a running loss.

    Args:
        model, data, steps: as for :func:`bare_loop`.
    """
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=LR)
    epoch = DataLoader(data, batch_size=len(data), shuffle=True)
    for _ in range(steps):
        running = 0.0
        for features, labels in epoch:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(features), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()


def trainer_loop(model: nn.Module, data: TensorDataset, steps: int) -> None:
    """The Trainer at its defaults, but for what it would print and write.

    Args:
        model, data, steps: as for :func:`bare_loop`.
    """
    from transformers import PrinterCallback, Trainer, TrainingArguments

    class Classifier(Trainer):
        def compute_loss(self, model: nn.Module, inputs: tuple, **_: object) -> Tensor:
            features, labels = inputs
            return nn.functional.cross_entropy(model(features), labels)

    with TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder, max_steps=steps, learning_rate=LR, lr_scheduler_type="constant",
            per_device_train_batch_size=len(data), save_strategy="no", logging_strategy="no",
            report_to="none", disable_tqdm=True, use_cpu=True,
        )  # fmt: skip
        trainer = Classifier(model, settings, default_collate, data)
        trainer.remove_callback(PrinterCallback)
        trainer.train()


PEFT_LOOPS = {"bare loop": bare_loop, "DataLoader": loader_loop, "Trainer": trainer_loop}


def flops_per_step(cell: Cell) -> float:
    """Multiplications and additions of one step of all replicas, by the contractions chosen."""
    m, (d, h), (_, k), r = len(cell.inputs), *cell.network.sides, cell.network.rank
    first = 2 * m * r * (d + h) + m * r * h  # forward, both gradients
    second = 3 * r * h * k + 3 * m * h * k
    return 2.0 * cell.replicas * (first + second)


def _masks(cell: Cell, seed: int = 0) -> list[Tensor]:
    """Masks of all steps: in and out of the first layer, then of the second; (steps, d) each."""
    return [
        mask[:, 0].to(cell.weights)
        for layer, sides in enumerate(cell.network.sides)
        for mask in stack_masks(
            LayerShape(*sides, P, P),
            seed=seed,
            steps=range(cell.steps),
            layer=layer,
            samples=range(1),
        )
    ]


def benchmark(
    n: int,
    steps: int,
    repetitions: int,
    peft_replicas: int,
    cells: int,
    dtype: torch.dtype,
    pool: Executor,
) -> None:
    """Print the table of one size.

    Args:
        n, steps, dtype: as for :func:`make_cell`.
        repetitions: of all variants.
        peft_replicas: that the sequential loops train; 0 leaves them out.
        cells: that are also trained as one block; 0 leaves this out.
        pool: of processes of one thread.
    """
    cell = make_cell(n, steps, dtype)
    variants = [Variant(ONE_PROCESS, lambda: run_ours(cell), cell.replicas)]
    if cells:
        run_cells = partial(run_together, cell, cells)
        variants += [Variant(TOGETHER, run_cells, cells * cell.replicas)]
        run_both = partial(run_in_workers, pool, n, steps, dtype, cells)
        replicas = blocks_in_workers(cells) * cells * cell.replicas
        variants += [Variant(TOGETHER_IN_WORKERS, run_both, replicas)]
    variants += [
        Variant(IN_WORKERS, lambda: run_in_workers(pool, n, steps, dtype), CELLS * cell.replicas)
    ]
    variants += [Variant("(b) torch.func.vmap", lambda: run_vmap(cell), cell.replicas)]
    if find_spec("jax"):
        variants += [Variant("(c) JAX jit(vmap(scan))", prepare_jax(cell), cell.replicas)]
    if find_spec("peft") and peft_replicas:
        for name, train in PEFT_LOOPS.items():
            run = partial(run_peft, cell, peft_replicas, train)
            variants += [Variant(f"(a) PEFT, {name}", run, peft_replicas)]
    print(f"\nn = {n}, {steps} steps, {cell.replicas} replicas, {dtype}")
    best = compare(variants, repetitions, [ONE_PROCESS, IN_WORKERS])
    flops = flops_per_step(cell) * steps / cell.replicas
    print_peak(flops, {name: best[name] for name in (ONE_PROCESS, IN_WORKERS)}, dtype)


def main(
    n: tuple[int, ...] = (64, 256),
    steps: tuple[int, ...] = (100,),
    repetitions: int = 5,
    peft_replicas: int = 2,
    cells: int = 0,
    scaling: bool = False,
    dtype: Literal["float32", "float64"] = "float32",
) -> None:
    """Print the table.

    Args:
        n: sizes of the training set.
        steps: optimizer steps.
        repetitions: interleaved repetitions; medians are shown.
        peft_replicas: replicas that the sequential loop trains for its estimate, up to n; 0 leaves
            it out.
        cells: also train so many draws as one block; 0 leaves it out.
        scaling: also print this project's time against n = 32 ... 512.
        dtype: float64 to compare the results of the variants; PEFT then runs in float32 all the
            same.
    """
    check_settings(n, steps, repetitions)
    check_count("peft_replicas", peft_replicas, 0, min(n))
    check_count("cells", cells, 0)
    precision = getattr(torch, dtype)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for package in ("jax", "peft"):
        if not find_spec(package):
            print(f"{package} is not installed: left out")
    with ProcessPoolExecutor(WORKERS, get_context("spawn"), start_worker) as pool:
        for size, count in product(n, steps):
            benchmark(size, count, repetitions, peft_replicas, cells, precision, pool)
    if scaling:
        print(f"\ntime of this project against n, {steps[0]} steps")
        for size in (32, 64, 128, 256, 512):
            cell = make_cell(size, steps[0], precision)
            run_ours(cell)
            seconds = np.median([timed(lambda cell=cell: run_ours(cell)) for _ in range(3)])
            print(
                f"  n = {size:4d}: {seconds:7.2f} s, {1e3 * seconds / (size + 1):6.2f} ms a replica"
            )


if __name__ == "__main__":
    run_functions(main)
