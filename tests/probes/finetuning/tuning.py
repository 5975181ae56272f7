"""A fine-tuning run of a few steps."""

from probes import finetune

QUICK = {
    "max_steps": 4, "learning_rate": 0.01, "per_device_train_batch_size": 4, "eval_steps": 2,
    "save_steps": 2, "use_cpu": True,
}  # fmt: skip


def tuned(task, model, **changes):
    p = {} if "regularizer" in changes else {"p": 0.3}
    settings = {**p, "ensemble": 2, "rank": 2, "tokens": 24, "training": QUICK} | changes
    return finetune.measure(task=task, model=model, **settings)
