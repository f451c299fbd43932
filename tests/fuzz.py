"""Files that are broken at random, and what has to hold for each: clean diagnostics, or a network.

    python -m tests.fuzz 10000                 # `make fuzz`
    python -m tests.fuzz 1 --seed 4711         # one of them again; it is printed

Every example is taken, whatever it uses, and is changed in bytes, lines, scalars or structure, one to four times.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from epgraph.cli import run
from epgraph.cli.diagnostics import lines
from epgraph.errors import RULES, EpgraphError
from epgraph.graph import inspect
from epgraph.language import parse, to_yaml

EXAMPLES = Path(__file__).parents[1] / "examples"

SECONDS = 1.0
"""Most processor time that one file may take."""

MEBIBYTES = 500
"""Most memory that the process may come to need."""

Mutation = Callable[[random.Random, bytes, list[bytes]], bytes]

TOKENS = tuple(
    token.encode()
    for token in (
        *"{}[]:,-#&*!|>'\"%@`?~$.\t\r\n\x85\u2028\ufeff\x00\x1b\x7fé平🙂",
        *("---", "...", "<<: ", "&a ", "*a", "!!python/object ", "? ", "- ", ": ", "${", "$(", "$$", "$(2 ** 99)"),
        *("block: ", "repeat: ", "include: ", "each: ", "from: ", "to: ", "at: "),
    )
)

SCALARS = (
    *("0", "-1", "1", "2", "3", "7", "16777216", "16777217", "2147483648", "9223372036854775808", "1" + "0" * 30),
    *("9" * 399, "9" * 5000, "0x" + "f" * 60, "0o777", "1e999", "-1e-999", ".nan", "-.inf", "1.5", "1e-4", "-0.0"),
    *("null", "~", "true", "no", "''", '"\\0\\e[31m"', '"\\ud800"', "[]", "{}", "[[]]", "{a: {b: c}}", "x", "y", "h1"),
    *("[1, 2, 3]", "[1, 2]", "[-1]", "{relu: [1, 10]}", "{tanh: {slope: 1e300}}", "text", "a b", "é平🙂", "x" * 5000),
    *("max", "depthwise", "same", "holomorphic", "implicit", "softmax_readout", "cross_entropy", "untied", "coloring"),
)

_SCALAR = re.compile(rb"(?<=[:,\[] )[^\s,:{}\[\]]+|(?<=[:,\[])[^\s,:{}\[\]]+")
_WORD = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")


def mutant(seed: int) -> tuple[str, bytes]:
    """Return how a file was made, and the file."""
    rng = random.Random(seed)
    examples = [path.read_bytes() for path in sorted(EXAMPLES.rglob("*.yaml"))]
    text = rng.choice(examples)
    made = []
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        mutation = rng.choice(MUTATIONS)
        text = mutation(rng, text, examples)
        made.append(mutation.__name__)
    return " ".join(made), text


def flip_bits(rng: random.Random, text: bytes, _: list[bytes]) -> bytes:
    changed = bytearray(text or b"x")
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def insert_token(rng: random.Random, text: bytes, _: list[bytes]) -> bytes:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(TOKENS) * rng.choice((1, 1, 1, 3, 400)) + text[at:]


def cut_or_repeat(rng: random.Random, text: bytes, _: list[bytes]) -> bytes:
    begin = rng.randrange(len(text) + 1)
    end = min(len(text), begin + rng.choice((1, 5, 40, 400)))
    return text[:begin] + text[begin:end] * rng.choice((0, 0, 2, 20)) + text[end:]


def truncate(rng: random.Random, text: bytes, _: list[bytes]) -> bytes:
    return text[: rng.randrange(len(text) + 1)]


def lines_change(rng: random.Random, text: bytes, examples: list[bytes]) -> bytes:
    """Delete, duplicate, swap, indent or borrow lines."""
    rows = text.split(b"\n")
    i, j = rng.randrange(len(rows)), rng.randrange(len(rows))
    match rng.randrange(5):
        case 0:
            del rows[i]
        case 1:
            rows.insert(j, rows[i])
        case 2:
            rows[i], rows[j] = rows[j], rows[i]
        case 3:
            rows[i] = b" " * rng.choice((1, 2, 40)) + rows[i] if rng.random() < 0.7 else rows[i].lstrip()
        case _:
            rows.insert(i, rng.choice(rng.choice(examples).split(b"\n")))
    return b"\n".join(rows)


def scalar_change(rng: random.Random, text: bytes, _: list[bytes]) -> bytes:
    """Another value: of another type, huge, or not finite."""
    return _replace(rng, _SCALAR, text, rng.choice(SCALARS).encode())


def word_change(rng: random.Random, text: bytes, _: list[bytes]) -> bytes:
    """A word of the file in the place of another, or misspelled."""
    words = _WORD.findall(text) or [b"x"]
    word = rng.choice(words)
    if rng.random() < 0.5:
        i = rng.randrange(len(word))
        word = rng.choice((word[:i] + word[i + 1 :], word[:i] + b"q" + word[i:], word.upper()))
    return _replace(rng, _WORD, text, word)


def alias_change(rng: random.Random, text: bytes, _: list[bytes]) -> bytes:
    """Anchor one value, and put its alias elsewhere: values that are shared, or hold themselves."""
    places = [m.start() for m in re.finditer(rb"(?<=[:,\[-] )[^\s]", text)]
    for at, token in zip(sorted(rng.sample(places, min(2, len(places))), reverse=True), (b"*a ", b"&a "), strict=False):
        text = text[:at] + token + text[at:]
    return text


def nest(rng: random.Random, text: bytes, _: list[bytes]) -> bytes:
    depth = rng.choice((3, 30, 33, 1000, 20_000))
    opening, closing = rng.choice(((b"[", b"]"), (b"{a: ", b"}"), (b"- ", b"")))
    return _replace(rng, _SCALAR, text, opening * depth + b"1" + closing * rng.choice((0, depth)))


def structure_change(rng: random.Random, text: bytes, _: list[bytes]) -> bytes:
    """Move, copy, delete or wrap a part of the tree, and write it as JSON, which is YAML."""
    try:
        data = parse(text).data
    except EpgraphError:
        return text
    spots = list(_spots(data))
    if not spots:
        return text
    (parent, key), (other, place) = rng.choice(spots), rng.choice(spots)
    value = parent[key]
    match rng.randrange(5):
        case 0:
            del parent[key]
        case 1:
            parent[key] = rng.choice(([value], {"a": value}, str(value), [value] * 3, None))
        case 2:
            parent[key] = json.loads(json.dumps(other[place]))
        case 3 if isinstance(parent, dict):
            parent[rng.choice(("a b", "", "<<", "7", "from", "epgraph", "x", "block", "$"))] = value
        case _:
            parent[key] = json.loads(json.dumps(value) * 1)
            if isinstance(parent, list):
                parent.extend(parent[:3])
    # JSON writes nan and infinity as words that YAML reads as text.
    return json.dumps(data, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, 1))).encode("utf-8", "replace")


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    insert_token,
    cut_or_repeat,
    truncate,
    nest,
    alias_change,
    *(lines_change,) * 3,
    *(scalar_change,) * 5,
    *(word_change,) * 4,
    *(structure_change,) * 3,
)
"""Those that leave YAML as it is more often, for what lies behind the parser."""


def _replace(rng: random.Random, pattern: re.Pattern[bytes], text: bytes, by: bytes) -> bytes:
    found = list(pattern.finditer(text))
    if not found:
        return text + by
    spot = rng.choice(found)
    return text[: spot.start()] + by + text[spot.end() :]


def _spots(data: Any) -> Any:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in list(items):
        yield data, key
        yield from _spots(value)


def check(path: Path) -> str:
    """Hold one file to what has to be true of any; return what became of it: ``network``, or the rule it breaks."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["check", str(path), "--json"])
    assert code in (0, 1), err.getvalue()
    assert err.getvalue() == ""
    found = json.loads(out.getvalue())["diagnostics"]
    errors = [d for d in found if d["severity"] == "error"]
    assert (code == 1) == bool(errors)
    for diagnostic in found:
        assert diagnostic["rule"] in RULES, diagnostic
        assert diagnostic["rule"] != "other", diagnostic
        assert "Input should" not in diagnostic["message"], f"pydantic speaks: {diagnostic}"
        assert diagnostic["line"] is not None, diagnostic
    _shown(path)
    if code == 0:
        architecture, _ = inspect(path)
        assert architecture is not None
        again, problems = inspect(to_yaml(architecture))
        assert again == architecture, problems
        return "network"
    return str(errors[0]["rule"])


