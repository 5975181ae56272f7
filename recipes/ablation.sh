#!/usr/bin/env bash
# When to drop (Figure 4): never (p = 0), in training alone ("expected weight"), in training and at test
# ("ensemble"), and at test alone.
set -euo pipefail
: "${METHODS:=lora}" "${DROP_AT_TEST:=0.5}"
. "$(dirname "$0")/swept.bash"
for task in ${TASKS:-glue/cola glue/mrpc}; do
  tuned "$OUT/ablation/$task" "$task"
done
python -m recipes.compare "$OUT/ablation"
