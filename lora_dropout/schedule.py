"""When the masks of a model change: once an optimizer step, and never in between."""

import warnings
import weakref
from collections.abc import Iterator, Set
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.hooks import RemovableHandle

from lora_dropout.adaptable import listed
from lora_dropout.factor_watch import FactorWatch
from lora_dropout.given_numbers import whole_number
from lora_dropout.mask_memory import HasMasks, MaskMemory
from lora_dropout.masks import ENSEMBLE_STEP
from lora_dropout.pass_lock import PassLock, is_replica
from lora_dropout.steps_under_way import StepsUnderWay, moves_nothing

#: What a copy of a schedule takes along; it watches no model and no optimizer yet.
COPIED = ("seed", "seeded", "step", "samples", "layers", "frozen", "stale")
#: Said once of layers that the first pass leaves out.
IDLE = (
    "{} of {} layers with LoRA Dropout took no part in the first training pass: {}. Their factors "
    "get no gradient where other code reads a layer's weight and never calls the layer."
)
#: Said where a model would leave an ensemble as one of its members.
COPIED_WITHIN = (
    "the model is copied or pickled within an ensemble or inference_mode, whose masks and mode the "
    "copy would keep for ever: do it outside the block; members(copy, N) are the same networks"
)
#: Said where a training goes on, or is kept, at the masks of a member.
TRAINED_WITHIN = (
    "{} within an ensemble, whose masks belong to no step of a training: do it outside the block"
)

_schedules: "weakref.WeakSet[MaskSchedule]" = weakref.WeakSet()


class ScheduledLayer(HasMasks, Protocol):
    """What a schedule needs of a layer, to which it refers weakly.

    Attributes:
        masks: the schedule that the layer belongs to.
        used: whether a pass used the update; the schedule sets it to False.
    """

    masks: "MaskSchedule"
    used: bool

    @property
    def in_use(self) -> bool:
        """Whether a forward pass adds the update."""


