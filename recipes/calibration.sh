#!/usr/bin/env bash
# Calibration along training (Figure 3) and at the best checkpoint (Table 4). Not run here. All values
# are ours, none is the paper's.
set -euo pipefail
for task in mrpc rte sst2; do
  python -m probes.finetune --task "glue/$task" --p 0 0.1 0.3 --ensemble 8 --ensemble-along --draws 5 --rank 8 --alpha 16 \
    --learning_rate 5e-4 --num_train_epochs 20 --per_device_train_batch_size 32 --eval_steps 0.05 --bf16 \
    --out "runs/calibration/$task"
done
python -m probes.report --sections calibration --runs runs/calibration/* --out report
