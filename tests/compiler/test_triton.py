"""Backend ``triton`` without a GPU: in Triton's interpreter, compiled for a GPU that is not there, refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import epgraph as ep
from epgraph.compiler import BACKENDS, ProgramCache
from epgraph.compiler.export import module_text
from epgraph.compiler.triton_kernel import CANDIDATES, Kernel, _load
from tests.helpers.programs import operations, plan_of

ROOT = Path(__file__).parents[2]


def kernels(file: str, phase: Any, schedule: str = "even_odd") -> tuple[Any, list[Kernel]]:
    backend = BACKENDS["triton"]
    machine = ProgramCache(plan_of(file, schedule), torch.bfloat16, cast=True, backend=backend)
    program = machine.program(phase).program
    return program, [a for f in program.sweep for node in f.graph.nodes for a in node.args if isinstance(a, Kernel)]


def test_kernels_agree_with_the_eager_backend() -> None:
    pytest.importorskip("triton")
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/compiler/interpreted_triton.py"],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]


def test_one_launch_a_state() -> None:
    """In place where the class has no conflict, and nothing else but the nudge."""
    program, found = kernels("examples/hopfield_resnet13.yaml", "pair", "coloring")
    assert len(found) == 9
    counted = operations(program)
    assert counted["launch"] == 9
    assert not {"conv2d", "conv_transpose2d", "in_pieces", "total_pair", "matmul"} & set(counted)
    free, _ = kernels("examples/hopfield_resnet13.yaml", "free", "coloring")
    assert set(operations(free)) <= {"launch", *(f"s_{s}" for s in "xy"), "output"} | {
        str(node.target) for f in free.sweep for node in f.graph.nodes if node.op == "placeholder"
    }


def test_pooled_edges_are_left_alone() -> None:
    program, found = kernels("examples/vgg5.yaml", "free")
    assert operations(program)["max_pool2d_with_indices"] == 3
    assert all(kernel.update.rest <= 2 for kernel in found)


def test_kernels_compile_for_a_gpu() -> None:
    """With every choice of blocks: the compiler needs no device."""
    pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    _, found = kernels("examples/hopfield_resnet13.yaml", "pair")
    kernel = next(k for k in found if k.update.state == "h4b")
    made = _load(kernel.update.name, kernel.text)
    tensors = (*kernel.update.tensors, *(name for name in made.arg_names if name.startswith("weight_")))
    for blocks in CANDIDATES:
        fixed = {"PRECISION": "ieee", "BLOCK_M": blocks.m, "BLOCK_N": blocks.n, "BLOCK_K": blocks.k}
        types = {a: "constexpr" if a in fixed else "*bf16" if a in tensors else "i32" for a in made.arg_names}
        source = ASTSource(made, types, {(made.arg_names.index(a),): value for a, value in fixed.items()})
        options = {"num_warps": blocks.warps, "num_stages": blocks.stages}
        compiled = compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        assert "wgmma" in compiled.asm["ptx"], blocks


@pytest.mark.parametrize(
    ("dtype", "interpret", "reason"),
    [(torch.float32, "0", "run on CUDA devices, not on cpu"), (torch.float64, "1", "less than float64")],
)
def test_refused_by_name(dtype: torch.dtype, interpret: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", interpret)
    with pytest.raises(ep.EpgraphError, match=f"backend 'triton' cannot be used: .*{reason}"):
        ep.compile("examples/digits.yaml", backend="triton", dtype=dtype)


def test_no_emitted_module_has_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(ep.EpgraphError, match="no kernels of backend 'triton'"):
        module_text(ep.compile("examples/digits.yaml", backend="triton", dtype=torch.float32).machine)


def test_refused_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epgraph.compiler.triton_kernel.find_spec", lambda name: None)
    with pytest.raises(ep.EpgraphError, match="triton is not installed"):
        ep.compile("examples/digits.yaml", backend="triton")
