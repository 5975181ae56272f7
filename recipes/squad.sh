#!/usr/bin/env bash
# SQuAD 1.1 and 2.0 with DeBERTa-v3-base. Not run here. All values are ours, none is the paper's.
set -euo pipefail
for task in squad squad_v2; do
  python -m probes.finetune --task "$task" --model microsoft/deberta-v3-base \
    --method lora adalora --p 0 0.1 0.3 --samples 2 --ensemble 8 --rank 8 --alpha 16 --draws 3 \
    --learning_rate 1e-3 --num_train_epochs 5 --per_device_train_batch_size 16 --bf16 \
    --out "runs/$task"
done
