"""Files of the cache are whole or not there, whoever writes them at the same time."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from selfsup.data import cache


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    """Both write at the same time; what is there in the end is whole, and nothing else is left."""
    file, both = tmp_path / "found.npy", threading.Barrier(2)

    def write(value):
        with cache.replaced(file) as opened:
            both.wait(10)
            np.save(opened, np.full(1000, value))
            both.wait(10)
        return value

    with ThreadPoolExecutor(2) as writers:
        assert list(writers.map(write, (1, 2))) == [1, 2]

    assert len(set(np.load(file).tolist())) == 1
    assert list(tmp_path.iterdir()) == [file]


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    """And no piece of itself."""
    file = tmp_path / "found.txt"
    cache.write_durably(file, "before")

    with pytest.raises(ValueError, match="Object arrays cannot be saved"), cache.replaced(file) as opened:
        np.save(opened, np.array([None]), allow_pickle=False)

    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]
