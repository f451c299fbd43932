"""State of one expansion: the document, the flat form so far, and the problems."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from pydantic import ValidationError

from epgraph.errors import Diagnostic, Location
from epgraph.language.document import Document, Origin
from epgraph.language.expand.expression import UNKNOWN, ExpressionError, UnknownError, substitute
from epgraph.language.expand.frames import Frame
from epgraph.language.expand.limits import Budget, TooMuchError
from epgraph.language.model import Model
from epgraph.language.validate import errors_of, explain

Spec = TypeVar("Spec", bound=Model)


class ExpansionContext:
    """What one expansion reads, the flat form that it builds, and the mistakes that it finds.

    Attributes
    ----------
    states, edges, origins
        The flat form, and the origin of each part of it.
    headless
        Whether the input or the output could not be resolved.
    failures
        Number of values that could not be resolved. Everything that depends on such a value is left out.
    """

    def __init__(self, source: Document) -> None:
        self.source = source
        self.data: dict[str, Any] = source.data
        self.states: dict[str, Any] = {}
        self.edges: list[Any] = []
        self.origins: dict[Location, Origin] = {(): Origin(source, ())}
        self.ends: tuple[str, str] = ("x", "y")
        self.budget = Budget()
        self.failures = 0
        self.headless = False
        self.problems: list[Diagnostic] = []

    def report(self, diagnostic: Diagnostic, frame: Frame | None = None) -> None:
        """Add a diagnostic with its position in the source and the trail of its frame."""
        trail = (*diagnostic.trail, *(frame.trail if frame else ()))
        self.problems.append(self.source.locate(replace(diagnostic, trail=trail)))
        if diagnostic.severity == "error":
            self.failures += 1

    def resolve(self, value: Any, at: Location, scope: dict[str, Any], frame: Frame | None = None) -> Any:
        """Return a value with its expressions evaluated; UNKNOWN where one of them cannot be, which is reported."""
        failures = self.failures
        resolved = self._evaluate(value, at, scope, frame)
        return resolved if self.failures == failures else UNKNOWN

    def _evaluate(self, value: Any, at: Location, scope: dict[str, Any], frame: Frame | None) -> Any:
        if isinstance(value, str):
            if "$" not in value:
                return value
            try:
                return substitute(value, scope, self.budget)
            except ExpressionError as error:
                self.report(Diagnostic(str(error), error.hint, at, rule="expression"), frame)
            except UnknownError:
                self.failures += 1
            except TooMuchError as error:
                raise TooMuchError(str(error), at) from None
            return None
        if isinstance(value, dict):
            return {key: self._evaluate(entry, (*at, key), scope, frame) for key, entry in value.items()}
        if isinstance(value, list):
            return [self._evaluate(entry, (*at, i), scope, frame) for i, entry in enumerate(value)]
        return value

    def check(
        self,
        model: type[Spec],
        value: Any,
        at: Location,
        frame: Frame | None = None,
        hints: dict[str, str] | None = None,
    ) -> Spec | None:
        """Validate a part of the sugar against its model; report all mistakes and return None if there are any.

        ``hints`` has hints for unknown keys.
        """
        try:
            return model.model_validate(value)
        except ValidationError as error:
            known = [f.alias or name for name, f in model.model_fields.items()]
            errors = errors_of(error)
            places = [tuple(part for part in details["loc"] if part not in _BRANCHES) for details in errors]
            for number, (details, inner) in enumerate(zip(errors, places, strict=True)):
                if any(place[: len(inner)] == inner for place in (*places[:number], *_longer(places, inner))):
                    continue  # another branch of a union; the deepest one is reported
                found = explain({**details, "loc": (*at, *inner)})
                if details["type"] == "extra_forbidden" and len(inner) == 1:
                    key = str(inner[-1])
                    found = replace(
                        found, hint=(hints or {}).get(key) or self.budget.nearest(key, known, model.__name__)
                    )
                self.report(found, frame)
            return None


def _longer(places: list[Location], place: Location) -> list[Location]:
    return [other for other in places if len(other) > len(place)]


_BRANCHES = ("[key]", "constrained-int", "list[constrained-int]", "constrained-str", "list[constrained-str]")
"""Parts of pydantic's locations that name a branch of a union, not a key of the file."""
