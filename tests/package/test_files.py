"""Only regular files are read, each of them up to a bound, and nothing waits."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from epgraph.errors import EpgraphError
from epgraph.files import open_regular, read_bytes, regular_file, size_text

READERS = {
    "read_bytes": lambda path: read_bytes(path, 100),
    "open_regular": open_regular,
    "regular_file": regular_file,
}


@pytest.fixture
def special(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """A file of each kind that cannot be read to an end, and a link to each."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    # The name of a socket may have 100 bytes at most; the folder of a test may be longer.
    here = os.getcwd()
    os.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        os.chdir(here)
        found = {
            "a pipe": tmp_path / "pipe",
            "a directory": tmp_path / "folder",
            "a socket": tmp_path / "socket",
            "a device": Path("/dev/zero"),
        }
        for name, path in list(found.items()):
            link = tmp_path / f"link to {name}"
            link.symlink_to(path)
            found[link.name] = link
        yield found


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused_at_once(reader: str, special: dict[str, Path]) -> None:
    for name, path in special.items():
        started = time.monotonic()
        with pytest.raises(EpgraphError) as caught:
            READERS[reader](path)
        assert time.monotonic() - started < 1  # a pipe without a writer would wait for ever
        assert str(caught.value).startswith(f"{path}: cannot be read: it is {name.removeprefix('link to ')}")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("path", ["not there", "a\0b", "half a \ud800 character", "x" * 5000, ""])
def test_a_path_that_leads_nowhere(reader: str, path: str, tmp_path: Path) -> None:
    with pytest.raises(EpgraphError) as caught:
        READERS[reader](str(tmp_path / path) if path else path)
    assert ": cannot be read: " in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_file_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    (tmp_path / "link").symlink_to(path)
    assert read_bytes(path, 100) == read_bytes(tmp_path / "link", 100) == b"x" * 100
    with pytest.raises(EpgraphError, match=r"it is larger than 99 bytes; shorten it"):
        read_bytes(path, 99, "shorten it")


def test_a_sparse_file_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(EpgraphError, match="larger than 1 MiB"):
        read_bytes(path, 2**20)


def test_a_file_of_proc_that_claims_to_have_no_bytes() -> None:
    path = Path("/proc/self/status")
    if not path.exists():
        pytest.skip("no /proc here")
    assert b"Pid:" in read_bytes(path, 2**16)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1,023 bytes"), (1024, "1 KiB"), (8 * 2**20, "8 MiB"), (3 * 2**40, "3,072 GiB")],
)
def test_size(size: int, text: str) -> None:
    assert size_text(size) == text
