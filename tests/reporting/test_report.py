"""Reports of small runs: what is in them is what the other functions say, and what cannot be there says why."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import re
import shutil
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from PIL import Image

import epgraph as ep
from epgraph.cli import run
from epgraph.reporting.parts import PARTS
from epgraph.reporting.runs import read_all, representatives
from tests.helpers.pages import Page
from tests.helpers.pictures import image_bytes, write_directory
from tests.helpers.runs import NET
from tests.helpers.sweeps import BRANCHED, sweep

HOSTILE = "<script>alert(1)</script> & $x$ | _*@all*_ \\"
TITLES = [part.title for part in PARTS]


def train(source: str, out: Path, data: Any = "digits", **options: Any) -> Path:
    """Train one epoch without pictures."""
    given = {"limit": 170, "epochs": 1, "pictures": False, "histograms": False, "threads": 1, "warn": lambda _: None}
    ep.train(source, data, out=out, **{**given, **options})
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs by EP and by backpropagation on one wiring, and one of another wiring whose name is hostile."""
    root = tmp_path_factory.mktemp("report")
    train(NET, root / "ep", epochs=2)
    train(NET, root / "bp", overrides=["learning.estimator=backprop"])
    train(BRANCHED.replace("name: tiny", f"name: {json.dumps(HOSTILE.replace('$', '$$'))}"), root / "odd")
    return root


def made(folder: Path, path: Path, *names: str, **options: Any) -> tuple[ep.ReportResult, Page]:
    result = ep.report([folder / name for name in names], path, **{"threads": 1, "figures": False, **options})
    return result, Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def whole(folder: Path) -> tuple[ep.ReportResult, Page]:
    """The page about all three runs."""
    return made(folder, folder / "report.html", "ep", "bp", "odd")


@pytest.fixture(scope="module")
def written(folder: Path) -> ep.ReportResult:
    """The report of the hostile run as Markdown, with its figures."""
    return ep.report(folder / "odd", folder / "a report.md", gradients=0, threads=1)


# What is in it


def test_every_section_is_there_in_its_order(whole: tuple[ep.ReportResult, Page]) -> None:
    result, page = whole
    assert page.sections == TITLES
    # Backpropagation on the Hopfield energy has no gradient at an equilibrium: the only thing that is not there.
    assert [(one.section, one.run) for one in result.missing] == [("Gradients", page.table("Runs")[2][0])]
    assert len(page.missing) == 1
    assert "estimator backprop is the gradient of the feed-forward network" in page.missing[0]
    assert [path.name for path in result.runs] == ["ep", "bp", "odd"]
    assert result.bytes == len(page.text.encode()) < 3 << 20


def test_tables_are_what_the_functions_say(folder: Path, whole: tuple[ep.ReportResult, Page]) -> None:
    _, page = whole
    compared = ep.compare([folder / name for name in ("ep", "bp", "odd")])
    assert page.table("Last epoch of each setting")[1:] == compared.rows()[1:]
    differing = {key: values for key, *values in page.table("Keys that differ")[1:]}
    assert differing == {key: list(values) for key, values in compared.differing.items()}
    found = ep.evaluate(folder / "ep")
    confusion = page.tables["Confusion matrix: rows are true classes, columns predicted ones"][0]
    assert [list(map(int, row[3:])) for row in confusion[1:]] == [list(row) for row in found.confusion or ()]
    assert [row[1] for row in confusion[1:]] == [f"{share:.1%}" for share in found.class_accuracy if share is not None]
    engine = ep.load_run(folder / "ep", dtype=torch.float64).engine
    agreement = ep.gradcheck(engine, examples=4, quick=True).report["agreement"]["estimator_implicit"]
    gradients = page.tables["Gradient of 'centered' against the implicit one, by parameter"][0]
    assert {row[0]: row[1] for row in gradients[2:]} == {
        name: f"{a['cosine']:.4f}" for name, a in agreement.items() if name != "all"
    }
    settled = ep.converge(folder / "ep")
    phases = page.tables["End of each phase"][0]
    assert [row[0] for row in phases[1:]] == list(settled.phases) == ["free", "+β", "−β"]
    assert [row[4] for row in phases[1:]] == [f"{phase.residual[-1]:.1e}" for phase in settled.phases.values()]


