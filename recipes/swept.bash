# What the recipes share; they source it. Each variable can be set in the environment.
# Relative paths are those of the folder in which a script is started.
begun=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for place in OUT DATA MMLU MODEL; do
  given=${!place-}
  case $given in "" | /*) continue ;; esac
  # What is no folder there is a model's name on the hub.
  if [ $place != MODEL ] || [ -d "$begun/$given" ]; then printf -v $place %s "$begun/$given"; fi
done
: "${MODEL:=microsoft/deberta-v3-base}" # a name on the hub, or a folder
: "${DATA:=}"                           # a folder with the hub's layout, in place of the hub
: "${OUT:=runs/paper}"                  # where runs are kept; the same command goes on from there
: "${METHODS:=lora adalora}"
: "${P:=0 0.5}"                         # the paper's p, beside p = 0
: "${N:=4}"                             # the paper's N, in training and at test
: "${RANK:=8}"
: "${TARGET:=query_proj key_proj value_proj intermediate.dense output.dense}"
: "${SCHEDULE=values.csv}"               # of AdaLoRA's ranks; empty for shares of the steps
: "${DROP_AT_TEST:=}"                   # rate of masks at test alone, of what is trained at p = 0
: "${FACTORS:=0.5 1 2}"                 # times the learning rate of values.csv
: "${DRAWS:=5}"                         # seeds that are measured; one more chooses the learning rate
: "${FLAGS=--bf16}"                     # of probes.finetune, after all others

# tuned FOLDER TASK [FLAGS]: fine-tune on TASK by METHODS at each p in P. Seed 0 tries the learning
# rates; seeds 1 to DRAWS are trained at the one that seed 0 found best for a method and p.
tuned() {
  local folder=$1 task=$2 rate epochs alpha batch tokens warmup decay tinit tfinal delta p factor best method chosen
  shift 2
  IFS=, read -r _ rate epochs alpha batch tokens warmup decay tinit tfinal delta < <(grep "^$task," recipes/values.csv)
  for p in $P; do
    for factor in $FACTORS; do
      trained "$p" "$METHODS" "$(times "$rate" "$factor")" 0 1 "$folder/sweep/p$p-times$factor" "$@"
    done
    best=$(python -m recipes.choose "$folder"/sweep/p"$p"-*)
    while read -r method chosen; do
      trained "$p" "$method" "$chosen" 1 "$DRAWS" "$folder/p$p-$method" "$@"
    done <<<"$best"
  done
}

# trained P METHODS RATE SEED DRAWS FOLDER [FLAGS]: one command, with the values that tuned has read.
trained() {
  local samples=$N ranks=() masks=()
  if [ "$1" = 0 ]; then
    samples=1
    [ -n "$DROP_AT_TEST" ] && masks=(--drop-at-test "$DROP_AT_TEST")
  fi
  if [[ -n $SCHEDULE && -n $tinit && $2 = *adalora* ]]; then
    # AdaLoRA, Tables 7 and 9: half as much again, and 4 for 2.
    local first=$((RANK == 2 ? 4 : RANK + (RANK + 1) / 2))
    ranks=(--init-rank "$first" --tinit "$tinit" --tfinal "$tfinal" --delta_t "$delta")
  fi
  # shellcheck disable=SC2086
  python -m probes.finetune --task "$task" --model "$MODEL" ${DATA:+--data "$DATA"} --method $2 --p "$1" \
    --samples "$samples" --ensemble "$N" --rank "$RANK" --alpha "$alpha" --target $TARGET --tokens "$tokens" \
    --learning_rate "$3" --num_train_epochs "$epochs" --per_device_train_batch_size "$batch" \
    --warmup_steps "$warmup" --weight_decay "$decay" --seed "$4" --draws "$5" --out "$6" ${ranks[@]+"${ranks[@]}"} \
    ${masks[@]+"${masks[@]}"} "${@:7}" $FLAGS </dev/null
}

times() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%g", a * b }'; }
