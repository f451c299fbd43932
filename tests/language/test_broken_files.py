"""Golden messages: every file in ``tests/golden/broken`` is wrong in its own way, every one in ``doubtful`` is legal.

``pytest --update-golden`` rewrites the messages; read them as someone who has never seen the language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

import epgraph as ep
from epgraph.cli import run
from epgraph.errors import RULES, Diagnostic, EpgraphError
from epgraph.graph import inspect
from epgraph.language import json_schema, parse
from tests.conftest import GOLDEN

BROKEN = sorted((GOLDEN / "broken").glob("*.yaml"))
DOUBTFUL = sorted((GOLDEN / "doubtful").glob("*.yaml"))

Compare = Callable[[str, str], None]


def named(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=[p.stem for p in paths])


def command(path: Path, tmp_path: Path) -> list[str]:
    """How the mistake shows: in ``check``, or only beside data."""
    if path.stem.startswith("data_"):
        return ["train", path.name, "--data", "digits", "--out", str(tmp_path / "run")]
    return ["check", path.name]


@named(BROKEN)
def test_broken(
    path: Path,
    golden: Compare,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(path.parent)
    assert run(command(path, tmp_path)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    golden(f"broken/{path.stem}.txt", err)


@named(DOUBTFUL)
def test_doubtful(
    path: Path, golden: Compare, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(path.parent)
    assert run(["check", path.name]) == 0
    err = capsys.readouterr().err
    assert err.startswith("warning: ")
    golden(f"doubtful/{path.stem}.txt", err)


def test_there_are_many_and_all_are_distinct() -> None:
    messages = {p.with_suffix(".txt").read_text(encoding="utf-8").replace(p.name, "") for p in BROKEN}
    assert len(messages) == len(BROKEN) >= 60
    assert len({re.sub(r"[\d×]+", "#", m.splitlines()[0]) for m in messages}) >= 100, "not one mistake in many places"
    warnings = {_rule(p) for p in DOUBTFUL}
    assert warnings == {r for r, what in RULES.items() if what.startswith("warning: ")}


def _rule(path: Path) -> str:
    """Rule of the warning for which a file is here: its name."""
    return next(r for r in sorted(RULES, key=len, reverse=True) if path.stem.startswith(r.replace("-", "_")))


def diagnosed(text: str | bytes) -> list[Diagnostic]:
    """Everything that is wrong with a file; what is doubtful, where nothing is."""
    try:
        document = text if isinstance(text, str) else text.decode()
        return inspect(document if "\n" in document else document + "\n")[1]
    except UnicodeDecodeError:
        return []
    except EpgraphError as error:
        return list(error.diagnostics)


@named(BROKEN)
def test_load_and_compile_refuse_what_check_refuses(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if path.stem.startswith("data_"):
        ep.load(path)
        return
    run(["check", str(path), "--json"])
    found = json.loads(capsys.readouterr().out)["diagnostics"]
    expected = sorted(d["message"] for d in found if d["severity"] == "error")
    for use in (ep.load, ep.compile):
        with pytest.raises(EpgraphError) as caught:
            use(path)
        errors = [d for d in caught.value.diagnostics if d.severity == "error"]
        assert sorted(d.message for d in errors) == expected


@named(BROKEN)
def test_every_diagnostic_has_a_place_and_a_documented_rule(path: Path) -> None:
    for diagnostic in diagnosed(path.read_bytes()):
        assert diagnostic.rule in RULES
        assert diagnostic.rule != "other"
        assert diagnostic.line is not None
        assert diagnostic.column is not None
        if diagnostic.end is not None:
            assert diagnostic.end > (diagnostic.line, diagnostic.column)


# What a hint proposes, and what it is to replace: nothing, where it is to be added to an edge's kind.
PROPOSED = (
    re.compile(r"^did you mean '(?P<right>[^']+)'\?$"),
    re.compile(r"^write (?P<right>\S+)( without quotes)?$"),
    re.compile(r"^(?P<options>\w+: .*) would fit$"),
)


def followed(text: str, diagnostic: Diagnostic) -> str | None:
    """Do what a hint says; None where it proposes no value."""
    found = next((m for pattern in PROPOSED if (m := pattern.match(diagnostic.hint))), None)
    if found is None or diagnostic.end is None:
        return None
    start, end = (_offset(text, mark) for mark in ((diagnostic.line, diagnostic.column), diagnostic.end))
    before, span, after = text[:start], text[start:end], text[end:]
    if "options" in found.groupdict():
        # 'stride: 2 with padding: 1', or one of 'groups: 2 or groups: 4'.
        for option in re.split(" with | and ", found["options"].split(" or ")[0]):
            key, value = option.split(": ", 1)
            span, replaced = re.subn(rf"{key}: (\[[^]]*\]|[^,}}]+)", f"{key}: {value}", span)
            if not replaced:
                span = span.replace("}", f"{', ' if ':' in span else ''}{key}: {value}}}")
        return before + span + after
    wrong = re.search(r"'([^']+)'", diagnostic.message)
    assert wrong
    word = wrong[1] if wrong[1] in span and diagnostic.rule == "activation" else span
    return before + span.replace(word, found["right"], 1) + after


def _offset(text: str, mark: tuple[Any, Any]) -> int:
    lines = text.splitlines(keepends=True)
    return sum(map(len, lines[: mark[0] - 1])) + mark[1] - 1


def test_hints_work_when_followed() -> None:
    """Every hint that proposes a value, alone: afterwards that diagnostic is gone, and no new one is in its line."""
    tried = []
    for path in BROKEN:
        for diagnostic in diagnosed(path.read_bytes()):
            text = path.read_text(encoding="utf-8", errors="replace")
            mended = followed(text, diagnostic)
            if mended is None:
                continue
            tried.append(diagnostic.hint)
            left = [(d.message, d.line) for d in diagnosed(mended)]
            old = [(d.message, d.line) for d in diagnosed(text)]
            assert (diagnostic.message, diagnostic.line) not in left, f"{path.name}: {diagnostic.hint}"
            new = [m for m, line in left if line == diagnostic.line and (m, line) not in old]
            assert new == [], f"{path.name}: {diagnostic.hint}"
    for pattern in PROPOSED:
        assert sum(pattern.match(hint) is not None for hint in tried) >= 4


# Broken files of which the JSON Schema can see nothing: what is wrong is how parts of the file fit together.
SEMANTIC = frozenset(
    {
        "a_state_that_only_a_readout_joins",
        "an_edge_from_the_small_state_to_the_large",
        "conv_depthwise",
        "conv_groups",
        "convolution_into_the_output",
        "convolution_of_a_vector",
        "data_classes",
        "data_shape",
        "data_targets",
        "duplicate_edge_name",
        "duplicate_key",
        "duplicate_option",
        "duplicate_section",
        "duplicate_state",
        "dynamics_anderson_and_over_relaxation",
        "dynamics_closed_form_beta",
        "dynamics_closed_form_cost",
        "dynamics_error_sweeps_hopfield",
        "dynamics_flow_and_anderson",
        "dynamics_noise_and_tolerance",
        "dynamics_over_relaxation_even_odd",
        "dynamics_over_relaxation_tanh",
        "dynamics_predictive",
        "dynamics_predictive_over_relaxed",
        "dynamics_state_bits_identity",
        "dynamics_weight_bits",
        "edge_end_misspelled",
        "end_that_names_no_state",
        "energy_against_the_direction",
        "energy_cycle",
        "energy_lateral_both_ways",
        "energy_unary",
        "energy_untied",
        "estimator_continual_predictive",
        "estimator_contrastive_cost",
        "estimator_contrastive_predictive",
        "estimator_holomorphic_pooling",
        "estimator_holomorphic_relu",
        "estimator_implicit_untied",
        "estimator_unrolled_noise",
        "identity_between_different_shapes",
        "kernel_too_large",
        "lateral_between_shapes",
        "learning_rate_below_the_floor",
        "missing_kernel",  # the options of a kind may stand in "defaults"
        "name_input_and_output",
        "nesterov_without_momentum",
        "not_finite",
        "output_level_learnt",
        "output_not_reachable",
        "pool_that_does_not_fit",
        "pool_without_kind",
        "range_nan",
        "range_overflow",
        "readout_activation",
        "readout_left_by_an_edge",
        "relu_with_crossed_bounds",
        "self_loop",
        "self_loop_predictive",
        "shape_mismatch_between_two_edges",
        "shape_mismatch_padding",
        "shape_mismatch_stride",
        "shape_too_large",
        "size_that_nothing_fixes",
        "skip_stride",
        "state_named_like_the_input",
        "state_that_is_the_output",
        "tie_in_a_circle",
        "tie_of_two_kinds",
        "tie_of_two_shapes",
        "tie_to_nothing",
        "training_dampening",
        "training_schedule_growth",
        "training_warmup",
        "transposed_that_does_not_fit",
        "type_shape_as_a_fraction",
        "unary_even_kernel",
        "unary_memory_without_patterns",
        "unary_on_the_input",
        "unary_unknown_state",
        "unreachable_along_the_edges",
        "unreachable_state",
    }
)

# Broken files that are no YAML of the language, so that there is nothing to show to a schema.
UNREADABLE = frozenset(
    {
        "a_custom_tag",
        "a_tag",
        "alias_to_itself",
        "alias_without_anchor",
        "bytes_escape",
        "bytes_latin1",
        "bytes_latin1_late",
        "bytes_nul",
        "bytes_utf16",
        "empty_file",
        "key_that_is_a_list",
        "not_yaml",
        "only_comments",
        "tabs",
        "two_documents",
        "yaml_at_sign",
        "yaml_bomb_of_aliases",
        "yaml_bracket_open",
        "yaml_colon_in_text",
        "yaml_dash_missing_space",
        "yaml_deep",
        "yaml_deep_by_aliases",
        "yaml_indentation",
        "yaml_number_of_500_digits",
        "yaml_quote_open",
    }
)


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    return json_schema()


@named(DOUBTFUL)
def test_the_schema_accepts_what_is_doubtful(path: Path) -> None:
    import jsonschema

    jsonschema.Draft202012Validator(schema()).validate(parse(path.read_bytes()).data)


def test_every_field_of_the_schema_is_described_and_has_examples() -> None:
    """What an editor shows on hovering and offers on completing; every example is accepted where it stands."""
    import jsonschema

    whole = schema()
    seen = 0
    for place, field in _fields(whole):
        seen += 1
        assert field.get("description"), place
        assert field.get("examples"), place
        for example in field["examples"]:
            jsonschema.Draft202012Validator({**field, "$defs": whole["$defs"]}).validate(example)
    assert seen > 80


def _fields(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of every mapping; conditions such as ``oneOf`` name fields without describing them."""
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield from ((f"{place}.{key}", field) for key, field in node.get("properties", {}).items())
        for key, value in node.items():
            yield from _fields(value, f"{place}/{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _fields(value, f"{place}[{number}]")


@named(BROKEN)
def test_the_schema_refuses_what_is_broken_in_structure(path: Path) -> None:
    import jsonschema

    try:
        document = parse(path.read_bytes())
    except EpgraphError:
        assert path.stem in UNREADABLE
        return
    assert path.stem not in UNREADABLE
    accepted = jsonschema.Draft202012Validator(schema()).is_valid(document.data)
    assert accepted == (path.stem in SEMANTIC), "list it in SEMANTIC if only epgraph itself can see what is wrong"


def test_no_list_names_a_file_that_is_not_there() -> None:
    assert {p.stem for p in BROKEN} >= SEMANTIC | UNREADABLE
    assert not SEMANTIC & UNREADABLE