def test_weights_stand_beside_those_of_backpropagation(folder: Path, whole: tuple[ep.ReportResult, Page]) -> None:
    _, page = whole
    both, alone = page.tables["Share of near-zero weights (|w| < 0.01), and standard deviation"]
    for row in both[1:-1]:
        for column, name in ((2, "ep"), (4, "bp")):
            weight = ep.load_run(folder / name).engine.state_dict()[f"edges.{row[0]}.weight"]
            small = sum(abs(value) < 0.01 for value in weight.flatten().tolist())
            assert row[column] == f"{small / weight.numel():.1%}"
    assert [row[0] for row in both[1:]] == ["x_h1", "h1_h2", "h2_y", "all"]
    assert len(alone[0]) == 4, "another wiring is a table of its own"
    assert f"beside backpropagation on the same wiring (“{escape(page.table('Runs')[2][0])}”)" in page.text


def test_best_and_worst_images_are_those_of_the_data(folder: Path, whole: tuple[ep.ReportResult, Page]) -> None:
    _, page = whole
    engine = ep.load_run(folder / "ep").engine
    test = ep.load_data(engine.architecture).test
    examples = [test[i] for i in range(len(test))]
    x, y = torch.stack([one for one, _ in examples]), torch.tensor([label for _, label in examples])
    scores = torch.cat([engine.predict(part).states["y"] for part in x.split(50)])
    expected = []
    for row, label, image in zip(scores.tolist(), y.tolist(), x, strict=True):
        others = max(score for i, score in enumerate(row) if i != label)
        expected.append((row[label] - others, label, image[0].mul(255).round().byte().numpy()))
    shown = [attributes for tag, attributes in page.elements if tag == "img"][:24]
    ranked = sorted(expected, key=lambda one: one[0])
    wrong = [one for one in ranked if one[0] < 0][:12]
    best = ranked[::-1][:12]
    assert len(shown) == len(best) + len(wrong) == 24
    for (_, label, image), attributes in zip([*best, *wrong], shown, strict=True):
        pixels = Image.open(io.BytesIO(base64.b64decode(attributes["src"].partition(",")[2])))
        assert np.array_equal(np.array(pixels), image)
        assert attributes["alt"].startswith(f"{label} → ")
    assert all(one["alt"][0] == one["alt"][4] for one in shown[:12])
    assert all(one["alt"][0] != one["alt"][4] for one in shown[12:])


def test_settings_and_origin_are_those_of_the_record(folder: Path, whole: tuple[ep.ReportResult, Page]) -> None:
    _, page = whole
    record = json.loads((folder / "ep" / "run.json").read_text())
    label = page.table("Runs")[1][0]
    settings = dict(page.table(f"Settings of {label}"))  # type: ignore[arg-type]
    assert settings["learning.beta"] == "0.2"
    assert settings["training.epochs"] == str(record["settings"]["training"]["epochs"])
    origin = dict(page.table(f"Origin of {label}"))  # type: ignore[arg-type]
    assert origin["data sha256"] == record["data"]["sha256"]
    assert origin["version of torch"] == record["history"][0]["versions"]["torch"]
    cost = page.table("Time and memory")[1]
    assert cost[2] == "2"


# One file, whatever names are in it


