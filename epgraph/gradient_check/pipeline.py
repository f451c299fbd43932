"""A gradient check from end to end: examples, equilibrium and gradients, the sections of the report, the verdict."""

from __future__ import annotations

from epgraph.data import Data
from epgraph.engine import Engine
from epgraph.gradient_check.check import Check
from epgraph.gradient_check.examples import draw_examples
from epgraph.gradient_check.result import GradcheckResult
from epgraph.gradient_check.sections import SECTIONS, Report, tasks
from epgraph.gradient_check.verdict import verdict
from epgraph.progress import Progress


def check_gradient(
    engine: Engine,
    data: Data | None = None,
    examples: int = 8,
    *,
    quick: bool = False,
    stepwise: bool = False,
    weights: str = "initial",
    lacking: str = "",
    progress: bool = False,
) -> GradcheckResult:
    """Check the gradient of an engine on so many examples, or on noise; see ``ep.gradcheck``.

    ``weights`` says in the report where the parameters are from, and ``lacking`` why there are no data.
    """
    x, y = draw_examples(engine, None if data is None else data.train, examples)
    check = Check(engine, x, y, quick, engine.architecture.dynamics.nudged_steps if stepwise else 0)
    with Progress("check the gradient", tasks(check), "parts", show=progress) as shown:
        check.tick = shown.begin
        report = make_report(check)
    report["network"] |= {"data": None if data is None else data.name, "no_data": lacking, "weights": weights}
    return GradcheckResult(report)


def make_report(check: Check) -> Report:
    """Make the report: every section in order, and last of all the verdict."""
    report: Report = {}
    for name, section in SECTIONS.items():
        values = section(check)
        if values is not None:
            report[name] = values
        if name == "equilibrium" and report[name]["diverged"]:
            break
    report["verdict"] = verdict(report)
    return report
