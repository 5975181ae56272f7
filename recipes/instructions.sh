#!/usr/bin/env bash
# Instruction tuning of LLaMA2-7B on Alpaca-clean, then MMLU without examples in the prompt.
set -euo pipefail
: "${MODEL:=meta-llama/Llama-2-7b-hf}" "${METHODS:=lora}" "${TARGET:=q_proj v_proj}" "${RANK:=16}" "${MMLU:=}"
. "$(dirname "$0")/swept.bash"
if [ -z "$DATA" ]; then
  DATA=$OUT/alpaca-clean
  hf download yahma/alpaca-cleaned alpaca_data_cleaned.json --repo-type dataset --local-dir "$DATA"
  cp "$DATA/alpaca_data_cleaned.json" "$DATA/train.json" # the name that a split has
fi
# transformers before 5.23 calls --activation_checkpointing --gradient_checkpointing.
tuned "$OUT/alpaca" alpaca --per_device_train_batch_size 4 --gradient_accumulation_steps 8 --activation_checkpointing
# shellcheck disable=SC2086
python -m recipes.mmlu --runs "$OUT"/alpaca/p* --model "$MODEL" ${MMLU:+--data "$MMLU"} --ensemble "$N" --out "$OUT/mmlu" \
  ${MMLU_FLAGS---bf16}
python -m recipes.compare "$OUT/mmlu" "$OUT/alpaca"