def test_a_page_is_one_file_without_code(whole: tuple[ep.ReportResult, Page]) -> None:
    _, page = whole
    assert not {"script", "iframe", "object", "embed", "link", "foreignobject"} & {tag for tag, _ in page.elements}
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcset")], tag
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,")), (tag, attributes)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [attributes["href"][1:] for _, attributes in page.elements if attributes.get("href", "").startswith("#")]
    targets += re.findall(r"url\(#([^)]+)\)", page.text)
    assert set(targets) <= set(ids)
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    (style,) = re.findall(r"<style>(.*?)</style>", page.text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")


def test_names_are_text_and_never_markup(whole: tuple[ep.ReportResult, Page], written: ep.ReportResult) -> None:
    _, page = whole
    assert "<script" not in page.text
    assert any(level == 3 and text.startswith(f"{HOSTILE}: estimator=") for level, text in page.headings)
    assert written.figures is not None
    figures = [path.read_text(encoding="utf-8") for path in written.figures.glob("*.svg")]
    assert len(figures) > 5
    assert not any("<script" in figure for figure in figures)


def test_who_does_not_see_it_is_told(whole: tuple[ep.ReportResult, Page]) -> None:
    _, page = whole
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    drawings = [attributes for _, attributes in page.elements if attributes.get("role") == "img"]
    assert len(drawings) == sum(tag == "svg" for tag, _ in page.elements) > 5
    assert all(len(one["aria-label"]) > 20 for one in drawings)
    assert all(attributes["alt"] for tag, attributes in page.elements if tag == "img")
    count = {tag: sum(tag == one for one, _ in page.elements) for tag in ("table", "caption")}
    assert count["table"] == count["caption"]
    assert {a.get("scope") for tag, a in page.elements if tag == "th"} == {"col", "row"}


def test_figures_are_beside_it_for_papers(written: ep.ReportResult) -> None:
    assert written.figures == written.path.with_name("a report.md-figures")
    links = re.findall(r"!\[[^\n]*\]\(([^)]+)\)", written.path.read_text(encoding="utf-8"))
    stems = {Path(unquote(link)).stem for link in links}
    assert {f"a report.md-figures/{stem}.png" for stem in stems} == {unquote(link) for link in links}
    assert {path.name for path in written.figures.iterdir()} == {f"{s}.{end}" for s in stems for end in ("png", "svg")}
    assert {"network-1", "learning", "weights-1", "settling-1", "batches-1", "best-1", "worst-1", "cost"} < stems
    assert all(Image.open(path).size[0] > 200 for path in written.figures.glob("*.png"))


def test_markdown_has_the_same_tables(whole: tuple[ep.ReportResult, Page], written: ep.ReportResult) -> None:
    _, page = whole
    text = written.path.read_text(encoding="utf-8")
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == TITLES
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#36;x&#36; \\| \\_\\*&#64;all\\*\\_ \\\\" in text
    alone = page.tables["Share of near-zero weights (|w| < 0.01), and standard deviation"][1]
    for row in alone[1:]:
        assert f"| {' | '.join(row)} |".replace("_", "\\_") in text


# What cannot be there says why


def unfinished(out: Path) -> None:
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**record, "finished": False}))


def never_began(out: Path) -> None:
    unfinished(out)
    for name in ("metrics.jsonl", "batches.jsonl", "last.pt", "best.pt"):
        (out / name).unlink()


def without_data(out: Path) -> None:
    unfinished(out)
    record = json.loads((out / "run.json").read_text())
    section = {"name": "mnist", "root": str(out / "nowhere")}
    record["settings"]["data"] |= section
    record["settings"]["input"]["shape"] = [1, 28, 28]
    (out / "run.json").write_text(json.dumps(record))


