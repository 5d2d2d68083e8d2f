"""How long work tells how far it is."""

from collections.abc import Callable

from selfsup.progress import silent

__all__ = ["Progress", "silent"]

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many are done and how many there are; the last call has as many done as there are."""
