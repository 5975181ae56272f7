"""Small trainings of which no process holds all: ``torchrun -m ... FOLDER JSON``.

Accelerate shards on accelerators alone, and takes whole models on CPUs without a word. Here it is
told that it has accelerators; what it does then is its own code, and that of FSDP2 and DeepSpeed.
"""

import json
import os
import sys
from pathlib import Path

import transformers
from accelerate import PartialState
from accelerate.utils import DistributedType

from probes.finetuning.training import leave_process_group
from tests.lora_dropout.peft.training import losses, trainer

#: With a state to be kept; the large epsilon leaves steps nearly proportional to gradients.
ADAM = {"optim": "adamw_torch", "adam_epsilon": 0.1}
FSDP2 = {
    "version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"], "state_dict_type": "FULL_STATE_DICT",
}  # fmt: skip


def zero(stage, exact):
    """The configuration of DeepSpeed, with optimizers of PyTorch."""
    return {
        "zero_optimization": {"stage": stage}, "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto", "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False, "bf16": {"enabled": not exact},
        # Accelerate's default is 1, whatever the trainer is told.
        "gradient_clipping": "auto",
    }  # fmt: skip


def pretend_accelerators():
    """Let Accelerate shard on CPUs."""
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    PartialState._prepare_backend = lambda *_: ("gloo", DistributedType.MULTI_GPU)
    transformers.training_args.is_torch_bf16_gpu_available = lambda: True


def run(kind, folder, exact, *, steps, keep=None, resume=False, parts=1):
    """Train a language model with two samples a step; eight rows a step in all."""
    sharding = {
        "one": {"use_cpu": True},
        "fsdp2": {"fsdp": True, "fsdp_config": dict(FSDP2)},
        "zero2": {"deepspeed": zero(2, exact)},
        "zero3": {"deepspeed": zero(3, exact)},
    }[kind]
    processes = 1 if kind == "one" else 2
    arguments = {"use_cpu": False, "bf16": not exact} | ADAM | sharding
    made = trainer(
        folder, name="llama", samples=2, batch=8 // processes // parts, accumulate=parts,
        steps=steps, keep=keep, arguments=arguments.items(),
    )  # fmt: skip
    made.train(resume_from_checkpoint=resume)
    return made


def straight_and_resumed(kind, folder, exact):
    """Train four steps; and two, and two more of another trainer, whose adapter is saved."""
    made = run(kind, folder / "straight", exact, steps=4, parts=2)
    run(kind, folder / "broken", exact, steps=2, keep=2)
    resumed = run(kind, folder / "broken", exact, steps=4, resume=True)
    resumed.save_model(str(folder / "saved"))
    return {
        "distributed": str(made.accelerator.distributed_type), "straight": losses(made),
        "resumed": losses(resumed),
    }  # fmt: skip


def main(folder, kind):
    transformers.logging.set_verbosity_error()
    pretend_accelerators()
    for name, exact in (("float32", True), ("bfloat16", False)):
        found = straight_and_resumed(kind, Path(folder) / name, exact)
        if os.environ["RANK"] == "0":
            (Path(folder) / f"{name}.json").write_text(json.dumps(found))
    leave_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
