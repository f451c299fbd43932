#!/usr/bin/env bash
# GPU tests, benchmarks and training on a machine that has torch and a GPU but no network.
#
#   benchmarks/gpu.sh prepare [DATA]    where there is a network: fetch the wheels that such a machine lacks into .whl/,
#                                       and copy DATA/FashionMNIST into .data/
#   benchmarks/gpu.sh run OUT [S]       there, in the repository with .whl/ beside it: test and measure for S seconds
#                                       (540); OUT/results.tgz has the JSON files
#   benchmarks/gpu.sh train OUT [S] [OPTION...]   there, with .data/ too: train Hopfield-ResNet13 at full width on
#                                       Fashion-MNIST until S seconds (240) are over; OUT/training.tgz has the run folder
#
# The official code of the paper is measured too where it lies in .peer/.
set -euo pipefail
cd "$(dirname "$0")/.."

# What epgraph needs besides torch, torchvision, networkx, numpy, matplotlib, tensorboard, scikit-learn, tqdm, PyYAML,
# click, filelock and pytest, which a machine for deep learning has. Optuna is left out: nothing here sweeps.
wheels=(pydantic pydantic-core annotated-types typing-inspection typing-extensions graphviz pygraphviz click hypothesis sortedcontainers)
device=${DEVICE:-cuda}
recipe=examples/recipes/hopfield_resnet13_fashion_mnist.yaml

install() {
  python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .whl/*.whl
  export PYTHONPATH=/tmp/site:$PWD PYTHONUNBUFFERED=1
}

# within SECONDS COMMAND...: at most so long, and never beyond the budget; nothing once that is used up.
within() {
  local left=$((budget - SECONDS)) most=$1
  ((left > 20)) || return 0
  timeout "$((left < most ? left : most))" "${@:2}" || true
}

# Few files come back from such a machine, and it may be taken back before the end: one archive, written anew each time.
pack() { tar -C "$work" -czf "$out/results.tgz" .; }

# measure EXAMPLE BACKEND PRECISION [--peer] [--no-graphs]: one file of figures.
measure() {
  local example=$1 backend=$2 precision=$3 options=() name
  name=iteration-cuda-$example-$backend-$precision
  case "$precision" in
    tf32) options+=(--dtype float32 --tf32 on) ;;
    float32) options+=(--dtype float32 --tf32 off) ;;
    *) options+=(--dtype "$precision") ;;
  esac
  for option in "${@:4}"; do
    case "$option" in
      --peer) [ -d .peer/EquiProp ] && options+=(--peer .peer) ;;
      *) options+=("$option") && name+=$option ;;
    esac
  done
  # The energy of pcn_vgg5 has its own number of sweeps.
  case "$example" in pcn_*) ;; *) options+=(--free-steps 120 --nudged-steps 50) ;; esac
  within 150 python3 benchmarks/iteration.py "examples/$example.yaml" --device "$device" --backend "$backend" \
    --batch 128 --repeats 3 "${options[@]}" >"$work/$name.json"
  # What was cut off is empty.
  if [ -s "$work/$name.json" ]; then cat "$work/$name.json"; else rm "$work/$name.json"; fi
  pack
}

case "${1:-}" in
  prepare)
    python=${PYTHON:-python3}
    rm -rf .whl
    mapfile -t pinned < <(for name in "${wheels[@]}"; do
      grep -i "^${name}==" constraints.txt || echo "$name"
    done)
    "$python" -m pip download --quiet --no-deps --dest .whl --only-binary=:all: --python-version 3.12 \
      --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
      --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 "${pinned[@]}"
    if [ -n "${2:-}" ]; then mkdir -p .data && cp -r "$2/FashionMNIST" .data/; fi
    du -sh .whl .data 2>/dev/null || true
    ;;
  run)
    out=${2:?usage: benchmarks/gpu.sh run OUT [SECONDS]}
    budget=${3:-540}
    work=$(mktemp -d)
    mkdir -p "$out"
    install
    within 200 python3 -m pytest tests/gpu -p no:cacheprovider 2>&1 | tee "$work/tests.txt"
    pack
    # The most telling first. Peak memory is in each file.
    measure hopfield_resnet13 channels_last tf32 --peer
    measure hopfield_resnet13 channels_last bfloat16
    measure hopfield_resnet13 triton tf32
    measure hopfield_resnet13 triton bfloat16
    measure pcn_vgg5 channels_last tf32
    measure pcn_vgg5 channels_last bfloat16
    measure vgg5 channels_last tf32 --peer
    measure vgg5 channels_last bfloat16
    for example in hopfield_resnet13 vgg5; do
      measure "$example" channels_last tf32 --no-graphs
      measure "$example" channels_last bfloat16 --no-graphs
      measure "$example" eager tf32
      measure "$example" triton float16
    done
    within 150 python3 benchmarks/rewrites.py examples/hopfield_resnet13.yaml --device "$device" --batch 128 \
      --json "$work/rewrites-cuda-hopfield_resnet13.json"
    within 200 python3 benchmarks/scaling.py --device "$device" --json "$work/scaling-cuda.json"
    pack
    python3 benchmarks/table.py "$work"/iteration-*.json || true
    ;;
  train)
    out=${2:?usage: benchmarks/gpu.sh train OUT [SECONDS] [OPTION...]}
    budget=${3:-240}
    work=$(mktemp -d)
    mkdir -p "$out"
    install
    # An interrupt ends a run with a checkpoint. Lay OUT/training.tgz in .data/, and the next machine goes on from it.
    if [ -f .data/training.tgz ]; then tar -C "$work" -xzf .data/training.tgz; fi
    timeout -s INT "$((budget - SECONDS))" python3 -m epgraph train "$recipe" --out "$work/training" --resume \
      --device "$device" --data-root .data --no-pictures --schedule coloring --set dynamics.over_relaxation=1.6 \
      --set dynamics.free_steps=15 --set dynamics.nudged_steps=12 "${@:4}" 2>&1 | tee "$out/training.txt" || true
    tar -C "$work" -czf "$out/training.tgz" --exclude=best.pt training
    ;;
  *)
    sed -n '2,12p' "$0"
    exit 1
    ;;
esac
