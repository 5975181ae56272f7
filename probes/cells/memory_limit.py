"""How much memory a cell may take, and how many replicas that lets train together."""

import re
from dataclasses import dataclass

import psutil
import torch

from probes.cells.landscapes import CURVATURE_COPIES, TOGETHER_BYTES
from probes.landscape.newton_plan import bytes_of_a_product
from probes.models.network import Network

# "Measured" below: peak of PyTorch's allocations (its profiler) on a CPU with one thread, growth
# per replica or example, PyTorch 2.13. "ff" are feed-forward networks (64-64-10 of rank 8,
# 64-64-64-64-10 of rank 1), "encoder" is BERT of width 128 with 1 or 2 adapted layers, 24 tokens.

#: Share of the free memory that is used by default. A safety margin: the other half is left to
#: other programs.
SAFE_SHARE = 0.5
#: Numbers a replica holds in training for each activation.
#: Counted for ff: ``ReplicaMap.output`` and ``output_gradient`` (2 at most), held all the time; on
#: top of them, while ``LipschitzTracker.visit`` runs, ``FeedForward.gradient_norms`` (inputs of the
#: layers, output, gradient). Measured: 1.4 to 1.9 and 1.8 to 1.9, together 3.7 at most; encoder, by
#: automatic differentiation, 0.8 to 0.9 in a step and 0.9 to 1.2 in ``gradient_norms``, one after
#: the other. 8 is twice the largest: a safety margin.
COPIES = 8
#: Copies of a replica's factors.
#: Counted: ``flat`` and ``gradient`` of ``retrain._steps`` (2), ``AdamStep.state`` (2), masked
#: factors of ``LowRank`` or ``mask_layers`` for one mask sample (1), ``trained`` of ``retrain``
#: (1), the copy that ``leave_one_out.joined`` makes (1), with a warm start the factors of the first
#: training (1). The first five are freed before the copy is made: the sum, 8, is an upper bound.
FACTOR_COPIES = 8
#: Vectors of all factors of all replicas, float64, that a Newton step holds beside its products.
#: Counted: in NumPy the right-hand side and, of SciPy's ``cg``, x, r, p and alpha p (5; z is r); in
#: PyTorch ``change``, the products q of this iteration and the last, and a batch of products (4).
#: Measured, 64-64-10, n = 200, by the Jacobian: 5.0 and 4.2. The rest is a safety margin.
SOLVER_COPIES = 12
#: Matrices of replicas against examples, float64, that measuring holds at once.
#: Counted, without ensembles: ``Prepared.weights`` (1), losses and scores of ``evaluate`` (2), and
#: in ``measure_cell._columns`` all losses joined, the places of the finite ones (int64) and their
#: copy (3, measured 3.1).
MATRICES = 6
#: Copies of a step's masks while they are drawn.
#: Counted in ``stack_masks``, for the layer at work: the uniform numbers, the masks and the
#: rescaled masks; of the layers before it, the masks alone. Measured: 3.0 for 1 layer, 2.0 for 2
#: (without rescaling 2.2 and 1.7).
MASK_COPIES = 3
#: Bytes that a step takes beside them, in the tensor objects that hold its masks.
#: Measured (resident memory, 20,000 steps): 1,400 for 1 layer, 2,600 for 2, 5,200 for 4. It grows
#: with the number of layers, which 2,000 does not.
STEP = 2000
#: Bytes of a row of the loss matrix while its table is made.
#: Counted: 6 columns of 8 bytes, twice while ``pd.concat`` copies them, are 96. Measured
#: (tracemalloc and Arrow's pool, 200,000 to 560,000 rows): 86 to 89, and 12 to 17 for the words of
#: ``split``. The rest is a safety margin.
MATRIX_ROW = 160
#: What a process takes for itself while it measures: libraries, code, small arrays.
#: Measured: resident memory grows by 60 to 75 MiB over the first cell (digits, n = 50 and 400), by
#: 106 MiB with method influence (n = 60), which imports PyTorch's function transforms.
SLACK = 128 * 2**20
UNITS = {"": 1, "b": 1} | {
    f"{prefix}{ending}": base**power
    for power, prefix in enumerate("kmgt", start=1)
    for ending, base in (("", 1024), ("ib", 1024), ("b", 1000))
}


