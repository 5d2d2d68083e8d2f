"""Rounds: stretches of a run, an epoch or longer, that a method prepares (by clustering, say), and what they cost."""

from typing import NamedTuple


class Rounds(NamedTuple):
    """How a run is divided into rounds, and the time that preparing one takes."""

    per_epoch: int
    """Batches."""
    most: int = 20
    """Rounds of a run; of long runs they are longer than an epoch."""
    seconds: float = 0.0
    """To prepare one."""
    before: float = 0.0
    """Seconds before the first step: tracks are searched for, say."""

    def count(self, steps: int) -> int:
        """Give the number of rounds of a run: one for each whole epoch, up to the most."""
        return min(self.most, max(1, steps // self.per_epoch))

    def around(self, step: int, steps: int) -> tuple[int, int]:
        """Give the first batch of the round that a batch lies in, and of the next; rounds differ by one batch at most.

        Args:
            step: number of the batch.
            steps: batches of the whole run.
        """
        count = self.count(steps)
        number = ((step + 1) * count - 1) // steps
        return number * steps // count, (number + 1) * steps // count

    def total(self, steps: int, seconds_per_step: float) -> float:
        """Give the seconds of a run with all it prepares."""
        return self.before + steps * seconds_per_step + self.count(steps) * self.seconds

    def steps_within(self, budget: float, seconds_per_step: float) -> int:
        """Give the largest number of steps, at least 1, that fit into `budget` seconds with all that is prepared."""
        low, high = 1, max(1, int(budget / seconds_per_step))
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.total(middle, seconds_per_step) <= budget else (low, middle - 1)
        return low
