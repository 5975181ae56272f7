"""How much memory a cell may take, and how many replicas that lets train together."""

import re
from dataclasses import dataclass

import psutil

from probes.landscape.newton_plan import bytes_of_a_product
from probes.models.network import Network

#: Share of the memory that is free which is used where nothing is said.
SAFE_SHARE = 0.5
#: Numbers a replica holds in training for each activation: outputs, gradients, temporaries.
COPIES = 8
#: Copies of a replica's factors: theirs, gradient, Adam's two moments, masked, and joined.
FACTOR_COPIES = 8
#: Numbers, float64, that the Hessian's products hold for each activation of one replica.
CURVATURE_COPIES = 5
#: Vectors of all factors of all replicas, float64, that conjugate gradients hold, and products with
#: the Gauss-Newton matrix on top.
SOLVER_COPIES = 12
#: Matrices of replicas against examples, float64, that measuring holds at once.
MATRICES = 6
#: Copies of a step's masks while they are drawn.
MASK_COPIES = 3
#: Bytes that a step takes beside them, in objects.
STEP = 2000
#: Bytes of a row of the loss matrix while its table is made.
MATRIX_ROW = 160
#: What a process takes for itself while it measures: libraries, code, small arrays.
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
            limit: of the process, in bytes.

        Raises:
            ValueError: the cell does not fit even with one replica at a time.
        """
        return self._left(limit, 0, self.replica) // self.replica

    def products_within(self, limit: int) -> int:
        """Bytes that the products of a Newton step may hold; arguments and errors as above."""
        jacobian = 8 * self.examples * self.network.outputs_count * self.network.size
        by_it, through = (
            bytes_of_a_product(self.network, self.examples, by_jacobian=way)
            for way in (True, False)
        )
        # One half is the Jacobian's; where it does not fit, products go through the network.
        return self._left(limit, self.solver, 2 * min(max(jacobian, by_it), through))

    def _left(self, limit: int, more: int, least: int) -> int:
        held = resident_memory() + SLACK + self.shared + more
        needed = held + max(least, self.curvature)
        if limit < needed:
            raise ValueError(
                f"max_memory must be at least {in_words(needed)} for n = {self.examples}; "
                f"got {in_words(limit)}"
            )
        return limit - held


def parse_size(words: str) -> int:
    """Return a number of bytes: 2GiB, 500 MB, 3g (binary), 1048576.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([a-z]*)\s*", words.lower())
    if found is None or found[2] not in UNITS or float(found[1]) <= 0:
        raise ValueError(f"max_memory must be a size such as 2GiB or 500MB; got {words!r}")
    return int(float(found[1]) * UNITS[found[2]])


def in_words(size: int) -> str:
    """Name a number of bytes, rounded up."""
    return f"{-(-size // 2**20)}MiB"


def resident_memory() -> int:
    """Bytes that this process holds."""
    return psutil.Process().memory_info().rss


def safe_limit(processes: int) -> int:
    """A safe limit for each of so many processes: a share of what is free, and what it holds."""
    return resident_memory() + int(SAFE_SHARE * psutil.virtual_memory().available / processes)
