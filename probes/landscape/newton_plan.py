"""How leave-one-out parameters are estimated, and what that costs: plain values."""

from typing import Literal, get_args

from probes.models.network import Network

Solver = Literal["cg", "ekfac"]
SOLVERS: tuple[str, ...] = get_args(Solver)

#: Products that the progress expects; it does not know how many it will take.
EXPECTED_PRODUCTS = 50
#: Bytes that the Jacobian and the products of a batch of steps hold at most, one half each.
MEMORY_BUDGET = 2**30
#: Numbers, float64, that a product of one replica's matrix holds for each output of each example,
#: and for each activation.
#: Counted per output in ``newton_step._Point._curvature``: the change of the outputs, its product
#: with the output Hessian, and that under the weights. Measured: 3.0 by the Jacobian; 4 leaves room
#: for one temporary. Per activation (``jvp`` and ``vjp`` through the network) measured, on the
#: networks of ``probes.cells.memory_limit``: 0.4 to 1.4. So 8 is mostly a safety margin.
OUTPUT_COPIES, PRODUCT_COPIES = 4, 8
#: Damping where none is given; ours. A minimiser needs none.
DAMPING = {"dropout": 0.05, "penalty": 1e-6}


def bytes_of_a_product(network: Network, examples: int, *, by_jacobian: bool) -> int:
    """Bytes that a product of one replica's Gauss-Newton matrix holds, in float64.

    Args:
        network: the frozen network.
        examples: n, of S.
        by_jacobian: whether the product multiplies by the outputs' Jacobian, which is not counted;
            otherwise it goes through the network.

    Returns:
        Bytes.
    """
    each = network.outputs_count * OUTPUT_COPIES
    if not by_jacobian:
        each += network.activations * PRODUCT_COPIES
    return 8 * examples * each