class MaskSchedule:
    """The masks of all adapted layers of one model, and the step that they belong to.

    Masks are a function of (seed, step, layer, sample number) and stay as they are within an
    optimizer step. So a pass recomputed by gradient checkpointing, a second forward pass before the
    backward pass and the micro-batches of gradient accumulation all see the same masks.

    They advance by themselves after a step of a ``torch.optim`` optimizer that holds the model's
    factors, and not while it takes the step, however many passes that needs. Where the factors
    change in another way, the next training pass of the model notices and advances. What is left
    warns: parts of a model that are called without it, and whose factors no ``torch.optim``
    optimizer updates. A *compiled* model notices nothing of the kind by itself. Call
    :meth:`advance` after each update in these cases.

    An optimizer that was restored (AdamW and others that count their steps) takes the masks along
    from its first step on: seek the step yourself if the pass before it matters.

    Attributes:
        seed: seed of the masks, in [0, 2**64).
        seeded: whether a seed was given; otherwise it is 0, until a trainer takes its own.
        step: the step whose masks the layers hold. Set it with :meth:`seek`, to resume for example.
        samples: the sample numbers that the layers hold, one group of the batch for each.
        layers: the adapted layers, in the order that numbers them. They hold the schedule, and not
            the other way round, so that a model that nobody needs any more is freed at once.
        frozen: the parameters that were trainable before the layers were adapted.
        stale: whether layers hold something else than their masks, such as new memory.
        lock: keeps passes of other threads out while masks are those of an ensemble.
    """

    def __init__(self, seed: int | None = 0) -> None:
        self.reseed(seed or 0, given=seed is not None)
        self.step = 0
        self.samples = range(1)
        self.layers = []
        self.frozen: list[nn.Parameter] = []
        self.stale = True
        self._begin()

    def _begin(self) -> None:
        """Make what belongs to this object and not to a copy of it."""
        self._waiting: weakref.WeakSet[_Waiting] = weakref.WeakSet()
        self._watch = FactorWatch()
        self._memory = MaskMemory()
        self._handles: list[RemovableHandle] = []
        self._stepping = StepsUnderWay()
        #: Whether an update has come after which masks are those of the next step, and that step.
        self._due, self._next, self._holders = False, 0, 0
        self._passed = False
        self.lock = PassLock()
        _schedules.add(self)

    def __getstate__(self) -> dict[str, Any]:
        if self.lock.held:
            raise ValueError(COPIED_WITHIN)
        return {name: getattr(self, name) for name in COPIED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in COPIED:
            setattr(self, name, state[name])
        self._begin()

    @property
    def layers(self) -> list[ScheduledLayer]:
        every = (known() for known in self._known)
        return [layer for layer in every if layer is not None]

    @layers.setter
    def layers(self, layers: list[ScheduledLayer]) -> None:
        self._known = [weakref.ref(layer) for layer in layers]

    def reseed(self, seed: int, *, given: bool = True) -> None:
        """Take masks of another seed from the next draw on.

        Args:
            seed: in [0, 2**64).
            given: whether somebody chose it; otherwise a trainer takes its own in its place.

        Raises:
            ValueError: out of range.
        """
        self.seed = whole_number("seed", seed, 0, 2**64)
        self.seeded, self.stale = given, True

    def join(self, layer: ScheduledLayer) -> None:
        """Number a layer and make its masks those of this schedule, from the next draw on."""
        layers = self.layers
        layer.masks, layer.number = self, 1 + max((one.number for one in layers), default=-1)
        self.layers = [*layers, layer]
        self.stale = True

    def leave(self, layer: ScheduledLayer, *roots: nn.Module) -> None:
        """Forget a layer, if it is known; without layers, watch no model.

        Args:
            layer: that has other masks from now on, or none.
            *roots: models that may be watched; a copy of a schedule does not know its own.
        """
        self.layers = [one for one in self.layers if one is not layer]
        if not self.layers:
            self.detach(*roots)

    def advance(self) -> None:
        """Draw the masks of the next step.

        Raises:
            RuntimeError: a forward pass is still waiting for its backward pass, which would be
                computed with other masks.
        """
        self.seek(self.step + 1, self.samples)

    def seek(self, step: int, samples: range | None = None) -> None:
        """Draw the masks of a given step.

        Args:
            step: the step, at least 0.
            samples: the sample numbers to hold; those held now if left out. More than one means
                that the batch consists of that many equal groups, one mask pair each.

        Raises:
            ValueError: a step out of range, or samples that are no range without gaps.
            RuntimeError: a forward pass is still waiting for its backward pass.
        """
        if torch.compiler.is_dynamo_compiling():
            return _seek_apart(self, step, samples)
        step = whole_number("step", step, 0, 2**64)
        samples = self.samples if samples is None else _checked_samples(samples)
        if (step, samples, self.stale) == (self.step, self.samples, False):
            return
        if self._waiting:
            raise RuntimeError(
                "the masks cannot change now: a training forward pass is still waiting for its "
                "backward pass, which must see the same masks"
            )
        self._draw(step, samples)

    def give_up(self) -> None:
        """Come back to sample 0, at the next pass, after one of several passes failed.

        Nobody calls the backward pass of its graph, which a traceback may hold.
        """
        self._waiting.clear()
        self.samples, self.stale = range(1), True

    def state_dict(self) -> dict[str, int]:
        """Return what a run goes on from: the step and the seed.

        Raises:
            ValueError: the masks are those of a member of an ensemble.
        """
        self._refuse_of_a_member("the step of the masks is asked for")
        return {"step": self.step, "seed": self.seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a step, as ``torch.nn.Module`` and Accelerate's checkpoints call it.

        Args:
            state: what :meth:`state_dict` returned.

        Raises:
            ValueError: something else.
            RuntimeError: a forward pass is still waiting for its backward pass.
        """
        if not {"seed", "step"} <= set(state):
            raise ValueError(f"the state of masks holds 'seed' and 'step', got {sorted(state)}")
        self.reseed(state["seed"])
        self.seek(state["step"])

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Within the block, no update moves the masks; one that was due moves them at its end."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            self._move_if_due()

    @property
    def held(self) -> bool:
        """Whether updates leave the masks as they are: in :meth:`hold`, or in an optimizer step."""
        return self._holders > 0 or len(self._stepping) > 0

    def attach(self, root: nn.Module) -> None:
        """Watch the outermost training passes of ``root``."""
        self._handles += [
            root.register_forward_pre_hook(self._enter),
            root.register_forward_pre_hook(self._before),
            root.register_forward_hook(self._after),
            root.register_forward_hook(self._leave, always_call=True),
        ]

    def detach(self, *roots: nn.Module) -> None:
        """Undo every :meth:`attach`.

        Args:
            *roots: as in :meth:`leave`.
        """
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for root in roots:
            for hooks in (root._forward_pre_hooks, root._forward_hooks):
                mine = [key for key, one in hooks.items() if getattr(one, "__self__", None) is self]
                for key in mine:
                    del hooks[key]

    def factors(self) -> list[Tensor]:
        """Return the trainable factors of all layers."""
        every = (factor for layer in self.layers for factor in layer.factors)
        return [factor for factor in every if factor.requires_grad]

    # Masks that are drawn while somebody generates serve the training after it.
    @torch.inference_mode(False)
    def _draw(self, step: int, samples: range, in_place: bool = False) -> None:
        if step != self.step:
            self._watch.forget()
            self._due, self._next = False, 0
        # Whoever interrupts the drawing leaves other masks than those of the step.
        self.step, self.samples, self.stale = step, samples, True
        if layers := self.layers:
            self._memory.renew(
                layers, seed=self.seed, step=step, samples=samples, in_place=in_place
            )
            self._watch.follow_masks(layers[0].mask_in)
            self._listen()
        self.stale = False

    def _listen(self) -> None:
        if not self._watch.trusted:
            myself = weakref.ref(self)
            self._watch.listen(self._watched(), lambda: _is_held(myself()))

    def _watched(self) -> list[Tensor]:
        """The factors of all layers; of one, where an optimizer of all reports its steps."""
        layers = self.layers[:1] if self._watch.trusted else self.layers
        return [factor for layer in layers for factor in layer.factors]

    def _enter(self, root: nn.Module, arguments: Any) -> None:
        if not torch.compiler.is_compiling():
            self.lock.enter_pass(waits=not is_replica(root))

    def _leave(self, root: nn.Module, arguments: Any, output: Any) -> None:
        if not torch.compiler.is_compiling():
            self.lock.leave_pass()

    def _before(self, root: nn.Module, arguments: Any) -> None:
        if torch.compiler.is_compiling() or not (root.training and self.layers):
            return
        # Replicas run side by side, with copies of masks that came before.
        if is_replica(root):
            return
        self._forget_failed()
        if self.stale:
            self._draw(self.step, self.samples, in_place=True)
        masks, factors = self.layers[0].mask_in, self._watched()
        if not self.held and self._watch.updated(masks, factors):
            self._draw(self.step + 1, self.samples, in_place=True)
            masks = self.layers[0].mask_in
        self._watch.remember(masks, factors)
        self._listen()
        if not self._passed:
            for layer in self.layers:
                layer.used = False

    def _after(self, root: nn.Module, arguments: Any, output: Any) -> None:
        if torch.compiler.is_compiling() or not (root.training and self.layers):
            return
        # A replica has layers of its own, of which these know nothing.
        if not is_replica(root):
            self._watch.settle(self._watched())
            if not self._passed:
                self._name_the_idle(root)
        # One for all outputs: what is left unused of a model's outputs waits for nothing.
        waiting = _Waiting(self._waiting)
        for tensor in _tensors(output):
            if tensor.requires_grad:
                tensor.register_hook(waiting)

    def _name_the_idle(self, root: nn.Module) -> None:
        """Warn, after the first pass, of layers that took no part in it."""
        asked = [layer for layer in self.layers if layer.in_use]
        self._passed = bool(asked)
        idle = {id(layer) for layer in asked if not layer.used}
        if idle:
            names = [
                name.removesuffix(getattr(module, "place", ""))
                for name, module in root.named_modules()
                if id(module) in idle
            ]
            if names:  # a layer may have been taken out of the model
                warnings.warn(IDLE.format(len(names), len(asked), listed(names)), stacklevel=2)

    def _step_begins(self, optimizer: Optimizer, held: Set[int]) -> None:
        # FSDP may let an optimizer hold one flat parameter, of which the factors are views.
        whole = [(one, one._base) for one in self.factors()]
        factors = [one if base is None or id(base) not in held else base for one, base in whole]
        known = [id(factor) in held for factor in factors]
        if not any(known):
            return
        self._stepping.see(optimizer, factors)
        if self._watch.idle and moves_nothing(optimizer, factors):
            return
        self._refuse_of_a_member("an optimizer updates the factors")
        self._forget_failed()
        self._stepping.begin(optimizer, all(known))

    def _forget_failed(self) -> None:
        """Let a step that failed be none, whatever it wrote: it is taken again, or given up."""
        if self._stepping.drop_failed():
            self._watch.forget()

    def _refuse_of_a_member(self, what: str) -> None:
        if self.step == ENSEMBLE_STEP:
            raise ValueError(TRAINED_WITHIN.format(what))

    def _step_ends(self, optimizer: Optimizer) -> None:
        # An optimizer that holds only some of them (one a parameter, stepped inside the backward
        # pass, one a kind of factor or a block of layers) is not the step: the next training pass
        # notices it.
        everything = self._stepping.end(optimizer)
        if everything is None:
            return
        if everything:
            before = 0 if self._watch.trusted else self._stepping.restored(optimizer)
            self._watch.trust()
            self._due = True
            self._next = max(self._next, self.step + 1, before + 1)
        elif not self._due:
            self._watch.distrust()
        self._move_if_due()

    def _move_if_due(self) -> None:
        """Draw the masks of the next step, once everybody lets them move."""
        if self._due and not self.held:
            self._draw(self._next, self.samples)


class _Waiting:
    """A forward pass whose backward pass has not come: lives as long as the graph that holds it."""

    def __init__(self, waiting: "weakref.WeakSet[_Waiting]") -> None:
        self.waiting = waiting
        waiting.add(self)

    def __call__(self, grad: Tensor) -> None:
        self.waiting.discard(self)


def _checked_samples(samples: range) -> range:
    fine = isinstance(samples, range) and samples.step == 1 and len(samples) > 0
    if not (fine and samples.start >= 0 and samples.stop <= 2**64):
        raise ValueError(
            f"samples must be a range without gaps of at least one number from 0 on, got {samples}"
        )
    return samples


def _is_held(schedule: MaskSchedule | None) -> bool:
    return schedule is None or schedule.held


# What is compiled as a whole, a step or an ensemble, takes breaks here: nothing is gained by
# compiling the drawing.
@_disable_dynamo
def _seek_apart(schedule: MaskSchedule, step: int, samples: range | None) -> None:
    schedule.seek(step, samples)


@_disable_dynamo
def _before_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for schedule in list(_schedules):
        schedule._step_begins(optimizer, held)


@_disable_dynamo
def _after_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    for schedule in list(_schedules):
        schedule._step_ends(optimizer)


register_optimizer_step_pre_hook(_before_step)
register_optimizer_step_post_hook(_after_step)


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        yield from _tensors(list(output.values()))
    elif isinstance(output, list | tuple):
        for item in output:
            yield from _tensors(item)
