#!/usr/bin/env bash
# Train and test loss along training (Figure 1): finetune.png in the folder of each run.
set -euo pipefail
. "$(dirname "$0")/swept.bash"
for task in ${TASKS:-glue/mrpc}; do
  tuned "$OUT/curves/$task" "$task" --eval_steps 0.03
done
python -m recipes.compare "$OUT/curves"