def _shown(path: Path) -> None:
    try:
        _, diagnostics = inspect(path)
    except EpgraphError as error:
        diagnostics = list(error.diagnostics)
    for diagnostic in diagnostics[:20]:
        first, *excerpt = lines(diagnostic)
        for line in (first, *excerpt):
            plain = re.sub(r"\x1b\[[0-9;]*m", "", line)
            assert plain.isprintable(), repr(plain)
        if excerpt:
            assert "^" in excerpt[1]
            assert max(len(line) for line in excerpt) < 300


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=10_000, help="files to try (default 10,000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first (default 0)")
    arguments = parser.parse_args()
    became: Counter[str] = Counter()
    failures = []
    slowest = (0.0, 0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.yaml"
        for seed in range(arguments.seed, arguments.seed + arguments.count):
            how, content = mutant(seed)
            path.write_bytes(content)
            if arguments.count == 1:
                print(content.decode("utf-8", "backslashreplace"))
            started = time.process_time()
            try:
                became[check(path)] += 1
            except Exception as error:
                failures.append(seed)
                print(f"seed {seed} ({how}): {type(error).__name__}: {str(error)[:300]}", file=sys.stderr, flush=True)
            # The file is checked three times over.
            slowest = max(slowest, ((time.process_time() - started) / 3, seed))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{arguments.count:,} files: " + ", ".join(f"{n} {what}" for what, n in became.most_common()))
    print(f"slowest {slowest[0]:.2f} s (seed {slowest[1]}), {memory:.0f} MiB, {len(failures)} failed: {failures[:20]}")
    return 1 if failures or slowest[0] > SECONDS or memory > MEBIBYTES else 0


if __name__ == "__main__":
    sys.exit(main())
