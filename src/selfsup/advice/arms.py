"""What is compared: an arm is anything that was asked the test images, with its right and wrong answers."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from selfsup import methods
from selfsup.errors import InputError

Kind = Literal["method", "finetuned", "control", "reference"]


@dataclass(frozen=True)
class Arm:
    """The answers of one arm at one label budget.

    Args:
        name: shown in tables and sentences.
        kind: `method` (frozen and probed), `finetuned` (a method whose weights went on training), `control`, or
            `reference` (public weights: shown, never ranked).
        correct: [S, D, N], true where the answer is right.
        seeded: False where another seed would change nothing (raw pixels, public weights).
    """

    name: str
    kind: Kind
    correct: NDArray[np.bool_]
    seeded: bool = True

    def __post_init__(self) -> None:
        if self.correct.ndim != 3 or 0 in self.correct.shape:
            raise InputError(f"The answers of {self.name} must be [seeds, draws, images], got {self.correct.shape}.")


def untrained_that_sees(sees: str) -> str:
    """Name the control of an untrained network: `untrained`, or `untrained (lightness)` where it sees no colour."""
    return "untrained" if sees == "colour" else f"untrained ({sees})"


def untrained_of(arm: str) -> str:
    """Name the control of the untrained network that sees what a method's does, fine-tuned or not."""
    method = arm.partition(" ")[0]
    return untrained_that_sees(methods.sees(method) if method in methods.METHODS else "colour")
