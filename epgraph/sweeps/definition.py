"""What a sweep trains: from files and flags to the network of every trial, or all mistakes at once."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from epgraph.arguments import instance, refused, several, text, unboxed
from epgraph.errors import Diagnostic, EpgraphError, Location
from epgraph.graph import merged_document, surveyed
from epgraph.graph.assemble import edge_names
from epgraph.language import Architecture, expand, override, raise_for, validate
from epgraph.language.document import Document
from epgraph.language.overrides import MOST_SHOWN
from epgraph.language.sweep import Range, SweepSpec, VariantSpec
from epgraph.language.validate import errors_of, explain

VARIANT = "variant"
"""Name of the choice among the alternatives; no key of the language."""

WHOLE = "whole"
"""Name of the network as it is, beside those without some edges."""

MOST_POINTS = 2_000

Point = dict[str, Any]
"""What a trial chooses: the name of a variant, a JSON text for a key of the grid, a number for a range."""

Flags = Mapping[str, tuple[Any, str]]
"""Keys of the section that the command line sets: key → value and the text of the option."""


@dataclass(frozen=True)
class Variant:
    """One alternative: a file, and how it is changed."""

    document: Document
    spec: VariantSpec = field(default_factory=VariantSpec)
    at: Location = ()


class Definition:
    """What varies between the trials of a sweep, with the place of each value in the file or on the command line.

    Parameters
    ----------
    sources
        Network files or YAML texts; the section ``sweep`` stands in the first.
    overrides, allow_include
        As for ``load``.
    flags
        What the command line adds to the section.
    without
        Selections of edges; each makes one more variant without them.

    Raises
    ------
    EpgraphError
        With all mistakes in the files, the section and the flags.
    """

    def __init__(
        self,
        sources: Sequence[str | os.PathLike[str]],
        overrides: Sequence[str] = (),
        allow_include: Sequence[Path] = (),
        flags: Flags | None = None,
        without: Sequence[str] = (),
    ) -> None:
        documents = [merged_document(source, overrides, allow_include) for source in sources]
        self._section = documents[0]
        _refuse_second_section(documents)
        self.spec = self._read(flags or {}, without)
        self.variants = dict(self._variants(documents))
        self._check_choice()

    def _read(self, flags: Flags, without: Sequence[str]) -> SweepSpec:
        """Put the flags into the section, and read it."""
        document = self._section
        if not isinstance(document.data, dict):
            raise_for(validate(document)[1])
        section = document.data.get("sweep")
        document.data["sweep"] = section = {} if section is None else section
        if isinstance(section, dict):
            _assign(document, section, flags)
            variants = section.get("variants")
            for selection in without:
                name = f"without {selection}"[:64].strip()
                at = ("sweep", "variants", name)
                if not isinstance(variants, dict):
                    section["variants"] = variants = {WHOLE: {}}
                variants[name] = {"without": selection.split(",")}
                document.assigned[at] = f"--without {selection}"
        try:
            return SweepSpec.model_validate(section)
        except ValidationError as error:
            found = [explain({**details, "loc": ("sweep", *details["loc"])}) for details in errors_of(error)]
            raise EpgraphError(document.locate(one) for one in found) from None

    def _variants(self, documents: list[Document]) -> list[tuple[str, Variant]]:
        named = self.spec.variants or {WHOLE: VariantSpec()}
        files = [Path(document.name).stem for document in documents]
        if len(set(files)) < len(files):
            files = [document.name for document in documents]
        found = []
        for file, document in zip(files, documents, strict=True):
            for name, spec in named.items():
                parts = ([file] if len(documents) > 1 else []) + ([name] if len(named) > 1 or len(files) == 1 else [])
                found.append((" ".join(parts), Variant(document, spec, ("sweep", "variants", name))))
        return found

    def _check_choice(self) -> None:
        """Refuse a sampler without trials, and the like."""
        spec = self.spec
        problems = []
        if spec.sampler == "grid":
            if spec.ranges:
                hint = "choose one with sampler: tpe (--sampler tpe), or list values under grid"
                problems.append(Diagnostic("a range needs a sampler", hint, ("sweep", "range")))
            if spec.trials is not None:
                hint = "leave it out, or choose a sampler: random, tpe or gp"
                problems.append(Diagnostic("a grid has as many trials as points", hint, ("sweep", "trials")))
            if (points := len(self.variants) * _product(spec.grid.values())) > MOST_POINTS:
                message = f"the grid has {points:,} points, more than {MOST_POINTS:,}"
                problems.append(Diagnostic(message, "use a sampler: --sampler tpe --trials 100", ("sweep", "grid")))
        elif spec.trials is None:
            problems.append(Diagnostic("a sampler needs a number of trials", "e.g. trials: 30", ("sweep", "sampler")))
        for key in {*spec.grid} & {*spec.ranges}:
            problems.append(Diagnostic(f"'{key}' is in the grid as well", "keep one of them", ("sweep", "range", key)))
        for part, keys in (("grid", spec.grid), ("range", spec.ranges)):
            if "training.seed" in keys:
                at = ("sweep", part, "training.seed")
                problems.append(Diagnostic("seeds have a key of their own", "write seeds: 0..4", at, on_key=True))
        raise_for([self._section.locate(replace(one, rule="conflicting-keys")) for one in problems])

    @property
    def choices(self) -> dict[str, Range | list[str]]:
        """What each trial chooses from: names of variants, JSON texts of values, ranges."""
        texts = {key: [json.dumps(value) for value in values] for key, values in self.spec.grid.items()}
        return {VARIANT: list(self.variants), **texts, **self.spec.ranges}

    @cached_property
    def points(self) -> list[Point]:
        """All combinations of the grid: of variants, and of values as JSON texts."""
        lists = [choice for choice in self.choices.values() if isinstance(choice, list)]
        return [dict(zip(self.choices, chosen, strict=True)) for chosen in product(*lists)]

    def has(self, point: Point) -> bool:
        """Whether all choices of a point are still there."""
        choices = self.choices
        return point.keys() == choices.keys() and all(
            point[key] in choice if isinstance(choice, list) else choice.low <= point[key] <= choice.high
            for key, choice in choices.items()
        )

    def label(self, point: Point) -> str:
        """Name a point by what varies."""
        parts = [point[VARIANT]] if len(self.variants) > 1 or len(point) == 1 else []
        parts += [
            f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in point.items()
            if key != VARIANT
        ]
        return ", ".join(parts)

    def architecture(self, point: Point, seed: int | None = None) -> tuple[Architecture | None, list[Diagnostic]]:
        """Return the network of a point, and what is wrong or doubtful with it; None where there are mistakes."""
        variant = self.variants[point[VARIANT]]
        document = copy.deepcopy(variant.document)
        placed = {
            f"{key}={json.dumps(value)}": (*variant.at, "set", key) for key, value in variant.spec.assignments.items()
        }
        for key, value in point.items():
            if key in self.spec.ranges:
                placed[f"{key}={value!r}"] = ("sweep", "range", key)
            elif key != VARIANT:
                number = [json.dumps(one) for one in self.spec.grid[key]].index(value)
                placed[f"{key}={value}"] = ("sweep", "grid", key, number)
        problems: list[Diagnostic] = []
        for assignment in [*placed, *([] if seed is None else [f"training.seed={seed}"])]:
            try:
                override(document, [assignment])
            except EpgraphError as error:
                problems += error.diagnostics
        architecture, diagnostics = validate(expand(document))
        problems += diagnostics
        if architecture is not None:
            problems += surveyed(architecture, sound=not _wrong(problems))[1]
        if architecture is not None and variant.spec.without and not _wrong(problems):
            architecture, problems = self._without(architecture, point[VARIANT])
        problems = [self._placed(one, placed) for one in problems]
        return None if _wrong(problems) else architecture, problems

    def _without(self, architecture: Architecture, name: str) -> tuple[Architecture, list[Diagnostic]]:
        """Leave out the edges that a variant selects."""
        variant, names = self.variants[name], edge_names(architecture)
        dropped: set[int] = set()
        problems = []
        for number, selection in enumerate(variant.spec.without):
            wanted = selection.strip().replace("→", "->")
            found = {
                index
                for index, (edge, own) in enumerate(zip(architecture.edges, names, strict=True))
                if wanted == edge.kind.name
                or fnmatchcase(own, wanted)
                or fnmatchcase(f"{edge.source}->{edge.target}", wanted)
            }
            if not found:
                kinds = ", ".join(dict.fromkeys(edge.kind.name for edge in architecture.edges))
                message = f"'{selection}' is no edge of {variant.document.name}"
                hint = f"name a kind ({kinds}), an edge ({names[-1]}), or 'from->to'"
                at = (*variant.at, "without", number)
                problems.append(self._section.locate(Diagnostic(message, hint, at, rule="pattern")))
            dropped |= found
        rest = architecture.without_edges(dropped)
        found_there = () if problems else surveyed(rest)[1]
        return rest, [*problems, *(replace(one, trail=(*one.trail, f"in '{name}'")) for one in found_there)]

    def _placed(self, problem: Diagnostic, placed: Mapping[str, Location]) -> Diagnostic:
        """Move a diagnostic about an assignment to where the value stands: in the section, or on the command line."""
        for assignment, at in placed.items():
            option = f"--set {assignment[:MOST_SHOWN]}{'…' if len(assignment) > MOST_SHOWN else ''}"
            if problem.file == option or problem.message.startswith(f"{option}: "):
                bare = replace(problem, file=None, line=None, column=None, end=None, source=None)
                bare = replace(bare, message=problem.message.removeprefix(f"{option}: "), at=at)
                return self._section.locate(bare)
        return problem

    def check(self) -> list[Diagnostic]:
        """Check the network of every point, or at the ends of ranges; return what is doubtful.

        Raises
        ------
        EpgraphError
            With all mistakes, each once.
        """
        # Of several values of one key the same is said at the same place.
        found = {str(one): one for _, diagnostics in self._examined for one in diagnostics}
        raise_for(list(found.values()))
        alone = self.spec.sampler == "grid" and len(self.points) == len(self.spec.seeds or (0,)) == 1
        hint = "vary a key (--grid learning.beta=0.1,0.2), edges (--without skip) or the seed (--seeds 0..4)"
        nothing = Diagnostic("nothing varies in this sweep: it is one training", hint, severity="warning")
        return [*found.values(), *([nothing] if alone else [])]

    @cached_property
    def _examined(self) -> list[tuple[Architecture | None, list[Diagnostic]]]:
        return [self.architecture(point) for point in self._corners()]

    def _corners(self) -> list[Point]:
        """All points of a grid; of a sampler's choices each value once, and both ends of each range."""
        if self.spec.sampler == "grid":
            return self.points
        choices = {
            key: [choice.low, choice.high] if isinstance(choice, Range) else choice
            for key, choice in self.choices.items()
        }
        base = {key: values[0] for key, values in choices.items()}
        return [base, *(base | {key: value} for key, values in choices.items() for value in values[1:])]

    @property
    def networks(self) -> list[Architecture]:
        """Networks of the points that ``check`` looks at, those with mistakes left out."""
        return [network for network, _ in self._examined if network is not None]

    def distinct(self) -> list[Architecture]:
        """Return one network for each choice of input, output and data, to check data with."""
        return list({repr((n.input, n.output, n.data)): n for n in self.networks}.values())


