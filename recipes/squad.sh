#!/usr/bin/env bash
# SQuAD 1.1 and 2.0: LoRA and AdaLoRA, with dropout and without, on DeBERTa-v3-base. Of the ranks that the
# paper tries, 2 has a known value with dropout.
set -euo pipefail
: "${RANK:=2}"
. "$(dirname "$0")/swept.bash"
for task in ${TASKS:-squad squad_v2}; do
  tuned "$OUT/squad/$task-rank$RANK" "$task"
done
python -m recipes.compare "$OUT/squad"
