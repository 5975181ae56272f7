#!/usr/bin/env bash
# When to drop (Figure 4): never, in training alone ("expected weight"), in training and at test time
# ("ensemble"). At test time alone is in probes.ablation. Not run here. All values are ours.
set -euo pipefail
for task in cola mrpc rte; do
  python -m probes.finetune --task "glue/$task" --p 0 0.1 0.3 --samples 2 --ensemble 16 --draws 5 \
    --rank 8 --alpha 16 --learning_rate 5e-4 --num_train_epochs 10 --per_device_train_batch_size 32 --bf16 \
    --out "runs/ablation/$task"
done
