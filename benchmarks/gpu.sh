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
    for example in hopfield_resnet13 vgg5; do
      for dtype in float32 bfloat16; do
        python3 benchmarks/iteration.py "examples/$example.yaml" --device cuda --dtype "$dtype" --batch 128 \
          --free-steps 120 --nudged-steps 50 --repeats 3 >"$out/iteration-$example-$dtype.json" || true
        cat "$out/iteration-$example-$dtype.json"
      done
    done
    ;;
  *)
    sed -n '2,6p' "$0"
    exit 1
    ;;
esac
