"""Progress of long work: live bars on a terminal, plain lines elsewhere."""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, cast

from selfsup.terminal import Stream, say, visible

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

EVERY = 10.0
"""Seconds between two plain lines of one piece of work."""


class Progress(ABC):
    """What long work tells as it goes."""

    @abstractmethod
    def __call__(self, what: str, done: int, total: int) -> None:
        """Take that `done` of `total` pieces of a work are done; the last call has done = total."""

    @abstractmethod
    def step(self, what: str, done: int, total: int, row: Mapping[str, Any]) -> None:
        """Take a row of training: loss, chance, metrics, images per second, share of waiting."""

    @abstractmethod
    def note(self, text: str) -> None:
        """Take a sentence that should be seen."""


class Silent(Progress):
    """Tell nobody."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Do nothing."""

    def step(self, what: str, done: int, total: int, row: Mapping[str, Any]) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""


silent = Silent()
"""The progress that is told nowhere."""


class Shown(Progress):
    """Show work to a person; used as a context, so that the terminal is left as it was.

    Args:
        stream: where to; standard error by default, so that results can be piped.
        live: bars that move; by default, if `stream` is a terminal.
    """

    def __init__(self, stream: Stream | None = None, *, live: bool | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.live = self.stream.isatty() if live is None else live
        self.bars: Bars | None = None
        self.tasks: dict[str, TaskID] = {}
        self.started: dict[str, tuple[float, int]] = {}
        self.shown: dict[str, float] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show a bar, or a line now and then."""
        self._show(what, done, total, "")

    def step(self, what: str, done: int, total: int, row: Mapping[str, Any]) -> None:
        """Show a row of training beside its bar."""
        parts = [f"loss {row['loss']:.4g}"] if row.get("loss") is not None else []
        if row.get("chance") is not None:
            parts.append(f"(chance {row['chance']:.4g})")
        parts += [f"{name} {value:.3g}" for name, value in row.get("metrics", {}).items()]
        if row.get("images_per_second") is not None:
            parts.append(f"{row['images_per_second']:,.0f} images/s")
        if row.get("waiting") is not None:
            parts.append(f"waiting {row['waiting']:.0%}")
        self._show(what, done, total, "  ".join(parts))

    def note(self, text: str) -> None:
        """Print a sentence, above the bars where there are some."""
        if self.bars is not None:
            self.bars.console.print(visible(text), soft_wrap=True)
        else:
            say(text, self.stream)

    def __enter__(self) -> "Shown":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars is not None:
            self.bars.stop()
            self.bars = None
            self.tasks.clear()

    def _show(self, what: str, done: int, total: int, text: str) -> None:
        if self.live:
            self._move_bar(what, done, total, text)
        elif self._is_due(what, done, total):
            parts = [f"{what}: {done:,} of {total:,}", text, self._left(what, done, total)]
            say("  ".join(part for part in parts if part), self.stream)

    def _is_due(self, what: str, done: int, total: int) -> bool:
        """Whether to print now: at the first call, every `EVERY` seconds, and at the end."""
        now = time.monotonic()
        if what not in self.shown or now - self.shown[what] >= EVERY or done >= total:
            self.shown[what] = now
            if done >= total:
                del self.shown[what]
            return True
        return False

    def _left(self, what: str, done: int, total: int) -> str:
        """Say how long it will take, from how long it took since it was first seen."""
        started, at = self.started.setdefault(what, (time.monotonic(), done))
        if done >= total:
            del self.started[what]
        if not at < done < total:
            return ""
        return f"{clock((time.monotonic() - started) / (done - at) * (total - done))} left"

    def _move_bar(self, what: str, done: int, total: int, text: str) -> None:
        if self.bars is None:
            self.bars = _bars(self.stream)
            self.bars.start()
        if what not in self.tasks:
            self.tasks[what] = self.bars.add_task(visible(what), total=total or None, text="")
        self.bars.update(self.tasks[what], completed=done, total=total or None, text=visible(text))
        if total and done >= total:
            self.bars.stop_task(self.tasks.pop(what))


def clock(seconds: float) -> str:
    """Write a length of time for people: `45 s`, `3:20 min`, `2:05 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def _bars(stream: Stream) -> "Bars":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    # Names and numbers are shown as they are: no markup, no emoji, no colouring of what looks like a number.
    console = Console(file=cast(IO[str], stream), markup=False, emoji=False, highlight=False)
    columns = [
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    ]
    return Bars(*columns, console=console, redirect_stdout=True, redirect_stderr=True)
