"""How far a long piece of work is: a bar on a terminal, elsewhere a plain line every half minute. Loads no torch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO, TypeVar

Item = TypeVar("Item")

BAR_SECONDS = 0.2
"""Least time between two drawings of a bar."""


class Display:
    """Where progress is shown, and how often.

    Parameters
    ----------
    stream
        Where it is printed; left out, standard error.
    clock
        Returns the time in seconds.
    interval
        Least time between two plain lines, and before the first one.
    hidden
        Whether nothing is shown.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        interval: float = 30.0,
        hidden: bool = False,
    ) -> None:
        self._stream, self.clock, self.interval, self.hidden = stream, clock, interval, hidden
        self._said_at = self._seen_at = float("-inf")
        self._within: list[str] = []

    @property
    def stream(self) -> TextIO | None:
        """Where it is printed; None without a standard error stream."""
        return sys.stderr if self._stream is None else self._stream

    def said(self) -> None:
        """Count the time to the next plain line from now: something has just been printed about the work."""
        self._said_at = self._seen_at = self.clock()

    def begin(self) -> None:
        """Note that a work begins; after a pause the time to the next plain line counts from now."""
        now = self.clock()
        if now - self._seen_at >= self.interval:
            self._said_at = now
        self._seen_at = now

    def due(self) -> bool:
        """Whether a plain line should be printed."""
        self._seen_at = self.clock()
        return self._seen_at - self._said_at >= self.interval

    @contextmanager
    def within(self, what: str) -> Iterator[None]:
        """Put the work of which all others are a part before what they are called."""
        self._within.append(what)
        try:
            yield
        finally:
            self._within.pop()

    def called(self, what: str) -> str:
        """Return what a work is called, with what it is a part of."""
        return ", ".join([*self._within, what])


_DISPLAY: ContextVar[Display | None] = ContextVar("display", default=None)
_STANDARD = Display()


def current() -> Display:
    """Return the display that is in force."""
    return _DISPLAY.get() or _STANDARD


@contextmanager
def displayed(display: Display) -> Iterator[None]:
    """Show progress on another display."""
    token = _DISPLAY.set(display)
    try:
        yield
    finally:
        _DISPLAY.reset(token)


class Progress:
    """A piece of work of which it is shown how far it is; a context manager.

    A stream that cannot be written any more ends the showing, and not the work.

    Parameters
    ----------
    what
        The work in words.
    total, unit
        Number of its parts, and what several of them are called.
    done
        Parts that were done before.
    show
        Whether it is shown.
    delay
        Seconds until a bar appears.
    left
        Returns how much time is left, in words; left out, it follows from the parts that are done.
    """

    def __init__(
        self,
        what: str,
        total: int,
        unit: str,
        *,
        done: int = 0,
        show: bool = True,
        delay: float = 0.0,
        left: Callable[[Progress], str] | None = None,
    ) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, done
        self._display = current()
        self._show = show and not self._display.hidden and self._display.stream is not None
        self._delay, self._left = delay, left
        self._before, self._begun, self._now = done, done, ""
        self._started = self._display.clock()
        self._drawn_at = float("-inf")
        self._bars: list[Any] = []
        if self._show:
            self._terminal = _is_terminal(self._display.stream)
            self._display.begin()
            if self._terminal:
                self._refresh()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._display.clock() - self._started

    @property
    def seconds_each(self) -> float:
        """Seconds that a part takes; 0 before the first one is done."""
        done = self.done - self._before
        return self.elapsed / done if done else 0.0

    @property
    def seconds_left(self) -> float:
        """Seconds until the end, if all parts take the same time."""
        return self.seconds_each * max(0, self.total - self.done)

    def step(self, count: int = 1, facts: Callable[[], str] | None = None) -> None:
        """Count parts as done; ``facts`` is called for more to say, only where it is said."""
        self.done += count
        self._refresh(facts)

    def begin(self, now: str, *, slow: bool = False) -> None:
        """Say what the next part is, and count the parts before it as done; a slow one is said at once."""
        self.done, self._now = self._begun, now
        self._begun += 1
        self._refresh(slow=slow)

    def close(self) -> None:
        """Clear the bar."""
        self._guarded(lambda: [bar.close() for bar in reversed(self._bars)])
        self._bars.clear()
        self._show = False

    def _refresh(self, facts: Callable[[], str] | None = None, slow: bool = False) -> None:
        if not self._show:
            return
        now = self._display.clock()
        if not self._terminal:
            if self._display.due() or slow:
                line = ", ".join(filter(None, [self._place(), facts and facts(), self._time_left()]))
                self._guarded(lambda: print(line, file=self._display.stream, flush=True))
                self._display.said()
        elif now - self._started >= self._delay and (slow or now - self._drawn_at >= BAR_SECONDS):
            more = facts() if facts else ""
            self._guarded(lambda: self._draw(more))
            self._drawn_at = now

    def _place(self) -> str:
        now = f", {self._now}" if self._now else ""
        return f"{self._display.called(self.what)}: {self.done:,}/{self.total:,} {self.unit}{now}"

    def _time_left(self) -> str:
        if self.done == self._before:
            return ""
        return f"{duration(self.seconds_left)} left" if self._left is None else self._left(self)

    def _draw(self, facts: str) -> None:
        """Draw the bar, and below it what else there is to say: a line of 80 columns does not hold all."""
        from tqdm import tqdm

        fixed: dict[str, Any] = {"file": self._display.stream, "leave": False, "dynamic_ncols": True}
        if not self._bars:
            shape = "{desc} {percentage:3.0f}%|{bar}|{postfix}"
            self._bars.append(tqdm(total=self.total, bar_format=shape, desc=self._place(), **fixed))
        if facts and len(self._bars) == 1:
            self._bars.append(tqdm(total=0, bar_format="{desc}", desc="", **fixed))
        bar, *below = self._bars
        bar.n = self.done
        bar.set_description_str(self._place(), refresh=False)
        bar.set_postfix_str(self._time_left(), refresh=False)
        bar.refresh()
        columns = bar.format_dict["ncols"]
        for line in below if facts else ():
            line.set_description_str(facts[: columns - 1] if columns else facts)

    def _guarded(self, act: Callable[[], object]) -> None:
        try:
            act()
        except (OSError, ValueError):  # ValueError: the stream is closed
            self._show = False


def tracked(
    items: Iterable[Item], total: int, what: str, unit: str, *, show: bool = True, delay: float = 1.0
) -> Iterator[Item]:
    """Iterate over the parts of a work, and show how far it is; arguments as for ``Progress``."""
    with Progress(what, total, unit, show=show, delay=delay) as progress:
        for item in items:
            yield item
            progress.step()


def duration(seconds: float) -> str:
    """Write seconds as minutes and seconds, or as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (OSError, ValueError):
        return False
