"""What networks are called in tables and legends."""


def inference_label(members: int, otherwise: str = "expected weight") -> str:
    """What a network of so many members is called in tables and legends; 0 for no ensemble."""
    return f"ensemble, N = {members}" if members else otherwise
