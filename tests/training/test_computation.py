"""How to compute is measured, in bounded time, and told; what was asked for is not measured."""

from itertools import count
from typing import Any

import pytest
import torch
from told import Told
from torch import Tensor

from selfsup.errors import InputError
from selfsup.networks.encoders import Encoder
from selfsup.training import computation
from selfsup.training.computation import Computation, choose

CPU = torch.device("cpu")


@pytest.mark.parametrize(("seconds", "passes"), [(0.001, 6), (1.0, 3), (8.0, 2)])
def test_slow_networks_are_timed_less(monkeypatch: pytest.MonkeyPatch, seconds: float, passes: int) -> None:
    """Six passes of a quick network, two of a slow one, for each way to compute; each way is told."""
    ticks, seen, told = count(), [], Told()
    # a pass reads the clock twice
    monkeypatch.setattr(computation, "perf_counter", lambda: next(ticks) * seconds)
    monkeypatch.setattr(computation, "_has_bfloat16_arithmetic", lambda: True)
    vector = Encoder.vector

    def counted(self: Encoder, images: Tensor) -> Tensor:
        seen.append(images.dtype)
        return vector(self, images)

    monkeypatch.setattr(Encoder, "vector", counted)
    assert choose("auto", "auto", "small", 32, CPU, told).precision == "float32"  # no way is faster by this clock
    assert len(seen) == 4 * passes
    assert told.calls == [("timing precisions and layouts", done, 4) for done in range(5)]


def test_what_is_asked_for_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pass is made, and nothing told."""
    monkeypatch.setattr(computation, "_seconds", lambda *_: pytest.fail("timed"))
    told = Told()
    assert choose("bfloat16", "contiguous", "small", 32, CPU, told) == Computation("bfloat16", "contiguous")
    assert not told.calls


@pytest.mark.parametrize(("half", "taken"), [(1.0, "float32"), (0.9, "float32"), (0.5, "bfloat16")])
def test_bfloat16_must_be_worth_it(monkeypatch: pytest.MonkeyPatch, half: float, taken: str) -> None:
    """A little faster is not enough; the layout is what is fastest at the precision that is taken."""

    def seconds(choice: Computation, *_: Any) -> float:
        return (half if choice.precision == "bfloat16" else 1.0) * (0.8 if choice.layout == "channels_last" else 1.0)

    monkeypatch.setattr(computation, "_seconds", seconds)
    monkeypatch.setattr(computation, "_has_bfloat16_arithmetic", lambda: True)
    assert choose("auto", "auto", "small", 32, CPU) == Computation(taken, "channels_last")


def test_unknown_words_are_refused() -> None:
    """A sentence says what there is."""
    with pytest.raises(InputError, match="no precision 'half'; choose auto, float32 or bfloat16"):
        choose("half", "auto", "small", 32, CPU)
