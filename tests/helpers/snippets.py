"""The pages of the documentation, and what they show: blocks of code, and commands.

A block that cannot run where the tests run says so on the page, in a comment before it that no reader sees:
``<!-- not run: needs a GPU -->``. ``<!-- warns: not-proper -->`` names the rules of warnings that a network has on
purpose, and ``<!-- output -->`` marks what the last command prints.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(
    r"^(?:<!-- (?P<mark>not run|warns|output)(?:: (?P<said>[^\n]*?))? -->\n\n?)?"
    r"(?P<indent> *)```(?P<language>[^\n{]*)\n(?P<text>.*?)^ *```$",
    flags=re.DOTALL | re.MULTILINE,
)
_INDENTED = re.compile(r"^ {4,}(epgraph [^\n]*|torchrun [^\n]*)$", flags=re.MULTILINE)
_INLINE = re.compile(r"(?<!`)`(epgraph [^`]*)`(?!`)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes
    ----------
    place
        Page and line.
    language
        Word after the fence: ``yaml``, ``python``, ``sh``, or none.
    mark, said
        Comment before the block: its first words, and what follows the colon.
    """

    place: str
    language: str
    text: str
    mark: str
    said: str

    @property
    def file(self) -> str:
        """Name of the file that the block is, from a comment in its first line; empty where it is none."""
        found = re.match(r"# ([\w-]+\.\w+)\n", self.text)
        return found[1] if found else ""


def pages() -> list[Path]:
    """Return README and every page of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def plugins() -> dict[str, str]:
    """Return the examples of docs/extending.md, by the names of their files."""
    blocks = blocks_of(ROOT / "docs" / "extending.md")
    return {Path(block.file).stem: block.text for block in blocks if block.language == "python" and block.file}


def registered(axis: str) -> str:
    """Name of the example of an axis, which ``register_AXIS`` is called with on that page."""
    (name,) = re.findall(rf'register_{axis}\((?:Backend\()?"(\w+)"', "".join(plugins().values()))
    return str(name)


def name_of(page: Path) -> str:
    """Path of a page below the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order. Directives of Sphinx are none."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        body = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        place = f"{name_of(page)}:{line}"
        found.append(Block(place, match["language"], body, match["mark"] or "", match["said"] or ""))
    return found


def commands_in(shell: str) -> Iterator[list[str]]:
    """Yield the commands of a shell block as words: lines are joined, comments and assignments left out."""
    for line in shell.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"\w+=.*", words[0]):
            words = words[1:]
        if words:
            yield words


def commands_between(page: Path) -> Iterator[list[str]]:
    """Yield what is written as a command in the text of a page, and in its indented blocks."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8")).replace("\\\n", " ")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)  # directives
    for match in (*_INDENTED.finditer(text), *_INLINE.finditer(text)):
        yield from commands_in(" ".join(match[1].split()))


def arguments_of(words: list[str]) -> list[str] | None:
    """Return what ``epgraph`` is called with, by itself or by torchrun; None where it is not."""
    for start in (["epgraph"], ["-m", "epgraph"]):
        for i in range(len(words)):
            if words[i : i + len(start)] == start and (i == 0 or start[0] == "-m"):
                return words[i + len(start) :]
    return None
