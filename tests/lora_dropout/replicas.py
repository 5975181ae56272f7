"""``nn.DataParallel`` on the CPU: replicas of a model, each called in a thread of its own."""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn


def replica_of(module):
    """What nn.DataParallel calls: a shallow copy whose parameters are tensors."""
    copied = module._replicate_for_data_parallel()
    for name, parameter in module._parameters.items():
        setattr(copied, name, parameter * 1 if parameter is not None else None)
    for name, buffer in module._buffers.items():
        copied._buffers[name] = buffer if buffer is None else buffer.clone()
    for name, part in module._modules.items():
        copied._modules[name] = part if part is None else replica_of(part)
    return copied


class DataParallel(nn.DataParallel):
    """Two replicas; one that waits for ever is an error."""

    def forward(self, *args, **kwargs):
        replicas = [replica_of(self.module) for _ in range(2)]
        training = torch.is_grad_enabled()

        def called(replica, of_args, of_kwargs):
            with torch.set_grad_enabled(training):
                return replica(*of_args, **of_kwargs)

        pool = ThreadPoolExecutor(2)
        passes = [*map(pool.submit, [called] * 2, replicas, _halves(args), _halves(kwargs))]
        found = [one.result(timeout=60) for one in passes]
        pool.shutdown()
        return _joined(found)


def _halves(value):
    if isinstance(value, torch.Tensor):
        return value.chunk(2)
    if isinstance(value, dict):
        parts = {name: _halves(one) for name, one in value.items()}
        return [{name: one[half] for name, one in parts.items()} for half in range(2)]
    if isinstance(value, tuple):
        return [tuple(_halves(one)[half] for one in value) for half in range(2)]
    return [value, value]


def _joined(outputs):
    first = outputs[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(outputs) if first.dim() else torch.stack(outputs)
    if isinstance(first, dict):
        return type(first)(**{name: _joined([one[name] for one in outputs]) for name in first})
    return type(first)(_joined(list(each)) for each in zip(*outputs, strict=True))
