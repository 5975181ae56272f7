#!/usr/bin/env bash
# GLUE with DeBERTa-v3-base. Not run here. All values are ours, none is the paper's.
set -euo pipefail
for task in cola sst2 mrpc qqp stsb mnli qnli rte; do
  python -m probes.finetune --task "glue/$task" --model microsoft/deberta-v3-base \
    --method lora adalora --p 0 0.1 0.3 0.5 --samples 2 --ensemble 8 --rank 8 --alpha 16 --draws 5 \
    --learning_rate 5e-4 --num_train_epochs 10 --per_device_train_batch_size 32 \
    --warmup_steps 0.06 --weight_decay 0.01 --bf16 --out "runs/glue/$task"
done
