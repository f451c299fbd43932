"""Files, names and plugins that mean harm, or that went wrong: a message and exit code 1, and nothing else happens."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

import epgraph as ep
from epgraph.cli import run
from epgraph.draw.curves import curves, read_metrics

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits.yaml"

NET = """\
epgraph: 2
name: net
input:  {name: x, shape: [4]}
output: {name: y, classes: 2}
states: {h: {shape: [4]}}
edges: [{from: x, to: h, dense: {}}, {from: h, to: y, dense: {}}]
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "nets" / "net.yaml"
    path.parent.mkdir()
    path.write_text(NET, encoding="utf-8")
    return path


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that ends with 1, in a second or two and without a traceback."""
    started = time.monotonic()
    assert run(arguments) == 1
    assert time.monotonic() - started < 20
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert "internal error" not in err
    return out + err


# Reading


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "PIPE"],
        ["expand", "PIPE"],
        ["render", "PIPE", "-o", "net.svg"],
        ["compile", "PIPE"],
        ["upgrade", "PIPE"],
        ["check", "NET", "--plugin", "PIPE"],
        ["check", "INCLUDES"],
        ["gradcheck", "NET", "--data", "folder:PIPE"],
        ["gradcheck", "IMAGES", "--data", "folder:DATA", "--quick"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("what", ["a pipe", "a device"])
def test_pipes_and_devices_are_not_read(
    what: str, arguments: list[str], net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = tmp_path / "pipe"
    if what == "a pipe":
        os.mkfifo(pipe)
    else:
        pipe.symlink_to("/dev/zero")
    includes = net.with_name("includes.yaml")
    includes.write_text(NET + "include: [part.yaml]\n", encoding="utf-8")
    os.symlink(pipe, net.with_name("part.yaml"))
    images = net.with_name("images.yaml")
    images.write_text(NET.replace("[4]}\no", "[1, 2, 2]}\no"), encoding="utf-8")
    for part in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / "data" / part / label).mkdir(parents=True)
            (tmp_path / "data" / part / label / "0.png").symlink_to(pipe)
    paths = {"PIPE": pipe, "NET": net, "INCLUDES": includes, "DATA": tmp_path / "data", "IMAGES": images}
    given = arguments
    for word, path in paths.items():
        given = [part.replace(word, str(path)) for part in given]
    if "INCLUDES" in arguments:
        given += ["--allow-include", "/dev" if what == "a device" else str(tmp_path)]
    said = refused(given, capsys)
    assert f"it is {what}" in said


def test_a_network_is_not_read_from_standard_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(["check", "-"], capsys) == (
        "a network is not read from standard input; save it to a file and give its path\n"
    )


def test_a_large_plugin_is_not_read(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "large.py"
    with plugin.open("wb") as file:
        file.truncate(2**40)
    assert "it is larger than 8 MiB" in refused(["check", str(net), "--plugin", str(plugin)], capsys)


def test_metrics_that_mean_harm(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    good = json.dumps({"epoch": 1, "train_loss": 0.5})
    bad = [
        "[" * 100_000,
        '{"epoch": ' + "9" * 5000 + "}",
        '{"epoch": ' + "9" * 400 + "}",
        '{"epoch": 1e300}',
        '{"epoch": NaN}',
        '{"epoch": "\\ud800"}',
        '{"epoch": 2, "train_loss": ' + "9" * 400 + "}",
    ]
    path.write_bytes("\n".join([good, *bad]).encode() + b"\n\xff\xfe\n")
    assert list(read_metrics(path)) == [1, 2]
    assert curves(path, tmp_path / "curves.svg").exists()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ep.EpgraphError, match="it is a pipe"):
        read_metrics(path)


# include


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file beside the folder of the network, which holds no YAML of ours."""
    path = tmp_path / "secret.txt"
    path.write_text("password: hunter2\nother: [", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "given", ["../secret.txt", "ABSOLUTE", "link.yaml", "linked/secret.txt", "sub/../../secret.txt"]
)
@pytest.mark.parametrize("nested", [False, True])
def test_an_include_from_outside_is_refused_unread(
    given: str, nested: bool, net: Path, secret: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = given.replace("ABSOLUTE", str(secret))
    net.with_name("link.yaml").symlink_to(secret)
    net.with_name("linked").symlink_to(secret.parent)
    net.with_name("sub").mkdir()
    line = f"include: [{given}]\n"
    if nested:
        net.with_name("part.yaml").write_text(line, encoding="utf-8")
        line = "include: [part.yaml]\n"
    net.write_text(NET + line, encoding="utf-8")
    for _ in ("with the file", "and without, which must not make a difference"):
        said = refused(["check", str(net)], capsys)
        assert f"'{given}' cannot be included: it is outside of {net.parent}" in said
        assert "hunter2" not in said
        assert "password" not in said
        secret.unlink(missing_ok=True)


def test_a_folder_that_is_allowed(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "training.yaml").write_text("training: {epochs: 7}\ninclude: [more.yaml]\n", encoding="utf-8")
    (shared / "more.yaml").write_text("learning: {beta: 0.3}\n", encoding="utf-8")
    net.write_text(NET + "include: [../shared/training.yaml]\n", encoding="utf-8")
    refused(["check", str(net)], capsys)
    with pytest.raises(ep.EpgraphError, match="outside of"):
        ep.load(net, allow_include=[tmp_path / "nets"])
    for allowed in (shared, tmp_path, str(shared)):
        architecture = ep.load(net, allow_include=[allowed])
        assert (architecture.training.epochs, architecture.learning.beta) == (7, 0.3)
    allow = ["--allow-include", str(shared)]
    assert run(["check", str(net), *allow]) == 0
    assert run(["expand", str(net), *allow]) == 0
    assert run(["compile", str(net), *allow]) == 0
    assert run(["render", str(net), *allow, "-o", str(tmp_path / "net.dot")]) == 0
    capsys.readouterr()
    assert "does not exist" in refused(["check", str(net), "--allow-include", str(tmp_path / "no")], capsys)


def test_below_the_folder_of_the_file_is_inside(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sub = net.with_name("sub")
    sub.mkdir()
    (sub / "a.yaml").write_text("include: [../b.yaml]\n", encoding="utf-8")
    net.with_name("b.yaml").write_text("training: {epochs: 7}\n", encoding="utf-8")
    net.write_text(NET + "include: [sub/a.yaml]\n", encoding="utf-8")
    monkeypatch.chdir(net.parent)
    for given in (net, "net.yaml", "./net.yaml", "sub/../net.yaml", NET + "include: [sub/a.yaml]\n"):
        assert ep.load(given).training.epochs == 7
