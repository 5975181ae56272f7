#!/usr/bin/env bash
# Instruction tuning on Alpaca, then MMLU. Not run here. All values are ours, none is the paper's.
# transformers before 5.23 calls --activation_checkpointing --gradient_checkpointing.
# Needs access to the model on the hub, and lm-evaluation-harness (pip install lm-eval).
set -euo pipefail
base=${1:-meta-llama/Llama-2-7b-hf}
python -m probes.finetune --task alpaca --model "$base" \
  --p 0 0.1 0.3 --samples 1 --rank 16 --alpha 32 --target q_proj v_proj --tokens 512 \
  --learning_rate 2e-4 --num_train_epochs 3 --per_device_train_batch_size 4 \
  --gradient_accumulation_steps 8 --activation_checkpointing --bf16 --out runs/alpaca
for p in 0 0.1 0.3; do
  lm_eval --model hf --tasks mmlu --num_fewshot 5 --batch_size auto \
    --model_args "pretrained=$base,peft=$(echo runs/alpaca/adapters/alpaca-lora-p$p-N1-seed0-*),dtype=bfloat16"
done
