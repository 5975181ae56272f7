#!/usr/bin/env bash
# Calibration along training (Figure 3, of RTE) and at the evaluation with the best score (Table 4).
set -euo pipefail
: "${METHODS:=lora}"
. "$(dirname "$0")/swept.bash"
for task in ${TASKS:-glue/mrpc glue/rte glue/sst2}; do
  tuned "$OUT/calibration/$task" "$task" --ensemble-along --eval_steps 0.05
done
python -m recipes.compare "$OUT/calibration"