def flags_of(given: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """Return arguments by the keys of the section as flags; None is: not given."""
    flags: dict[str, tuple[Any, str]] = {}
    for name, value in given.items():
        if name in ("grid", "range") and value is not None:
            for key, inner in instance(name, value, Mapping).items():
                values = inner if name == "range" else [unboxed(one) for one in several(f"{name}['{key}']", inner)]
                flags[f"{name}/{text(name, key)}"] = (values, f"--{name} {key}={_option(name, values)}")
        elif value is not None:
            values = [unboxed(one) for one in value] if isinstance(value, Sequence | range) else unboxed(value)
            values = value if isinstance(value, str) else values
            flags[name] = (values, f"--{name} {_option(name, values)}")
    return flags


def arguments_of(flags: Flags) -> dict[str, Any]:
    """Return flags as the arguments of ``ep.sweep``, plain values."""
    found: dict[str, Any] = {}
    for key, (value, _) in flags.items():
        name, _, inner = key.partition("/")
        name = "ranges" if name == "range" else name
        if inner:
            found.setdefault(name, {})[inner] = value
        else:
            found[name] = value
    return found


def _option(name: str, value: Any) -> str:
    """Write a value as the command line has it."""
    try:
        return ",".join(map(json.dumps, value)) if isinstance(value, list) else str(value)
    except TypeError:
        raise refused(f"{name} expects plain values: numbers, texts, lists, mappings") from None


def _assign(document: Document, section: dict[str, Any], flags: Flags) -> None:
    for key, (value, option) in flags.items():
        part, _, inner = key.partition("/")
        at: Location = ("sweep", part)
        if inner:
            if not isinstance(section.get(part), dict):
                section[part] = {}
            section[part][inner] = value
            at = (*at, inner)
        else:
            section[part] = value
        document.assigned[at] = option


def _refuse_second_section(documents: list[Document]) -> None:
    hint = "leave it out, or give this file first"
    raise_for(
        [
            document.locate(Diagnostic("the first file alone may have this section", hint, ("sweep",), on_key=True))
            for document in documents[1:]
            if isinstance(document.data, dict) and "sweep" in document.data
        ]
    )


def _wrong(diagnostics: Sequence[Diagnostic]) -> bool:
    return any(one.severity == "error" for one in diagnostics)


def _product(parts: Any) -> int:
    total = 1
    for part in parts:
        total *= len(part)
    return total
