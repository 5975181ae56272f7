"""A method of one module that is another for a while; its class and other modules keep theirs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from threading import get_ident
from typing import Any


@contextmanager
def method_replaced(module: Any, name: str, method: Callable[..., Any]) -> Iterator[None]:
    """Within the block, a module's method is another, for the thread that entered the block.

    Args:
        module: whose method it is.
        name: of the method.
        method: what takes its place; it is not given the module.
    """
    own = vars(module).get(name)
    known, mine = getattr(module, name), get_ident()

    @wraps(method)
    def chosen(*args: Any, **kwargs: Any) -> Any:
        return (method if get_ident() == mine else known)(*args, **kwargs)

    vars(module)[name] = chosen
    try:
        yield
    finally:
        del vars(module)[name]
        if own is not None:
            vars(module)[name] = own
