"""Sphinx extension: what a page marks as generated is written from the code whenever the site is built.

A page of docs/ stands for itself on GitHub; where it says ``<!-- generated: keys -->`` the site has the tables of the
JSON Schema, of the registries, or the list of public names. So none of these can go stale.
``python -m docs.reference_pages members`` prints what a mark stands for.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click

import epgraph as ep

ROOT = Path(__file__).parents[1]

MARK = re.compile(r"(?:^\*[^*]*\*\n\n)?^<!-- generated: (\w+) -->$", flags=re.MULTILINE)
"""The mark, with the paragraph in italics above it, which tells a reader on GitHub what is missing."""

SECTIONS = {
    "StateSpec": "A state, under `states`",
    "EdgeSpec": "An edge, in `edges`",
    "InstanceSpec": "An instance of a block, under `states`",
    "BlockSpec": "A block, under `blocks`",
}
"""Definitions of the schema that no section of a file is, with their headings."""

GROUPS = {
    "Networks": "load build Network from_networkx to_networkx to_yaml Architecture topologies",
    "Checking and drawing": "check render converge explore",
    "Training and studies": "train evaluate predict gradcheck tune sweep compare report Callback Stopped",
    "Engine": "compile Engine Equilibrium Relaxation Status Estimate Estimator",
    "Data and runs": "load_data Data load_run load_checkpoint LoadedRun",
    "Edge kinds": "EdgeKind Conv ConvTranspose Dense Identity Lateral Memory Pool Self Skip ShapeError",
    "Extension": "Activation Cost Energy Solver register_* verify_*",
    "Results": "*Result",
    "Mistakes": "EpgraphError Diagnostic",
}
"""Public names by topic. A name that no group has is under 'More'."""


def keys() -> str:
    """Return the keys of every section of a file, from the JSON Schema."""
    from epgraph.kinds import KINDS
    from epgraph.language import json_schema

    schema = json_schema()
    definitions = schema["$defs"]
    parts = ["## Sections of a file", "", *_key_table(schema, definitions)]
    for name, section in schema["properties"].items():
        if (definition := _definition(section)) is not None:
            parts += _section(f"`{name}`", definitions[definition], definitions)
    for definition, title in SECTIONS.items():
        parts += _section(title, definitions[definition], definitions)
    for name, kind in KINDS.items():
        parts += _section(f"Options of the edge kind `{name}`", definitions[kind.__name__], definitions)
    for name in ("Augmentation", "NormalizationSpec", "VariantSpec"):
        title = {"Augmentation": "`data.augment`", "NormalizationSpec": "`data.normalization`"}
        parts += _section(title.get(name, "A variant, in `sweep.variants`"), definitions[name], definitions)
    return "\n".join(parts)


def _section(title: str, definition: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    said = [_cell(definition["description"]), ""] if "description" in definition else []
    table = _key_table(definition, definitions) if definition.get("properties") else ["It has no options."]
    return ["", f"## {title}", "", *said, *table]


def _key_table(definition: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    required = definition.get("required", ())
    rows = []
    for name, key in definition["properties"].items():
        default = "required" if name in required else f"`{_written(key['default'])}`" if "default" in key else ""
        examples = ", ".join(f"`{_written(example)}`" for example in key.get("examples", ()))
        rows.append((f"`{name}`", _type(key, definitions), default, key.get("description", ""), examples))
    return _table(("key", "value", "default", "meaning", "examples"), rows)


def _definition(schema: Mapping[str, Any]) -> str | None:
    """Name of the definition of a section, where it has one."""
    for branch in (schema, *schema.get("anyOf", ())):
        reference = branch.get("$ref", "").rpartition("/")[2]
        if reference and reference != "Expression":
            return str(reference)
    return None


def _type(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """What a value may be, in words. That any value may be an expression is said once, on the page."""
    return " or ".join(dict.fromkeys(_types(schema, definitions)))


def _types(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[str]:
    reference = schema.get("$ref", "").rpartition("/")[2]
    branches = [branch for key in ("anyOf", "oneOf") for branch in schema.get(key, ()) if set(branch) != {"required"}]
    if reference == "Expression":
        return
    if reference:
        yield "mapping" if definitions[reference].get("type") == "object" else reference
    elif "enum" in schema:
        yield ", ".join(f"`{value}`" for value in schema["enum"])
    elif "const" in schema:
        yield f"`{schema['const']}`"
    elif branches:
        for branch in branches:
            yield from _types(branch, definitions)
    elif schema.get("type") == "array":
        yield "list"
    elif schema.get("type") in ("integer", "number"):
        yield _range(schema)
    else:
        yield {"object": "mapping", "string": "text", "boolean": "true or false", "null": "null"}.get(
            schema.get("type", ""), "any value"
        )


def _range(schema: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return " ".join([{"integer": "integer", "number": "number"}[schema["type"]], ", ".join(bounds)]).strip()


def members() -> str:
    """Return every member of the registries, with what its docstring says first."""
    from epgraph.activations import NAMED
    from epgraph.compiler import BACKENDS, PASSES
    from epgraph.costs import COSTS
    from epgraph.energies import ENERGIES
    from epgraph.graph import SCHEDULES
    from epgraph.init_rules import INITIAL
    from epgraph.kinds import KINDS
    from epgraph.solvers import SOLVERS
    from epgraph.topologies import TEMPLATES

    initial = {name: _compute(one.draw, "initialization") for name, one in INITIAL.items()}
    templates = [(f"`{name}`", one.description) for name, one in TEMPLATES.items()]
    backends = [(f"`{name}`", ", ".join(f"`{one.name}`" for one in back.passes)) for name, back in BACKENDS.items()]
    passes = [(f"`{one.name}`", _said(one.apply)) for one in PASSES]
    parts = [
        ("Edge kinds (a key of an edge)", _members(KINDS)),
        ("Activations (`activation`)", _members(NAMED)),
        ("Costs (`output.cost`)", _members(COSTS)),
        ("Energies (`energy`)", _members(ENERGIES)),
        ("Estimators (`learning.estimator`)", [estimators()]),
        ("Schedules of updates (`dynamics.schedule`)", _members(SCHEDULES)),
        ("Solvers (`dynamics.solver`)", _members(SOLVERS)),
        ("Initial parameters (`init`)", _members(initial)),
        ("Optimizers (`training.optimizer`)", [optimizers()]),
        ("Schedules of the learning rate (`training.schedule`)", [rate_schedules()]),
        ("Data sets (`data.name`)", [data_sets()]),
        ("Templates (`epgraph new --template`)", _table(("name", "network"), templates)),
        ("Backends (`--backend`)", _table(("name", "passes"), backends)),
        ("Passes of the compiler", _table(("name", "effect"), passes)),
    ]
    return "\n".join(line for title, table in parts for line in (f"## {title}", "", *table, ""))


def estimators() -> str:
    """Return the table of estimators of the gradient."""
    from epgraph.learning_rules import ESTIMATORS

    rows = [
        (f"`{name}`", _said(_compute(one.compute, "estimators")), one.error or "–") for name, one in ESTIMATORS.items()
    ]
    return "\n".join(_table(("name", "what it computes", "error"), rows))


def data_sets() -> str:
    """Return the table of data sets with their preparation, and what each of them is."""
    from epgraph.data import DATA_SETS

    columns = ("training + test", "stored as", "input shapes", "classes", "mean", "deviation", "published augmentation")
    rows = []
    for name, one in DATA_SETS.items():
        recipe = one.recipe
        changes = ", ".join(f"{key} {value:g}" for key, value in recipe.augmentation.facts().items())
        rows.append(
            (
                f"`{name}`",
                " + ".join(f"{number:,}" for number in one.examples or ()),
                _sizes(recipe.shape),
                ", ".join(map(_sizes, recipe.shapes)),
                recipe.output,
                *(", ".join(f"{value:.4g}" for value in values) or "–" for values in (recipe.mean, recipe.std)),
                changes or "none",
            )
        )
    said = [f"- `{name}`: {one.description}" for name, one in DATA_SETS.items()]
    return "\n".join([*_table(("data set", *columns), rows), "", *said])


def _sizes(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape))


def optimizers() -> str:
    """Return the table of optimizers, and that of their options."""
    from epgraph.optimizers import KEYS, OPTIMIZERS

    rows = []
    of: dict[tuple[str, str], list[str]] = {}
    for name, one in OPTIMIZERS.items():
        keys = ", ".join(f"`{key}`" for key in KEYS if key in one.builder.keys)
        rows.append((f"`{name}`", _defaults(one), keys or "–"))
        for option, field in one.model_fields.items():
            of.setdefault((option, field.description or ""), []).append(f"`{name}`")
    options = [(f"`{option}`", said, ", ".join(names)) for (option, said), names in of.items()]
    first = _table(("name", "options, with their defaults", "keys of `training` beside `learning_rate`"), rows)
    return "\n".join([*first, "", *_table(("option", "meaning", "of"), options)])


def rate_schedules() -> str:
    """Return the table of schedules of the learning rate."""
    from epgraph.rates import RATE_SCHEDULES

    rows = []
    for name, one in RATE_SCHEDULES.items():
        said = " ".join(f"`{option}`: {field.description}" for option, field in one.model_fields.items())
        rows.append((f"`{name}`", _said(one), _defaults(one), said))
    return "\n".join(_table(("name", "rate η", "options, with their defaults", "meaning"), rows))


def _defaults(model: Any) -> str:
    return ", ".join(f"`{option}` ({_written(field.default)})" for option, field in model.model_fields.items())


def _members(table: Mapping[str, Any]) -> list[str]:
    return _table(("name", "meaning"), [(f"`{name}`", _said(member)) for name, member in table.items()])


def _compute(where: Any, package: str) -> Any:
    """Return the function that a registry names as ``file:function``, or has itself."""
    if not isinstance(where, str):
        return where
    file, _, function = where.partition(":")
    return getattr(import_module(f"epgraph.{package}.{file}"), function)


def _said(member: Any) -> str:
    """First paragraph of a docstring, in Markdown."""
    paragraph = (inspect.getdoc(member) or "").split("\n\n")[0]
    return paragraph.replace("``", "`")


def python() -> str:
    """Return autodoc's directives for every public name, by topic."""
    left = dir(ep)
    parts = []
    for title, patterns in {**GROUPS, "More": "*"}.items():
        names = [name for pattern in patterns.split() for name in _matching(pattern, left)]
        left = [name for name in left if name not in names]
        if names:
            parts += [f"## {title}", "", "```{eval-rst}", *(line for name in names for line in _document(name)), "```"]
    return "\n".join(parts)


