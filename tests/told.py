"""A listener to long work, for tests of what is told."""

from selfsup.progress import Silent


class Told(Silent):
    """Keep what was told: `calls` of what, done and total, and `notes`."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []
        self.notes: list[str] = []

    def __call__(self, what: str, done: int, total: int) -> None:
        """Keep a call."""
        self.calls.append((what, done, total))

    def note(self, text: str) -> None:
        """Keep a note."""
        self.notes.append(text)
