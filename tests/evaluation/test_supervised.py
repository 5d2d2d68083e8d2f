import numpy as np
import pytest
import torch
from labelled_samples import store, stripes

from selfsup.evaluation import supervised
from selfsup.evaluation.supervised import rows_of_step, train_supervised
from selfsup.networks.encoders import build_encoder


@pytest.fixture(scope="module")
def striped():
    pixels, labels = stripes(90)
    images = store(pixels)
    return images.select(np.arange(45)), labels[:45], images.select(np.arange(45, 90)), labels[45:]


def trained(striped, encoder=None, **options):
    encoder = encoder or build_encoder("small", 32, seed=0)
    return train_supervised(encoder, striped[0], striped[1], 3, batch_size=15, **options)


def test_it_learns(striped):
    """A few steps suffice for stripes, and the images' labels matter."""
    found = trained(striped, steps=30, lr=0.03)
    assert (found.predict(striped[2]) == striped[3]).mean() > 0.8


def test_the_same_seed_gives_the_same_network(striped):
    """To the bit, whatever was drawn before; another seed gives another."""
    one = trained(striped, steps=3, lr=0.03, seed=1).logits(striped[2])
    torch.rand(7)
    again = trained(striped, steps=3, lr=0.03, seed=1).logits(striped[2])

    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, trained(striped, steps=3, lr=0.03, seed=2).logits(striped[2]))


def test_what_is_given_is_not_changed(striped):
    """The encoder keeps weights, buffers and mode, and torch's generator its state."""
    encoder = build_encoder("small", 32, seed=0).eval()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    state = torch.get_rng_state()
    found = trained(striped, encoder, steps=2, lr=0.1)

    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())
    assert not encoder.training
    assert torch.equal(state, torch.get_rng_state())
    moved = found.encoder.state_dict()
    assert all(not torch.equal(before[key], moved[key]) for key in before if key.endswith("weight"))


def test_frozen_parameters_are_trained(striped):
    """Fine-tuning an encoder that was frozen for a probe trains all of it, as from scratch."""
    encoder = build_encoder("small", 32, seed=0).requires_grad_(False)
    found = trained(striped, encoder, steps=1, lr=0.1)

    assert all(not torch.equal(a, b) for a, b in zip(encoder.parameters(), found.encoder.parameters(), strict=True))


def test_the_rate_is_chosen_on_held_out_labels(striped, monkeypatch):
    """Each rate is tried on four fifths of the labels; test images are not there to be seen."""
    seen = []
    original = supervised._Course.run

    def run(self, encoder, images, labels, classes, lr, norm_images):
        seen.append((lr, images.names))
        return original(self, encoder, images, labels, classes, lr, norm_images)

    monkeypatch.setattr(supervised._Course, "run", run)
    found = trained(striped, steps=8, lrs=(1e-6, 0.03))

    assert [(lr, len(names)) for lr, names in seen] == [(1e-6, 36), (0.03, 36), (0.03, 45)]
    assert found.lr == 0.03
    assert dict(found.validation)[0.03] > dict(found.validation)[1e-6]


def test_few_labels_take_the_middle_rate():
    """Below five labels per class nothing is held out."""
    pixels, labels = stripes(12)
    images = store(np.concatenate([pixels, pixels])).select(np.arange(12))
    found = train_supervised(build_encoder("small", 32, seed=0), images, labels, 3, steps=1, lrs=(0.1, 0.001, 0.02))

    assert (found.lr, found.validation) == (0.02, [])


def test_scratch_and_fine_tuning_see_the_same_images():
    """The rows of a step depend on seed and step only; an epoch has each image once."""
    epoch = np.concatenate([rows_of_step(10, 5, step, seed=3) for step in (0, 1)])

    assert sorted(epoch) == list(range(10))
    np.testing.assert_array_equal(rows_of_step(10, 5, 7, seed=3), rows_of_step(10, 5, 7, seed=3))
    assert len(rows_of_step(7, 64, 0, seed=0)) == 7
    assert not np.array_equal(epoch, np.concatenate([rows_of_step(10, 5, step, seed=3) for step in (2, 3)]))