@dataclass(frozen=True)
class Size:
    """What a cell's memory depends on.

    Attributes:
        network: the frozen network.
        replicas: R.
        examples: n, of S.
        samples: mask pairs a training step.
        steps: of training, whose masks are drawn at once.
        pairs: of replicas and examples in the loss matrix; 0 where none is made.
    """

    network: Network
    replicas: int
    examples: int
    samples: int
    steps: int
    pairs: int = 0

    @property
    def number(self) -> int:
        """Bytes of a number in training."""
        return self.network.weights[0].element_size()

    @property
    def device(self) -> torch.device:
        """Where replicas train."""
        return self.network.weights[0].device

    @property
    def shared(self) -> int:
        """Bytes that a cell takes however its replicas are cut into blocks."""
        factors = self.replicas * self.network.size * self.number * FACTOR_COPIES
        matrices = MATRICES * self.replicas * self.examples * 8 + self.pairs * MATRIX_ROW
        masks = self.samples * sum(map(sum, self.network.sides)) * self.number * MASK_COPIES
        return factors + matrices + self.steps * (masks + STEP)

    @property
    def replica(self) -> int:
        """Bytes that a replica more in a block takes."""
        activations = self.network.activations * self.examples * self.samples
        return activations * COPIES * self.number

    @property
    def curvature(self) -> int:
        """Bytes that the Hessian's products take, after the training."""
        return self.examples * self.network.activations * 8 * CURVATURE_COPIES

    @property
    def solver(self) -> int:
        """Bytes that the vectors of a Newton step take."""
        return SOLVER_COPIES * self.replicas * self.network.size * 8

    def replicas_within(self, limit: int) -> int:
        """How many replicas may train together, at least 1.

        Args:
            limit: of the process, in bytes, where it trains.

        Raises:
            ValueError: the cell does not fit even with one replica at a time.
        """
        # The curvature is computed on the CPU, wherever the training is.
        least = max(self.replica, self.curvature if self.device.type == "cpu" else 0)
        return self._left(limit, held_memory(self.device), least) // self.replica

    def cells_within(self, limit: int) -> int:
        """How many cells such as this one may train together, at least 1.

        Args:
            limit: of the process, in bytes.
        """
        left = limit - held_memory(self.device) - SLACK
        # On a GPU they are measured together, too; on a CPU one after the other.
        if self.device.type != "cpu":
            left -= TOGETHER_BYTES
        return max(1, left // (self.shared + self.replicas * self.replica))

    def products_within(self, limit: int) -> int:
        """Bytes that the products of a Newton step may hold.

        Args:
            limit: of the process, in bytes, on this machine.

        Raises:
            ValueError: the cell does not fit even with the smallest products.
        """
        jacobian = 8 * self.examples * self.network.outputs_count * self.network.size
        by_it, through = (
            bytes_of_a_product(self.network, self.examples, by_jacobian=way)
            for way in (True, False)
        )
        # One half is the Jacobian's; where it does not fit, products go through the network.
        least = max(2 * min(max(jacobian, by_it), through), self.curvature)
        return self._left(limit, resident_memory() + self.solver, least)

    def _left(self, limit: int, held: int, least: int) -> int:
        held += SLACK + self.shared
        needed = held + least
        if limit < needed:
            raise ValueError(
                f"max_memory must be at least {in_words(needed)} for n = {self.examples}; "
                f"got {in_words(limit)}"
            )
        return limit - held


def parse_size(words: str) -> int:
    """Return a number of bytes: 2GiB, 500 MB, 3g (binary), 1048576.

    Raises:
        ValueError: it is none, or less than one byte.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([a-z]*)\s*", words.lower())
    size = float(found[1]) * UNITS.get(found[2], 0) if found else 0.0
    if not 1 <= size < float("inf"):
        raise ValueError(f"max_memory must be a size such as 2GiB or 500MB; got {words!r}")
    return int(size)


def in_words(size: int) -> str:
    """Name a number of bytes, rounded up."""
    return f"{-(-size // 2**20)}MiB"


def resident_memory() -> int:
    """Bytes that this process holds."""
    return psutil.Process().memory_info().rss


def held_memory(device: torch.device) -> int:
    """Bytes that this process holds where it trains: of a GPU, those of PyTorch's tensors."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return resident_memory()


def safe_limit(processes: int, device: torch.device) -> int:
    """Return the memory that each of several processes may hold: what it holds, and its free share.

    Args:
        processes: that share the memory.
        device: whose memory.

    Returns:
        Bytes.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What PyTorch keeps for tensors to come.
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    else:
        free = psutil.virtual_memory().available
    return held_memory(device) + int(SAFE_SHARE * free / processes)
