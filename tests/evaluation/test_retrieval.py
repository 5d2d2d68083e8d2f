import numpy as np
from labelled_samples import store, stripes
from PIL import Image

from selfsup.evaluation.retrieval import neighbour_sheet
from selfsup.networks.encoders import build_encoder


def test_a_sheet_shows_queries_and_their_neighbours(tmp_path):
    """One row per query: the query, then its neighbours; a copy of the query is the first of them."""
    pixels = stripes(20)[0]
    twins = np.concatenate([pixels, pixels])
    encoder = build_encoder("small", 32, seed=0)
    out = neighbour_sheet(encoder, store(twins), tmp_path / "sheets" / "a.png", queries=3, k=4)
    picture = np.asarray(Image.open(out))

    assert picture.shape == (3 * 34 - 2, 5 * 34 - 2, 3)
    for row in range(3):
        tiles = picture[34 * row : 34 * row + 32]
        np.testing.assert_array_equal(tiles[:, :32], tiles[:, 34:66])
        assert not np.array_equal(tiles[:, :32], tiles[:, 68:100])