def damaged(out: Path) -> None:
    (out / "last.pt").write_bytes(b"no checkpoint")
    (out / "batches.jsonl").write_text('{"epoch": 1, "batch": 1, "free_steps"\n[1]\n')


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (
            never_began,
            {
                "Learning curves": "no epoch",
                "Weights": "there is no checkpoint",
                "Equilibrium": "last.pt|batches.jsonl",
                "Gradients": "there is no checkpoint",
                "Predictions": "there is no checkpoint",
                "Time and memory": "no run has finished an epoch",
            },
        ),
        (without_data, {"Predictions": "MNIST|mnist"}),
        (damaged, {"Weights": "damaged", "Equilibrium": "no batch", "Gradients": "damaged", "Predictions": "damaged"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_made_says_why_and_spoils_nothing(
    change: Callable[[Path], None], reasons: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "ep", tmp_path / "run")
    change(tmp_path / "run")
    result, page = made(tmp_path, tmp_path / "report.html", "run", gradients=1, examples=4)
    assert page.sections == TITLES
    found = {one.section: one.reason for one in result.missing}
    for section, reason in ({"Comparison": "nothing to be compared with"} | reasons).items():
        assert re.search(reason, found[section]), (section, found)
    assert found.keys() == {"Comparison", *reasons}
    assert page.table("Origin of each run")[1][0] == "tiny"
    state = page.table("Runs")[1][2]
    expected = {"without_data": "not finished: 2 of 2 epochs", "never_began": "not finished: 0 of 2 epochs"}
    assert state == expected.get(change.__name__, "finished")


def test_targets_that_are_no_labels_and_inputs_that_are_no_images(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = generator.random((60, 6), dtype=np.float32)
    np.savez(tmp_path / "to-vectors.npz", x_train=x, y_train=x[:, :3], x_test=x[:9], y_test=x[:9, :3])
    labels = generator.integers(0, 25, 60)
    np.savez(tmp_path / "to-labels.npz", x_train=x, y_train=labels, x_test=x, y_test=labels)
    for name, output in (("to-vectors", "{shape: [3], cost: squared_error}"), ("to-labels", "{classes: 25}")):
        text = (
            f"epgraph: 2\nname: {name}\ninput: {{shape: [6]}}\noutput: {output}\nstates: {{h: {{shape: [5]}}}}\n"
            "edges: [{from: x, to: h, dense: {}}, {from: h, to: y, dense: {}}]\nenergy: predictive\n"
            "learning: {beta: 0.05}\ntraining: {epochs: 1}\n"
        )
        train(text, tmp_path / name, f"tensors:{tmp_path / name}.npz", limit=60)
    result, page = made(tmp_path, tmp_path / "report.html", "to-vectors", "to-labels", gradients=2, examples=4)
    assert [one.section for one in result.missing] == ["Predictions", "Predictions"]
    assert "the targets are no labels" in result.missing[0].reason
    assert "the examples are no images" in result.missing[1].reason
    # Not every run has an error, so the losses are compared.
    assert page.table("Last epoch of each setting")[0][2] == "test loss"
    # With 25 classes the matrix is a picture, beside the classes that are confused most often.
    confusion = ep.evaluate(tmp_path / "to-labels").confusion or ()
    wrong = max(n for i, row in enumerate(confusion) for j, n in enumerate(row) if i != j)
    assert page.table("Most frequent confusions")[1][2] == str(wrong)
    assert len(page.table("Accuracy of each class")) == 26


def test_images_in_color_and_classes_with_hostile_names(tmp_path: Path) -> None:
    names = ("<b>one", "two&$")
    files = {
        f"{part}/{label}/{i}.png": image_bytes(seed=10 * n + i)
        for part in ("train", "test")
        for n, label in enumerate(names)
        for i in range(4)
    }
    write_directory(tmp_path / "images", files)
    net = NET.replace("[1, 8, 8]", "[3, 8, 8]").replace("classes: 10", "classes: 2")
    train(net, tmp_path / "run", f"folder:{tmp_path / 'images'}")
    _, page = made(tmp_path, tmp_path / "report.html", "run", gradients=0, examples=2)
    assert "<b>" not in page.text
    confusion = page.table("Confusion matrix")
    assert confusion[0][3:] == sorted(names)
    stored = [np.array(Image.open(io.BytesIO(content))) for name, content in files.items() if name.startswith("test")]
    shown = [a for tag, a in page.elements if tag == "img"]
    assert len(shown) == 8
    for attributes in shown:
        pixels = np.array(Image.open(io.BytesIO(base64.b64decode(attributes["src"].partition(",")[2]))))
        assert any(np.array_equal(pixels, one) for one in stored)


def test_a_sweep_whose_trials_are_not_all_there(tmp_path: Path) -> None:
    found = sweep(tmp_path / "sweep", epochs=1, limit=60)
    assert found.comparison is not None
    runs, comparison, notes = read_all([tmp_path / "sweep"], "test_error")
    assert [(one.label, one.seed) for one in runs] == [("whole", 0), ("less", 0), ("whole", 1), ("less", 1)]
    assert (comparison, notes) == (found.comparison, [])
    assert [(one.label, one.seed) for one in representatives(runs)] == [("whole", 0), ("less", 0)]
    # One trial was deleted, and one is damaged: the others are reported.
    shutil.rmtree(runs[0].folder)
    (runs[3].folder / "run.json").write_text("{")
    result, page = made(tmp_path, tmp_path / "report.html", "sweep", gradients=0, examples=2)
    assert [row[:2] for row in page.table("Runs")[1:]] == [["less", "0"], ["whole", "1"]]
    assert [one.section for one in result.missing] == ["Comparison", "Gradients", "Gradients"]
    assert "The runs cannot be compared" in result.missing[0].reason
    assert f"Left out: {runs[3].folder / 'run.json'}: damaged" in page.text


# The command, and misuse


def test_the_command_prints_what_the_function_returns(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = tmp_path / "run"
    shutil.copytree(folder / "ep", begun)
    never_began(begun)
    for out in (tmp_path / "r.html", tmp_path / "r.md"):
        command = ["report", str(begun), "-o", str(out), "--no-figures", "--no-gradients", "--threads", "1"]
        assert run([*command, "--json"]) == 0
        printed = json.loads(capsys.readouterr().out)
        result = ep.report(begun, out, figures=False, gradients=0, threads=1)
        assert {**printed, "seconds": 0} == {**json.loads(json.dumps(result.to_dict())), "seconds": 0}
        assert run(command) == 0
        assert capsys.readouterr().out.splitlines()[1:] == result.lines()[1:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.html", "r.md", "run"]


def test_misuse_is_refused_before_anything_is_computed(folder: Path, tmp_path: Path) -> None:
    run_folder, taken = folder / "ep", tmp_path / "taken.html-figures"
    taken.write_text("mine")
    (tmp_path / "dir.html").mkdir()
    (tmp_path / "empty").mkdir()
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: ep.report([]), "no run is named"),
        (lambda: ep.report(run_folder, tmp_path / "r.txt"), "unknown suffix '.txt'; known: .html, .htm, .md"),
        (lambda: ep.report(run_folder, tmp_path / "r", format="pdf"), "unknown format 'pdf'"),
        (lambda: ep.report(tmp_path / "empty", tmp_path / "r.html"), "empty is no run folder: it has no run.json"),
        (lambda: ep.report(run_folder, tmp_path / "dir.html"), "it is a directory"),
        (
            lambda: ep.report(run_folder, tmp_path / "taken.html"),
            "taken.html-figures: cannot be written: it is no folder",
        ),
        (lambda: ep.report(run_folder, gradients=-1), "gradients must be at least 0"),
        (lambda: ep.report(run_folder, examples=0), "examples must be at least 1"),
        (lambda: ep.report(run_folder, metric="error"), "unknown metric 'error'"),
        (lambda: ep.report(run_folder, figures="no"), "figures expects True or False"),  # type: ignore[arg-type]
    ]
    before = sorted(tmp_path.iterdir())
    for call, message in cases:
        with pytest.raises(ep.EpgraphError) as caught:
            call()
        assert message in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before
    assert taken.read_text() == "mine"
