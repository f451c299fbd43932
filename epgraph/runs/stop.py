"""Signals that end a training: it stops after the present batch, with a checkpoint."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(Exception):  # noqa: N818 - it is no error
    """A training was stopped by a signal, after it had written a checkpoint.

    Attributes
    ----------
    exit_code
        Exit code by which a shell recognizes the signal.
    advice
        How to go on; the message ends with it.
    """

    def __init__(self, number: int, place: str, safe: str, advice: str = "continue with --resume") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} at {place}; {safe}")
        self.exit_code = 128 + number
        self.advice = advice

    def __str__(self) -> str:
        return f"{super().__str__()}; {self.advice}"


class StopSignals:
    """Turns the first SIGINT, SIGTERM or SIGHUP into a request; a second one interrupts at once.

    A context manager for the main thread. A signal that was ignored before (SIGHUP under ``nohup``) stays ignored.
    ``received`` is the signal's number, or None. With ``launched`` further signals are ignored: torchrun passes on what
    a scheduler has sent to all processes already, and kills what does not end.
    """

    def __init__(self, launched: bool = False) -> None:
        self._launched = launched
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and not self._launched:
            raise KeyboardInterrupt
        self.received = self.received or number


def ignore_signals() -> None:
    """Ignore the signals in a process that loads data: the training ends it after the checkpoint."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
