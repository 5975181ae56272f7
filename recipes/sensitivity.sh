#!/usr/bin/env bash
# p against N, in training and at test (Figure 5). Both grids are ours.
set -euo pipefail
: "${METHODS:=lora}" "${SIZES:=1 2 4 8}" "${P:=0.1 0.3 0.5 0.7 0.9}"
. "$(dirname "$0")/swept.bash"
for task in ${TASKS:-glue/mrpc}; do
  for N in $SIZES; do
    tuned "$OUT/sensitivity/N$N/$task" "$task"
  done
done
python -m recipes.compare "$OUT/sensitivity"
