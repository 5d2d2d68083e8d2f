"""What every test starts from."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Let a test draw the same numbers alone, in any order and on any worker."""
    torch.manual_seed(0)
