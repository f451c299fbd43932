"""``check`` on a terminal, and ``--watch``: tables that fold, colors where they are wanted, and saved files."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

import epgraph as ep
from epgraph.cli import run
from epgraph.files import tracing_inputs
from epgraph.lowering import depicted
from epgraph.terminal import MOST_ROWS, show_check
from tests.helpers.networks import RING

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "epgraph"]


def shown(report: dict[str, Any], width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None, highlight=False)
    show_check(report, console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def report(text: str | Path, *overrides: str) -> dict[str, Any]:
    found = ep.check(text, overrides).report
    assert found is not None
    return found


def squeezed(text: str) -> str:
    """A text without what a folding puts between its characters."""
    return re.sub(r"[\s─]", "", text)


@pytest.mark.parametrize("width", [60, 80, 160])
@pytest.mark.parametrize("name", ["hopfield_resnet13", "u12", "digits"])
def test_tables_fold_and_nothing_is_cut(name: str, width: int) -> None:
    values = report(ROOT / "examples" / f"{name}.yaml")
    text = shown(values, width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "…" not in text
    for edge in values["edges"]:
        assert f"\n{edge['name']} " in text
        assert f" {edge['macs']:,}" in text
    (rows,) = re.findall(r"\nstate .*?\n\n", text, flags=re.DOTALL)
    for state in values["states"]:
        assert f"\n{state['name']} " in rows
        assert "×".join(map(str, state["shape"])) in rows
        assert all(other in rows for other in (*state["pre"], *state["post"]))
    for sentence in values["guarantees"]:
        assert squeezed(sentence) in squeezed(text)
    assert f"{values['parameters']:,}" in text
    assert text.count(", same") == len(values["schedule"]["conflicts"])


def test_long_names_fold_too() -> None:
    long = "a" + "bc" * 31
    data = json.loads(json.dumps(RING).replace('"a"', f'"{long}"'))
    text = shown(report(json.dumps(data)), 60)
    assert max(map(cell_len, text.splitlines())) <= 60
    (rows,) = re.findall(r"\nstate .*?\n\n", text, flags=re.DOTALL)
    head, _, *below = rows.strip().splitlines()
    assert "".join(line[: head.index("shape")].strip() for line in below) == f"x{long}bcdy"
    assert "…" not in text


def test_long_tables_say_what_they_leave_out() -> None:
    values = report(str(ep.to_yaml(ep.topologies.residual_chain(depth=300))))
    text = shown(values, 100)
    states, edges = len(values["states"]), len(values["edges"])
    assert f"… {states - MOST_ROWS:,} more; " in text
    assert f"… {edges - MOST_ROWS:,} more; " in text
    assert "\nh300 " in text
    assert "\nh150 " not in text
    assert len(ep.check(ep.topologies.residual_chain(depth=300)).lines()) > states + edges


def test_names_are_no_markup() -> None:
    text = shown(report(json.dumps({**RING, "name": "[red]n[/red] :smile: \x1b[31m"})), 80)
    assert text.startswith("[red]n[/red] :smile: \\x1b[31m\n")


@contextmanager
def on_terminal(*arguments: str, **environment: str) -> Iterator[int]:
    """Run a command whose streams are a terminal of 70 columns; yields what reads from it."""
    leader, follower = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM", "FORCE_COLOR")}
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env={**plain, "TERM": "xterm-256color", "COLUMNS": "70", **environment},
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    try:
        yield leader
    finally:
        process.wait(timeout=30)
        os.close(leader)


def read_all(leader: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts).decode().replace("\r\n", "\n")


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_has_tables_and_colors_where_they_are_wanted(environment: dict[str, str]) -> None:
    with on_terminal("check", "examples/digits.yaml", **environment) as leader:
        text = read_all(leader)
    colored = bool(re.search(r"\x1b\[[0-9;]*3[0-9]", text))
    assert colored == (not environment)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "─────" in plain
    assert max(map(cell_len, plain.splitlines())) <= (80 if "TERM" in environment else 70)
    assert "32×32×3×3" in plain


def test_without_a_terminal_the_text_is_plain(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = str(ROOT / "examples" / "digits.yaml")
    assert run(["check", file, "--batch", "8"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines() == ep.check(file, batch=8).lines()
    assert "\x1b" not in out
    assert "─" not in out


def test_check_does_not_load_rich_without_a_terminal() -> None:
    code = (
        "from epgraph.cli import run; import sys; run(['check', 'examples/digits.yaml'])\n"
        "assert not {'rich', 'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


def test_a_network_by_backprop_has_the_steps_of_a_forward_pass() -> None:
    """The figures that ``render`` and ``explore`` show."""
    file, backprop = ROOT / "examples" / "digits.yaml", ["learning.estimator=backprop"]
    shown_pass = depicted(ep.build(ep.load(file, backprop)), "coloring")
    result = ep.check(file, backprop)
    assert result.report is not None
    assert result.report["one_pass"]
    for text in ("\n".join(result.lines()), shown(result.report, 160)):
        assert "backpropagation: one forward pass, 5 steps" in text
        assert f"{shown_pass.macs_per_sweep():,}" in text
        assert re.search(r"^state .* step ", text, flags=re.MULTILINE)
        assert "MACs a pass of a batch" in text
        assert not re.search("class|coloring|sweep", text)
    assert "one_pass" not in report(file)


def test_a_run_is_not_told_which_of_its_settings_have_no_effect(tmp_path: Path) -> None:
    text = (ROOT / "examples" / "digits.yaml").read_text().replace("centered", "backprop")
    (tmp_path / "architecture.yaml").write_text(text)
    assert [d.rule for d in ep.check(tmp_path).diagnostics] == ["no-effect"] * 4
    (tmp_path / "run.json").write_text("{}")
    assert ep.check(tmp_path).diagnostics == ep.check(tmp_path / "architecture.yaml").diagnostics == ()
    # What is asked for now is another matter.
    (said,) = ep.check(tmp_path, ["learning.beta=0.5"]).diagnostics
    assert "'beta' has no effect" in said.message


# Memory and time


def test_memory_and_time_are_those_of_a_batch() -> None:
    file = ROOT / "examples" / "mlp.yaml"
    graph = ep.build(ep.load(file))
    units = sum(state.units for state in graph.states.values())
    found = report(file)["resources"]
    assert found["batch"] == graph.architecture.training.batch_size
    assert found["parameter_bytes"] == 4 * 3 * graph.parameters()
    assert found["state_bytes"] == 4 * 2 * found["batch"] * units
    assert (found["macs"], found["measured"]) == (found["batch"] * report(file)["macs_per_sweep"], None)
    lines = ep.check(file, batch=7).lines()
    assert " and work space for a batch of 7 in float32: " in lines[-2]
    one_pass = report(file, "learning.estimator=backprop")["resources"]
    assert 2 * one_pass["state_bytes"] == found["state_bytes"], "no nudged phases"
    assert lines[-1].endswith(" a sweep of a batch of 7; no time is known: 'epgraph tune' measures one")
    with pytest.raises(ep.EpgraphError, match="batch must be at least 1"):
        ep.check(file, batch=0)


def test_time_is_that_of_the_last_measurement(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = str(ROOT / "examples" / "mlp.yaml")
    tuned = ep.tune(file, batch=4, backends=["eager"], device="cpu")
    assert tuned.record is not None
    with tracing_inputs() as seen:
        measured = report(file)["resources"]["measured"]
    assert list(seen) == [file], "a record is no file to watch"
    best = tuned.timings[0]
    assert (measured["sweep"], measured["iteration"], measured["batch"]) == (best.sweep, best.iteration, 4)
    assert "estimated in proportion to a batch of 4, as 'epgraph tune' measured on 2" in ep.check(file).lines()[-1]
    assert "estimated" not in ep.check(file, batch=4).lines()[-1]
    assert report(file, "dynamics.schedule=synchronous")["resources"]["measured"] is None, "another network"
    content = json.loads(tuned.record.read_text())
    tuned.record.write_text(json.dumps({**content, "device": "another processor"}))
    assert report(file)["resources"]["measured"] is None
    tuned.record.write_text("{")
    assert report(file)["resources"]["measured"] is None


# --watch


class Watching:
    """A command that watches, whose streams are read as it writes them."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [*COMMAND, *arguments, "--watch"],
            cwd=cwd,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def until(self, text: str, seconds: float = 30.0) -> str:
        """Read until a text comes, and return all up to there."""
        assert self.process.stdout is not None
        descriptor, found, deadline = self.process.stdout.fileno(), b"", time.monotonic() + seconds
        while text not in found.decode(errors="replace"):
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} in {found.decode(errors='replace')!r}"
            if select.select([descriptor], [], [], left)[0]:
                part = os.read(descriptor, 65536)
                assert part, f"it ended: {found.decode(errors='replace')!r}"
                found += part
        return found.decode()

    def interrupt(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        rest = self.process.communicate(timeout=30)[0].decode()
        return self.process.returncode, rest


@pytest.fixture
def included(tmp_path: Path) -> Path:
    """A network whose states are in another file."""
    data = {key: value for key, value in RING.items() if key != "states"}
    (tmp_path / "states.yaml").write_text(json.dumps({"states": RING["states"]}))
    (tmp_path / "net.yaml").write_text(json.dumps({**data, "include": ["states.yaml"]}))
    return tmp_path


def test_check_watches_the_file_and_what_it_includes(included: Path) -> None:
    watching = Watching("check", "net.yaml", cwd=included)
    try:
        assert "parameters " in watching.until("watching 2 files")
        states = included / "states.yaml"
        good = states.read_text()
        states.write_text(good.replace('"channels": 3', '"channels": 0', 1))
        said = watching.until("watching 2 files")
        assert "states.yaml was saved" in said
        assert "states.yaml:1:" in said
        assert "parameters " not in said
        # As editors save: a new file takes the place of the old one.
        (included / "new").write_text(good)
        os.replace(included / "new", states)
        assert "parameters " in watching.until("watching 2 files")
        net = included / "net.yaml"
        net.write_text(net.read_text().replace("states.yaml", "later.yaml"))
        assert "there is no such file" in watching.until("watching 2 files")
        states.rename(included / "later.yaml")
        assert "parameters " in watching.until("watching 2 files")
        code, rest = watching.interrupt()
        assert (code, rest.strip()) == (130, "epgraph: interrupted")
    finally:
        watching.process.kill()


def test_render_draws_again_and_survives_mistakes(included: Path) -> None:
    watching = Watching("render", "net.yaml", "-o", "net.svg", cwd=included)
    try:
        assert "net.svg\n" in watching.until("watching 2 files")
        first = (included / "net.svg").read_text()
        net = included / "net.yaml"
        good = net.read_text()
        net.write_text("epgraph: [")
        assert "this is not YAML" in watching.until("watching 1 file;")
        assert (included / "net.svg").read_text() == first
        net.write_text(good.replace('"name": "ring"', '"name": "another"'))
        assert "net.svg\n" in watching.until("watching 2 files")
        assert ">another<" in (included / "net.svg").read_text()
        assert watching.interrupt()[0] == 130
    finally:
        watching.process.kill()
