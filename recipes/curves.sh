#!/usr/bin/env bash
# Train and test loss along training (Figure 1). Not run here. All values are ours, none is the paper's.
set -euo pipefail
python -m probes.finetune --task glue/mrpc --method lora adalora --p 0 0.3 --draws 5 --rank 8 --alpha 16 \
  --learning_rate 5e-4 --num_train_epochs 30 --per_device_train_batch_size 32 --eval_steps 0.03 --bf16 \
  --out runs/curves
