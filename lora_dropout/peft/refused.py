"""A model into which an adapter could not be put: it is as it was before the attempt."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft.functional import delete_adapter
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn


@contextmanager
def as_it_was_if_refused(model: nn.Module, adapter: str, prefix: str) -> Iterator[None]:
    """Within the block, an adapter is put into a model; where that fails, it is taken out again.

    PEFT leaves the layers that it has adapted so far. A second attempt under the same name would
    find them, with settings that nobody wants any more.

    Args:
        model: whose layers are adapted.
        adapter: name of the adapter.
        prefix: that PEFT gives to the parameters of its method.
    """
    layers = {one for one in model.modules() if isinstance(one, BaseTunerLayer)}
    # One of this name that is there already cannot be told from what comes.
    there = any(adapter in one._all_available_adapter_names() for one in layers)
    parts = [one for one in model.modules() if one not in layers]
    held = [(one, dict(one._modules), dict(one._parameters)) for one in parts]
    trained = [(one, one.requires_grad) for one in model.parameters()]
    try:
        yield
    except BaseException:
        if not there:
            delete_adapter(model, adapter, prefix)
            for part, modules, parameters in held:
                _put_back(part._modules, modules)
                _put_back(part._parameters, parameters)
            for parameter, trainable in trained:
                parameter.requires_grad_(trainable)
        raise


def _put_back(now: dict[str, Any], then: dict[str, Any]) -> None:
    now.clear()
    now.update(then)
