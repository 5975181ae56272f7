#!/usr/bin/env bash
# GLUE: LoRA and AdaLoRA, with dropout and without, on DeBERTa-v3-base.
set -euo pipefail
. "$(dirname "$0")/swept.bash"
for task in ${TASKS:-glue/cola glue/rte glue/mrpc glue/stsb glue/sst2 glue/qnli glue/mnli glue/qqp}; do
  tuned "$OUT/$task" "$task"
done
python -m recipes.compare "$OUT/glue"
