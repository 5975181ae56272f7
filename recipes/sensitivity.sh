#!/usr/bin/env bash
# p against N (Figure 5). Not run here. All values are ours, none is the paper's.
set -euo pipefail
for samples in 1 2 4 8; do
  python -m probes.finetune --task glue/mrpc --p 0.1 0.3 0.5 0.7 --samples "$samples" \
    --ensemble "$samples" --draws 5 --rank 8 --alpha 16 --learning_rate 5e-4 --num_train_epochs 10 \
    --per_device_train_batch_size 32 --bf16 --out "runs/sensitivity/N$samples"
done
