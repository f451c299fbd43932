"""A client of yaml-language-server over stdio: opens a file as an editor does, and asks for what an editor shows."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATIENCE = 60
"""Seconds until an answer is overdue."""


def find_server() -> str | None:
    """Command of the server: $EPGRAPH_YAML_LANGUAGE_SERVER, in PATH, or where ``make tools`` installs it."""
    named = os.environ.get("EPGRAPH_YAML_LANGUAGE_SERVER")
    if named:
        return named
    name, local = "yaml-language-server", ROOT / ".tools" / "node_modules" / ".bin"
    return shutil.which(name) or shutil.which(name, path=local) if shutil.which("node") else None


class LanguageServer:
    """One running server.

    The modeline of a file is all that it is told: no schema is set in its configuration, and it may not fetch any.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process = process
        self._number = 0
        self._arrived: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        settings = {"yaml": {"schemaStore": {"enable": False}, "hover": True, "completion": True, "validate": True}}
        self._settings = settings
        self.ask("initialize", processId=None, rootUri=folder.as_uri(), capabilities={})
        self._tell("initialized")
        self._tell("workspace/didChangeConfiguration", settings=settings)

    def open(self, path: Path) -> list[dict[str, Any]]:
        """Open a file, and return its diagnostics."""
        document = {"uri": path.as_uri(), "languageId": "yaml", "version": 1, "text": path.read_text(encoding="utf-8")}
        self._tell("textDocument/didOpen", textDocument=document)
        while True:
            message = self._next()
            if message.get("method") == "textDocument/publishDiagnostics":
                told = message["params"]
                if told["uri"] == path.as_uri():
                    return list(told["diagnostics"])

    def complete(self, path: Path, line: int, column: int) -> list[str]:
        """Return what is offered at a place, counted from 0."""
        found = self._at("textDocument/completion", path, line, column)
        return [item["label"] for item in (found["items"] if isinstance(found, Mapping) else found)]

    def hover(self, path: Path, line: int, column: int) -> str:
        """Return what is shown over a place, counted from 0."""
        found = self._at("textDocument/hover", path, line, column)
        return str(found["contents"]["value"]) if found else ""

    def ask(self, method: str, **params: Any) -> Any:
        """Send a request, and return its result."""
        self._number += 1
        self._send({"id": self._number, "method": method, "params": params})
        while True:
            message = self._next()
            if message.get("id") == self._number and "method" not in message:
                assert "error" not in message, message
                return message["result"]

    def _at(self, method: str, path: Path, line: int, column: int) -> Any:
        return self.ask(method, textDocument={"uri": path.as_uri()}, position={"line": line, "character": column})

    def _tell(self, method: str, **params: Any) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _next(self) -> dict[str, Any]:
        """Next message; what the server asks of the editor is answered on the way."""
        message = self._arrived.get(timeout=PATIENCE)
        if "method" in message and "id" in message:
            answer: Any = None
            if message["method"] == "workspace/configuration":
                answer = [self._settings.get(item.get("section", "")) for item in message["params"]["items"]]
            self._send({"id": message["id"], "result": answer})
        return message

    def _listen(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        while header := stream.readline():
            length = 0
            while header.strip():
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
                header = stream.readline()
            self._arrived.put(json.loads(stream.read(length)))


@contextmanager
def language_server(command: str, folder: Path) -> Iterator[LanguageServer]:
    """Run a server while the context lasts."""
    process = subprocess.Popen(
        [command, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder
    )
    try:
        yield LanguageServer(process, folder)
    finally:
        process.kill()
        process.wait()
