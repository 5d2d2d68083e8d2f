import numpy as np
import torch
from labelled_samples import store, stripes

from selfsup.evaluation.features import pooled, stage_features, vectors
from selfsup.networks.encoders import build_encoder


def test_the_encoder_is_left_as_it_was():
    """Weights and batch-norm buffers are the same to the bit, and so is the mode of every part."""
    encoder = build_encoder("small", 32, seed=0).train()
    encoder.inner.stage2.eval()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    modes = [part.training for part in encoder.modules()]

    stage_features(encoder, store(stripes(20)[0]), batch_size=8)
    vectors(encoder, store(stripes(20)[0]))

    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())
    assert [part.training for part in encoder.modules()] == modes


def test_stages_are_pooled_to_the_width():
    """C * s * s stays within the width, with the largest s, and a stage keeps at least its channels."""
    encoder = build_encoder("small", 32, seed=0)
    images = store(stripes(16)[0])
    maps = encoder.stages(torch.zeros(2, 3, 32, 32))
    found = stage_features(encoder, images, max_width=1024)

    assert list(found) == list(encoder.stage_names)
    for name, x in found.items():
        channels, side = maps[name].shape[1], maps[name].shape[-1]
        sides = [s for s in range(1, side + 1) if channels * s * s <= 1024]
        assert x.shape == (16, channels * max(sides) ** 2)
    last = encoder.stage_names[-1]
    narrow = stage_features(encoder, images, max_width=5, stages=[last])
    assert {name: x.shape for name, x in narrow.items()} == {last: (16, encoder.width)}


def test_pooling_averages():
    """A 4x4 map becomes the means of its quarters."""
    maps = torch.arange(16.0).view(1, 1, 4, 4)

    assert pooled(maps, 4).tolist() == [[2.5, 4.5, 10.5, 12.5]]
    assert pooled(maps, 100).tolist() == [list(range(16))]


def test_rows_are_the_images_in_order():
    """Row n belongs to image n, whatever the batch size, and is what the encoder says in eval mode."""
    encoder = build_encoder("small", 32, seed=0).eval()
    pixels = stripes(19)[0]
    images = store(pixels)
    one, other = (stage_features(encoder, images, batch_size=size)["stage3"] for size in (5, 19))
    with torch.no_grad():
        own = pooled(encoder.stages(torch.from_numpy(pixels[7:8]).float() / 255)["stage3"], 1024)

    np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(one[7:8], own.numpy(), atol=1e-5)
    np.testing.assert_allclose(stage_features(encoder, images.select(np.array([7, 3])))["stage3"][0], one[7], atol=1e-5)


def test_the_centre_is_seen():
    """Of a larger stored image the middle is looked at: what is around it does not matter."""
    encoder = build_encoder("small", 32, seed=0)
    pixels = stripes(16, size=36)[0]
    framed = pixels.copy()
    framed[..., :2], framed[..., -2:] = 0, 255

    np.testing.assert_array_equal(*(vectors(encoder, store_of(p)) for p in (pixels, framed)))


def store_of(pixels):
    from selfsup.data.images import open_images

    return open_images(pixels, 32, store_size=36)


def test_progress_is_told():
    """The number of images done is reported up to all."""
    told = []
    vectors(build_encoder("small", 32, seed=0), store(stripes(20)[0]), batch_size=8, progress=lambda *p: told.append(p))

    assert told == [("vectors", 8, 20), ("vectors", 16, 20), ("vectors", 20, 20)]