def _matching(pattern: str, names: Iterable[str]) -> list[str]:
    expression = re.compile(pattern.replace("*", ".*"))
    return [name for name in names if expression.fullmatch(name)]


def _document(name: str) -> list[str]:
    if name == "topologies":
        return [f".. automodule:: epgraph.{name}", "   :no-members:", ""]
    value = getattr(ep, name)
    if isinstance(value, type):
        fields = set(getattr(value, "model_fields", ()))  # their descriptions are in the table of keys
        excluded = ["   :exclude-members: " + ", ".join(sorted(fields | {"model_config"}))] if fields else []
        return [f".. autoclass:: epgraph.{name}", *excluded, ""]
    return [f".. {'autofunction' if callable(value) else 'autodata'}:: epgraph.{name}", ""]


def _written(value: Any) -> str:
    """Write a value as YAML in one line: JSON with plain words, which YAML also is."""
    return re.sub(r'"([A-Za-z_][\w.]*)"', r"\1", json.dumps(value, ensure_ascii=False))


def _table(titles: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> list[str]:
    lines = [titles, ("---",) * len(titles), *rows]
    return ["| " + " | ".join(_cell(str(cell)) for cell in line) + " |" for line in lines]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def changelog() -> str:
    """Return the changelog, without its title."""
    return _moved(ROOT / "CHANGELOG.md")


def benchmarks() -> str:
    """Return the page of the benchmarks, without its title."""
    return _moved(ROOT / "benchmarks" / "README.md")


def _moved(page: Path) -> str:
    """Text of a page below its title, with its relative links as they are from docs/."""

    def link(match: re.Match[str]) -> str:
        target = os.path.relpath(page.parent / match[1], ROOT / "docs")
        return f"]({Path(target).as_posix()}{match[2] or ''})"

    text = page.read_text(encoding="utf-8").partition("\n")[2]
    return re.sub(r"\]\((?!\w+:|#)([^)#]+)(#[^)]*)?\)", link, text)


GENERATED: dict[str, Callable[[], str]] = {
    "keys": keys,
    "members": members,
    "estimators": estimators,
    "data_sets": data_sets,
    "optimizers": optimizers,
    "rate_schedules": rate_schedules,
    "python": python,
    "changelog": changelog,
    "benchmarks": benchmarks,
}


def fill(_app: Any, _page: str, source: list[str]) -> None:
    """Replace the marks of a page by what they stand for, and the links of GitHub by those of the site."""
    text = MARK.sub(lambda match: GENERATED[match[1]](), source[0])
    source[0] = text.replace("../benchmarks/README.md", "benchmarks.md")


def escape(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Keep the star of s* in a docstring, where reStructuredText would begin an emphasis."""
    for i, line in enumerate(lines):
        literals = re.split(r"(``.*?``)", line)
        lines[i] = "".join(part if part.startswith("``") else part.replace("*", r"\*") for part in literals)


def literal(_app: Any, _context: Any, lines: list[str]) -> None:
    """Set the examples of a command's help, which sphinx-click writes as a line block, as code."""
    text = "\n".join(lines).replace("file:line:column", "``file:line:column``")
    block = re.compile(r"^\| Example:\n((?:\| .*\n?)+)", flags=re.MULTILINE)
    lines[:] = [*block.sub(lambda match: "Example::\n\n" + match[1].replace("| ", "  "), text).splitlines(), ""]
    _quote_options(lines, prose=lambda line: not line.startswith(" "))


def help_of_options(_app: Any, context: click.Context, lines: list[str]) -> None:
    """Complete the help of options that put it together themselves, and set what it names as code."""
    for option in context.command.params:
        if isinstance(option, click.Option) and type(option).get_help_record is not click.Option.get_help_record:
            record = option.get_help_record(context)
            short, whole = option.help or "", record[1] if record else ""
            lines[:] = [line.replace(short, whole) for line in lines]
    _quote_options(lines, prose=lambda line: line.startswith(" "))


def _quote_options(lines: list[str], prose: Callable[[str], bool]) -> None:
    """Set options in prose as code: '--data' would become a dash and a word."""
    lines[:] = [re.sub(r"(?<![`\w-])(--\w[\w-]*)", r"``\1``", line) if prose(line) else line for line in lines]


def name_fields(
    _app: Any, _what: str, _name: str, value: Any, _options: Any, signature: str | None, returned: str | None
) -> tuple[str, str | None] | None:
    """Show the fields of a pydantic model by name: their types are validators, and are on the page of keys."""
    if not isinstance(value, type) or not hasattr(value, "model_fields"):
        return None
    return f"({', '.join(['*', *value.model_fields] if value.model_fields else [])})", returned


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", fill)
    app.connect("sphinx-click-process-description", literal)
    app.connect("sphinx-click-process-options", help_of_options)
    app.connect("autodoc-process-signature", name_fields)
    app.connect("autodoc-process-docstring", escape, priority=400)  # before napoleon, which writes emphases
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print what a page of the site has for a mark, in Markdown.")
    parser.add_argument("mark", choices=GENERATED)
    print(GENERATED[parser.parse_args().mark]())
