"""Memory is kept between steps, and systems that cannot are left alone."""

import subprocess
import sys

import pytest

from selfsup import memory

FAULTS = """
import resource, sys, torch
from selfsup import memory
if sys.argv[1] == "keep":
    assert memory.keep_pages()
weight, faults = torch.ones(1 << 20, requires_grad=True), []
for step in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    x = weight
    for _ in range(3):  # activations of 48 MB
        x = x.repeat(12).sin().view(12, -1).sum(0)
    x.sum().backward()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sum(faults[3:]))
"""


@pytest.mark.skipif(not memory.keep_pages(), reason="this C library has no mallopt")
def test_later_steps_use_the_pages_of_earlier_ones() -> None:
    """Once kept, well under half of the 500,000 fresh pages that three steps touch otherwise (usually a fortieth)."""
    run = subprocess.run([sys.executable, "-c", FAULTS, "keep"], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 200_000


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory.keep_pages() is False
