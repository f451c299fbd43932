"""The tutorial notebook runs from top to bottom, shows what it says, and is kept without outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
PATH = ROOT / "examples" / "tutorial.ipynb"


@pytest.fixture
def notebook() -> Any:
    found = nbformat.read(PATH, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(found)
    return found


def test_it_is_kept_without_outputs(notebook: Any) -> None:
    """Pictures would make every change of it large; ``jupyter nbconvert --clear-output --inplace`` removes them."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in cells if cell.outputs or cell.execution_count is not None] == []
    assert all("execution" not in cell.metadata for cell in cells)
    assert PATH.stat().st_size < 20_000


def test_its_links_lead_somewhere(notebook: Any) -> None:
    links = re.findall(r"\]\(([^)]+)\)", "".join(cell.source for cell in notebook.cells))
    assert len(links) >= 4
    assert [link for link in links if not (PATH.parent / link).is_file()] == []


def _outputs(notebook: Any, start: str) -> list[dict[str, Any]]:
    (cell,) = (cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.startswith(start))
    return [json.loads(json.dumps(output)) for output in cell.outputs]


def _printed(notebook: Any, start: str) -> str:
    return "".join(output["text"] for output in _outputs(notebook, start) if output.get("name") == "stdout")


def test_it_runs(notebook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()

    def shown(start: str) -> set[str]:
        (data,) = (one["data"] for one in _outputs(notebook, start) if one["output_type"] == "execute_result")
        return set(data) - {"text/plain"}

    for start in ('text = """', "wider ="):
        assert shown(start) == {"image/svg+xml"}
    for start in ("engine =", "data =", "estimate =", "run =", "found ="):
        assert shown(start) == {"text/html"}
    for start in ("relaxation.plot", "run.plot", "found.plot"):
        assert shown(start) == {"image/png"}
    assert "did you mean 'channels'?" in _printed(notebook, "try:")
    assert "without skip against whole: test error" in _printed(notebook, "sweep =")
    accuracy = float(_printed(notebook, 'print("\\n".join(ep.evaluate').split("%")[0].split()[-1])
    assert accuracy > 70, "it has learned"
    assert (tmp_path / "runs" / "tutorial" / "last.pt").is_file()
