"""A stopped run, however it was stopped, goes on as if nothing had happened."""

from pathlib import Path

import pytest
import torture


@pytest.mark.parametrize("method", torture.METHODS)
def test_killed_run_ends_with_the_same_bytes(method: str, tmp_path: Path) -> None:
    """SIGKILL at a random moment, then the same command: the encoder is the uninterrupted run's, to the bit."""
    data = torture.images(tmp_path / "images.npy")
    expected = torture.straight(method, data, tmp_path / "straight", steps=40)
    found, count = torture.killed(method, data, tmp_path / "killed", steps=40, kills=1, seed=1)
    assert count == 1
    assert found == expected
