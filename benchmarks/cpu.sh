#!/usr/bin/env bash
# All CPU benchmarks in turn: a table each on the terminal, JSON into OUT. Leave the machine alone meanwhile.
#
#   benchmarks/cpu.sh CHECKOUT [OUT]   CHECKOUT: the official code (holds EquiProp/); OUT: by default benchmarks/results
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,4p' "$0"; exit 1; }
out=${2:-$(dirname "$0")/results}
mkdir -p "$out"
peer=$(cd "$1" && pwd)
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/.."
failed=0
# One thread: threads that wait for each other on shared cores make every figure a matter of luck.
export OMP_NUM_THREADS=1

for batch in 16 64; do
  for example in hopfield_resnet13 vgg5; do
    result="$out/iteration-cpu-$example-$batch.json"
    # One that fails must not take the others with it, nor leave an empty file in place of an old result.
    if python benchmarks/iteration.py "examples/$example.yaml" --batch $batch --free-steps 20 --nudged-steps 8 \
      --threads 1 --peer "$peer" >"$result.new"; then mv "$result.new" "$result"; else rm "$result.new"; failed=1; fi
  done
done
python benchmarks/table.py "$out"/iteration-cpu-*.json
for example in vgg5 hopfield_resnet13; do
  python benchmarks/rewrites.py "examples/$example.yaml" --json "$out/rewrites-cpu-$example.json"
done
python benchmarks/scaling.py --json "$out/scaling-cpu.json"
python benchmarks/compile_time.py >"$out/compile_time-cpu.json"
python benchmarks/loader.py --json "$out/loader-cpu.json"
exit $failed
