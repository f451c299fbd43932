"""Files, names and plugins that mean harm, or that went wrong: a message and exit code 1, and nothing else happens."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import epgraph as ep
from epgraph.cli import run
from epgraph.drawing.curves import curves, read_metrics

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
        ["check", "NET", "--plugin", "PIPE"],
        ["check", "INCLUDES"],
        ["gradcheck", "NET", "--data", "folder:PIPE"],
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
    paths = {"PIPE": pipe, "NET": net, "INCLUDES": includes}
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


# --set and other arguments


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("edges.².gain=1", "--set edges.².gain=1: there is no 'edges.²' in the file"),
        (f"edges.{'9' * 5000}.gain=1", "there is no 'edges.999"),
        (f"edges.{'9' * 5000}=1", "cannot be set"),
        (f"edges.{'9' * 9}.gain=1", "there is no 'edges[999999999]' in the file"),
        (f"learning.beta={'9' * 5000}", "a number of more than 400 digits"),
        ("a." * 3000 + "b=1", "more than 32 keys deep"),
        ("name=caf\udce9", r"--set name=caf\udce9: this is not UTF-8 text"),
        ("n\udce9me=1", r"--set n\udce9me=1: this is not UTF-8 text"),
        ("name=\x1b[2J\u202e=1", r"--set name:1:1: a character that YAML does not allow"),
    ],
    ids=lambda text: text[:30].encode("unicode_escape").decode(),
)
def test_assignments_that_mean_harm(assignment: str, said: str, net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = refused(["check", str(net), "--set", assignment], capsys)
    assert said in found
    assert len(found) < 2000


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "\udcff.yaml"],
        ["check", "NET", "--schedule", "\udcff"],
        ["check", "NET", "--plugin", "\udcff.py"],
        ["check", "NET", "--allow-include", "\udcff"],
        ["check", "NET", "--\udcff"],
        ["\udcff"],
        ["new", "--template", "\udcff"],
        ["new", "--\udcff", "1"],
        ["new", "--template", "ring", "--\udcff", "1"],
        ["new", "--template", "ring", "--states", "\udcff"],
        ["compile", "NET", "--device", "\udcff"],
        ["compile", "NET", "--backend", "\udcff"],
        ["compile", "NET", "--dtype", "\udcff"],
        ["gradcheck", "NET", "--data", "\udcff"],
        ["gradcheck", "NET", "--data", "folder:\udcff"],
        ["gradcheck", "NET", "--checkpoint", "\udcff"],
        ["eval", "\udcff", "--data", "digits"],
        ["tune", "NET", "--backend", "\udcff"],
        ["render", "NET", "-o", "\udcff"],
    ],
    ids=lambda given: " ".join(given).encode("unicode_escape").decode(),
)
def test_arguments_with_half_a_character(arguments: list[str], net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = refused([str(net) if part == "NET" else part for part in arguments], capsys)
    assert found
    assert all(line.isprintable() for line in found.splitlines())


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8"])
def test_any_encoding_of_the_terminal(encoding: str, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """σ and → are in messages: a terminal that has no such characters shows escapes."""
    name = "naïve σ → 🧠"
    net.write_text(NET.replace("name: net", f"name: {name}"), encoding="utf-8")
    for arguments in (
        ["check", str(net)],
        ["check", str(net), "--json"],
        ["expand", str(net)],
        ["compile", str(net)],
        ["check", str(net), "--set", "name=[ω]"],
        ["gradcheck", str(net), "--quick"],
    ):
        written = io.BytesIO(), io.BytesIO()
        # As Python opens them under PYTHONIOENCODING, errors and all.
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written[0], encoding=encoding))
        monkeypatch.setattr("sys.stderr", io.TextIOWrapper(written[1], encoding=encoding, errors="backslashreplace"))
        assert run(arguments) == (1 if "--set" in arguments else 0)
        sys.stdout.flush()
        out = written[0].getvalue()
        if "--json" in arguments:
            assert json.loads(out)["name"] == name
        elif arguments[0] == "expand":
            assert ep.load(out.decode()).name == name


# Names and paths


NASTY = "red \x1b[31m, \u202eback\u202c, bell \x07, c1 \x9b2J, line\nbreak\u2028two, \u200b, del \x7f"


def test_nothing_that_does_not_print_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / NASTY.replace("/", "")
    folder.mkdir()
    net, name = folder / "net.yaml", json.dumps(NASTY)
    net.write_text(NET.replace("name: net", f"name: {name}"), encoding="utf-8")
    (folder / "wrong.yaml").write_text(NET + f"{name}: 1\nlearning: {{beta: {name}}}\n", encoding="utf-8")
    (folder / "plugin.py").write_text(f"raise ValueError({name})", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    commands: list[list[str | Path]] = [
        ["check", net],
        ["check", net, "--json"],
        ["check", folder / "wrong.yaml"],
        ["check", folder / "wrong.yaml", "--json"],
        ["check", folder / NASTY],
        ["check", net, "--plugin", folder / "plugin.py"],
        ["check", net, f"--{NASTY}"],
        ["check", net, "--set", f"{NASTY}=1"],
        ["check", net, "--schedule", NASTY],
        ["expand", net],
        ["expand", net, "--json"],
        ["expand", net, "-o", folder / "flat.yaml"],
        ["expand", net, "--json", "-o", folder / "flat.json"],
        ["compile", net, "-o", folder / "net.py"],
        ["compile", net],
        ["render", net, "-o", folder / "net.svg"],
        ["new", "-o", net],
        ["new", "--template", NASTY],
        ["gradcheck", net, "--quick"],
        ["gradcheck", net, "--data", f"folder:{folder}"],
        ["gradcheck", net, "--checkpoint", folder],
        ["eval", folder, "--data", "digits"],
        ["tune", net, "--backend", "eager", "--batch", "2"],
        [NASTY],
    ]
    for command in commands:
        run([str(part) for part in command])
        out, err = capsys.readouterr()
        lines = (out + err).split("\n")
        assert all(line.isprintable() for line in lines), command
        # Nor does a line break in a name begin a line of its own.
        assert not any(line.startswith("break") for line in lines), command
        assert r"\x1b[31m" in out + err or r"\u001b[31m" in out + err or "compile" in command, command
    assert json.loads((folder / "flat.json").read_text(encoding="utf-8"))["architecture"]["name"] == NASTY
    assert ep.load(folder / "flat.yaml").name == ep.load(net).name == NASTY
    compile((folder / "net.py").read_text(encoding="utf-8"), "net.py", "exec")


def test_only_two_files_of_the_command_line_print() -> None:
    for path in sorted((ROOT / "epgraph" / "cli").glob("*.py")):
        if path.name not in ("output.py", "diagnostics.py"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"click\.s?echo\(|\bprint\(|std(out|err)\.write", text), path.name


# Writing


def inputs(net: Path) -> dict[str, Path]:
    """A network that includes a file, a plugin, and other names of each."""
    part, plugin = net.with_name("part.yaml"), net.with_name("plugin.py")
    part.write_text("training: {epochs: 7}\n", encoding="utf-8")
    plugin.write_text("x = 1\n", encoding="utf-8")
    net.write_text(NET + "include: [part.yaml]\n", encoding="utf-8")
    found = {"the file": net, "an include": part, "a plugin": plugin}
    for name, path in list(found.items()):
        link, hard = net.with_name(f"link-{path.name}"), net.with_name(f"hard-{path.name}")
        link.symlink_to(path)
        os.link(path, hard)
        found |= {
            f"a link to {name}": link,
            f"a hard link to {name}": hard,
            f"a detour to {name}": path.parent / ".." / path.parent.name / path.name,
            f"{name} from the current folder": Path(path.name),
        }
    return found


@pytest.mark.parametrize(
    "command",
    [
        ["compile", "NET", "--plugin", "PLUGIN"],
        ["expand", "NET", "--plugin", "PLUGIN"],
        ["expand", "NET", "--plugin", "PLUGIN", "--json"],
        ["render", "NET", "--plugin", "PLUGIN"],
        ["gradcheck", "NET", "--plugin", "PLUGIN"],
        ["schema", "--plugin", "PLUGIN"],
        ["new"],
    ],
    ids=" ".join,
)
def test_an_input_is_never_written_over(
    command: list[str], net: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(net.parent)
    found = inputs(net)
    before = {path: path.read_bytes() for path in found.values()}
    plugin = next(path for name, path in found.items() if name == "a plugin")
    for name, path in found.items():
        output = path
        if command[0] in ("render", "gradcheck"):
            # Which write by suffix: the input has to have theirs.
            output = path.with_name(path.stem + ".svg")
            output.unlink(missing_ok=True)
            os.link(path, output)
        read = [str(net) if part == "NET" else str(plugin) if part == "PLUGIN" else part for part in command]
        if command[0] == "schema" and "plugin" not in name:
            continue
        said = refused([*read, "-o", str(output)], capsys)
        assert "was read as an input" in said or "it is a link to" in said or command[0] == "new", name
        assert {path: path.read_bytes() for path in found.values()} == before
    assert not [path for path in net.parent.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("command", [["compile"], ["expand"], ["render"], ["gradcheck", "--quick"]])
@pytest.mark.parametrize("output", ["", ".", "..", "/", "folder", "folder/", "link", "dangling", "socket", "file/net"])
def test_paths_that_no_file_is_written_to(
    command: list[str], output: str, net: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(net.parent)
    Path("folder").mkdir()
    Path("file").write_text("mine", encoding="utf-8")
    Path("link").symlink_to("file")
    Path("dangling").symlink_to("nothing")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        before = sorted(os.listdir())
        refused([command[0], "net.yaml", *command[1:], "-o", output], capsys)
    assert sorted(os.listdir()) == before
    assert Path("file").read_text(encoding="utf-8") == "mine"


def test_what_is_not_read_is_written_and_a_link_is_named(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = net.with_name("flat.yaml")
    for _ in range(2):
        assert run(["expand", str(net), "-o", str(output)]) == 0
    link = net.with_name("link.yaml")
    link.symlink_to(output)
    capsys.readouterr()
    assert refused(["expand", str(net), "-o", str(link)], capsys) == (
        f"{link}: cannot be written: it is a link to {output}; name the file itself\n"
    )


def test_devices_and_pipes_are_written_to(net: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["expand", str(net), "-o", "/dev/null"]) == 0
    assert Path("/dev/null").is_char_device()
    capfd.readouterr()
    assert refused(["expand", str(net), "-o", "/dev/full"], capfd).startswith(
        "/dev/full: cannot be written: No space left on device"
    )
    made = subprocess.run(
        [sys.executable, "-c", "from epgraph.cli import main; main()", "expand", net, "-o", "/dev/stdout"],
        capture_output=True,
        check=True,
    )
    assert made.stdout.startswith(b"# Written out by")


GIANT = """\
epgraph: 2
input: {shape: [1, 8, 8]}
output: {classes: 10}
states: {a: {shape: [1000000]}, b: {shape: [1000000]}}
edges: [{from: x, to: a, dense: {}}, {from: a, to: b, dense: {}}, {from: b, to: y, dense: {}}]
"""


@pytest.mark.parametrize("command", ["train NET --data digits", "tune NET", "gradcheck NET", "compile NET"])
def test_giant_networks_are_refused_with_their_size(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "giant.yaml").write_text(GIANT, encoding="utf-8")
    assert run(command.replace("NET", "giant.yaml").split()) == 1
    said = capsys.readouterr().err
    assert "the network is too large for cpu: 1,000,076,000,010 parameters" in said
    assert "GiB are free; use fewer channels" in said
    assert [path.name for path in tmp_path.iterdir()] in (
        ["giant.yaml"],
        ["runs", "giant.yaml"],
        ["giant.yaml", "runs"],
    )
    assert not list(tmp_path.glob("runs/*"))
    assert run(["check", "giant.yaml"]) == 0
