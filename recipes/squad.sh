#!/usr/bin/env bash
# SQuAD 1.1 and 2.0: LoRA and AdaLoRA, with dropout and without, on DeBERTa-v3-base.
set -euo pipefail
. "$(dirname "$0")/swept.bash"
for task in ${TASKS:-squad squad_v2}; do
  tuned "$OUT/$task" "$task"
done
python -m recipes.compare "$OUT"/squad*
