"""A method of one module that is another for a while; its class and other modules keep theirs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def method_replaced(module: Any, name: str, method: Callable[..., Any]) -> Iterator[None]:
    """Within the block, a module's method is another.

    Args:
        module: whose method it is.
        name: of the method.
        method: what takes its place; it is not given the module.
    """
    own = vars(module).get(name)
    vars(module)[name] = method
    try:
        yield
    finally:
        del vars(module)[name]
        if own is not None:
            vars(module)[name] = own
