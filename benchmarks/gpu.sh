#!/usr/bin/env bash
# GPU tests and benchmarks on a machine that has torch and a GPU but no network.
#
#   benchmarks/gpu.sh prepare   where there is a network: fetch the wheels that such a machine lacks into .whl/
#   benchmarks/gpu.sh run OUT   there, in the repository with .whl/ beside it: test, measure, write JSON into OUT
set -euo pipefail
cd "$(dirname "$0")/.."

# What epgraph needs besides torch, torchvision, networkx, numpy, matplotlib, tensorboard, scikit-learn, tqdm, PyYAML
# and pytest, which a machine for deep learning has.
wheels=(pydantic pydantic-core annotated-types typing-inspection typing-extensions graphviz pygraphviz click hypothesis sortedcontainers)

# measure EXAMPLE BACKEND PRECISION [--peer] [--no-graphs]: one file of figures in $out.
measure() {
  local example=$1 backend=$2 precision=$3 options=() name
  name=iteration-$example-$backend-$precision
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
  timeout 180 python3 benchmarks/iteration.py "examples/$example.yaml" --device cuda --backend "$backend" --batch 128 \
    --free-steps 120 --nudged-steps 50 --repeats 3 "${options[@]}" >"$out/$name.json" || true
  cat "$out/$name.json"
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
    ls -l .whl
    ;;
  run)
    out=${2:?usage: benchmarks/gpu.sh run OUT}
    mkdir -p "$out"
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .whl/*.whl
    export PYTHONPATH=/tmp/site:$PWD PYTHONUNBUFFERED=1
    python3 -m pytest tests/gpu -p no:cacheprovider 2>&1 | tee "$out/tests.txt" || true
    # The most telling first: a machine may be taken back before the end. The official code where it lies in .peer/.
    for example in hopfield_resnet13 vgg5; do
      measure "$example" channels_last tf32 --peer
      measure "$example" triton tf32
      measure "$example" channels_last bfloat16
      measure "$example" triton bfloat16
      measure "$example" channels_last tf32 --no-graphs
      measure "$example" channels_last bfloat16 --no-graphs
    done
    for example in hopfield_resnet13 vgg5; do
      for precision in float32 float16; do
        measure "$example" channels_last "$precision"
        measure "$example" triton "$precision"
      done
      measure "$example" eager tf32
      measure "$example" eager tf32 --no-graphs
      measure "$example" triton tf32 --no-graphs
      measure "$example" triton bfloat16 --no-graphs
    done
    # A run that was cut off leaves an empty file.
    find "$out" -name 'iteration-*.json' -size 0 -delete
    python3 benchmarks/table.py "$out"/iteration-*.json || true
    for example in hopfield_resnet13 vgg5; do
      timeout 180 python3 benchmarks/rewrites.py "examples/$example.yaml" --device cuda --batch 128 \
        --json "$out/rewrites-cuda-$example.json" || true
    done
    timeout 300 python3 benchmarks/scaling.py --device cuda --json "$out/scaling-cuda.json" || true
    ;;
  *)
    sed -n '2,6p' "$0"
    exit 1
    ;;
esac
