#!/usr/bin/env bash
# All that only a GPU can tell, in one run of under 8 minutes, without a network:
#
#     bash benchmarks/on_gpu.sh OUT [WHEELS]
#
# OUT is a new folder for what is found: a text and, where there is a table, a JSON file a part, and a
# summary of both. WHEELS is a folder of what the machine lacks (`make gpu-wheels`). Every part has
# a time of its own and runs whatever became of the others. PYTHON names the interpreter; PARTS, as
# in PARTS="tests sweep", those of the parts that run, where not all shall; "launches", which tries
# other settings of the kernel, runs only where it is named.
set -u
OUT=${1:+$(realpath -m "$1")} WHEELS=${2:+$(realpath -m "$2")}
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
# A machine to try the script on has no GPU: it takes the CPU, and small models.
DEVICE=${DEVICE:-cuda}
SIZES=(--n 64 256 1024)
SWEEP=()
[ "$DEVICE" = cuda ] || SIZES=(--n 8 --steps 5) SWEEP=(--steps 20)
# The files with tests for CUDA, as others may import what the machine lacks.
mapfile -t TESTS < <(grep -rlE 'DEVICES|mark\.cuda' tests --include='test_*.py' | sort)

refuse() {  # MESSAGE
  echo "error: $1" >&2
  exit 2
}

part() {  # NAME SECONDS COMMAND...
  local name=$1 limit=$2 start=$SECONDS status
  shift 2
  if [ -n "$ASKED" ]; then
    NAMES+=("$name")
    return
  fi
  [[ ${#CHOSEN[@]} = 0 || " ${CHOSEN[*]} " == *" $name "* ]] || return 0
  echo "== $name"
  # An interrupt first: what a part knows by then it still says.
  timeout --signal=INT --kill-after=10 "$limit" "$@" >"$OUT/$name.txt" 2>&1
  status=$?
  printf '%s\t%s\t%s\n' "$name" "$status" $((SECONDS - start)) >>"$OUT/parts.tsv"
  tail -n 4 "$OUT/$name.txt"
}

named_part() {  # as part, which runs only where PARTS names it
  [[ -z $ASKED && " ${CHOSEN[*]} " != *" $1 "* ]] || part "$@"
}

finetune_step() {  # MODEL SECONDS BATCH TOKENS
  local sizes=(--shape whole --dtype bfloat16 --batch "$3" --tokens "$4" --repetitions 10)
  [ "$DEVICE" = cuda ] || sizes=(--width 64 --layers 1 --batch 1 --tokens 8 --repetitions 2)
  part "step-$1" "$2" "$PYTHON" -m benchmarks.finetune_step --model "$1" "${sizes[@]}" \
    --json "$OUT/step-$1.json"
}

parts() {
  part machine 10 bash -c 'nvidia-smi; nproc; "$0" -m pip list 2>/dev/null' "$PYTHON"
  # A fresh machine reads its libraries from a disk that no part's time should have to wait for.
  part imports 40 "$PYTHON" -m benchmarks.on_gpu imports --device "$DEVICE"
  # By name and as they end, as a run that is stopped says nothing at its end.
  part tests 80 "$PYTHON" -m pytest -v -n 8 -p no:cacheprovider -o filterwarnings= -m cuda \
    --continue-on-collection-errors --junitxml "$OUT/tests.xml" "${TESTS[@]}"
  part rows 30 "$PYTHON" -m benchmarks.on_gpu rows --device "$DEVICE" --json "$OUT/rows.json"
  part retraining 90 "$PYTHON" -m benchmarks.on_gpu retraining --device "$DEVICE" \
    "${SIZES[@]}" --json "$OUT/retraining.json"
  named_part launches 120 "$PYTHON" -m benchmarks.launches --device "$DEVICE" "${SIZES[@]}" \
    --json "$OUT/launches.json"
  part sweep 25 "$PYTHON" -m benchmarks.on_gpu sweep --device "$DEVICE" "${SWEEP[@]}" \
    --json "$OUT/sweep.json"
  part sweep-two-cores 30 taskset -c 0,1 "$PYTHON" -m benchmarks.on_gpu sweep --device cpu \
    --workers 2 "${SWEEP[@]}" --draws 4 --json "$OUT/sweep-two-cores.json"
  part captured 20 "$PYTHON" -m benchmarks.captured_step --n 64 --steps 100 --repetitions 3
  part layer 20 "$PYTHON" -m benchmarks.layer
  part masks 15 "$PYTHON" -m benchmarks.masks --device "$DEVICE"
  finetune_step deberta 50 32 128
  finetune_step llama 65 4 512
}

[ -n "$OUT" ] || refuse "usage: bash benchmarks/on_gpu.sh OUT [WHEELS]"
# Before anything runs, every part is asked for its name.
NAMES=() ASKED=yes
parts
ASKED=
read -r -d '' -a CHOSEN <<<"${PARTS:-}"
for name in ${CHOSEN[@]+"${CHOSEN[@]}"}; do
  [[ " ${NAMES[*]} " == *" $name "* ]] || refuse "PARTS must be of ${NAMES[*]}; got $name"
done
command -v "$PYTHON" >/dev/null || refuse "PYTHON must be an interpreter; got $PYTHON"
[ -z "$WHEELS" ] || compgen -G "$WHEELS/*.whl" >/dev/null ||
  refuse "WHEELS must be a folder of wheels (make gpu-wheels); got $2"
mkdir -p "$OUT" 2>/dev/null && [ -w "$OUT" ] ||
  refuse "OUT must be a folder that can be written; got $1"
# Texts and tables in it are removed.
[ -z "$(ls -A "$OUT")" ] || [ -e "$OUT/parts.tsv" ] ||
  refuse "OUT must be a new folder, or that of an earlier run; got $1"
rm -f "$OUT"/*.txt "$OUT"/*.json
: >"$OUT/parts.tsv"

if [ -n "$WHEELS" ]; then
  SITE=$(mktemp -d)
  trap 'rm -rf "$SITE"' EXIT
  "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --target "$SITE" \
    "$WHEELS"/*.whl || exit 1
  PYTHONPATH=$SITE${PYTHONPATH:+:$PYTHONPATH}
fi
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
export HF_HUB_OFFLINE=1 XLA_PYTHON_CLIENT_PREALLOCATE=false

parts
"$PYTHON" -m benchmarks.on_gpu summary --out "$OUT" | tee "$OUT/summary.txt"
