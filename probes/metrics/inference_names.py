"""What tables and legends call a network, by how it predicts: alone or as an ensemble."""

#: What names of such inferences begin with: see :func:`at_test_alone`.
AT_TEST_ALONE = "at test alone"


def inference_label(members: int, otherwise: str = "expected weight") -> str:
    """Name a network by its test-time ensemble.

    Args:
        members: N; 0 for no ensemble.
        otherwise: its name without an ensemble.

    Returns:
        Such as "ensemble, N = 16".
    """
    return f"ensemble, N = {members}" if members else otherwise


def at_test_alone(p: float) -> str:
    """Name the ensemble of a network that was trained without dropout.

    Args:
        p: rate of the masks that are drawn at test.

    >>> at_test_alone(0.5)
    'at test alone, p = 0.5'
    """
    return f"{AT_TEST_ALONE}, p = {p:g}"


def network_name(inference: str) -> str:
    """Name the network of a way of inference.

    >>> network_name("expected weight"), network_name("no masks")
    ('expected weight network', 'network without masks')
    """
    return "network without masks" if inference == "no masks" else f"{inference} network"


def named_inference(inference: str, members: int) -> str:
    """Name a way of inference, where "ensemble" stands for one of N members.

    Args:
        inference: "no masks", "expected weight" or "ensemble".
        members: N; it matters for "ensemble" alone.

    Returns:
        ``inference`` itself, or such as "ensemble, N = 16".
    """
    return inference_label(members) if inference == "ensemble" else inference
