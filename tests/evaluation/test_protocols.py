import numpy as np
import pytest
import torch
from labelled_samples import store, stripes

from selfsup.errors import InputError
from selfsup.evaluation import heads
from selfsup.evaluation.protocols import PROTOCOLS, protocol, reduced, run_protocol, ten_crops
from selfsup.networks.encoders import build_encoder


@pytest.fixture(scope="module")
def striped():
    pixels, labels = stripes(60)
    images = store(pixels)
    return images.select(np.arange(30)), labels[:30], images.select(np.arange(30, 60)), labels[30:]


def run(name, striped, encoder=None, **options):
    encoder = encoder or build_encoder("small", 32, seed=0)
    return run_protocol(name, encoder, striped[0], striped[1], striped[2], 3, **options)


@pytest.mark.parametrize(("name", "epochs"), [
    ("zhang", 40), ("fair", 40), ("rotnet", 80), ("aet", 80), ("deepcluster", 40), ("asano", 40), ("google", 40),
    ("rotnet-conv", 20), ("rotnet-fc", 40), ("aet-fc", 40), ("rotnet-nonlinear", 40), ("aet-nonlinear", 40),
])  # fmt: skip
def test_every_protocol_learns_stripes(name, epochs, striped, monkeypatch):
    """A short run of each ends above chance at its best stage, and says that it was short."""
    monkeypatch.setattr(heads, "WIDE", 32)
    found = run(name, striped, epochs=epochs, augment=False)
    best = max((logits.argmax(1) == striped[3]).mean() for logits in found.logits.values())

    assert best > 0.6
    assert found.settings["epochs_of_paper"] == PROTOCOLS[name].epochs
    assert found.settings["epochs"] == epochs
    assert not found.settings["as_published"]


def test_the_table_is_tested():
    """No protocol is left out above."""
    (mark,) = (m for m in test_every_protocol_learns_stripes.pytestmark if m.name == "parametrize")
    assert {name for name, _ in mark.args[1]} == set(PROTOCOLS)


def test_rates_hold_until_their_epoch():
    """RotNet's MultLayer: .1 until epoch 20, .02 until 40, .004 until 45, then .0008."""
    how = PROTOCOLS["rotnet-fc"]
    rates = [how.rate(epoch / 100) for epoch in range(100)]

    assert rates[:20] == [0.1] * 20
    assert rates[20:40] == [0.02] * 20
    assert rates[40:45] == [0.004] * 5
    assert rates[45:] == [0.0008] * 55


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_first_epoch_has_the_first_rate(name):
    """For every protocol; boundaries fall on whole epochs of the paper."""
    how = PROTOCOLS[name]
    scale = 1 if how.lr_per is None else how.batch_size / how.lr_per
    starts = [0, *(until for until, _ in how.rates[:-1])]

    assert [how.rate(start / how.epochs) for start in starts] == pytest.approx([scale * r for _, r in how.rates])
    assert how.rates[-1][0] == how.epochs


def test_published_decays():
    """Multiplied by .2 at 35, 70 and 85 of 100; by .1 at 100 and 150 of 200; by 1/sqrt(1 + lr * wd * t)."""
    conv, fc, deep = PROTOCOLS["rotnet-conv"], PROTOCOLS["aet-fc"], PROTOCOLS["deepcluster"]

    assert [conv.rate(e / 100) for e in (34, 35, 70, 85)] == pytest.approx([0.1, 0.02, 0.004, 0.0008])
    assert [fc.rate(e / 200) for e in (99, 100, 150)] == pytest.approx([0.1, 0.01, 0.001])
    assert deep.rate(0.5, step=10**6) == pytest.approx(0.01 / np.sqrt(1 + 0.01 * 1e-4 * 10**6))


@pytest.mark.parametrize(
    ("channels", "side", "width"),
    [(96, 55, 9600), (64, 55, 9216), (192, 27, 9408), (384, 13, 9600), (256, 13, 9216), (512, 28, 8192)],
)
@pytest.mark.parametrize("how", ["average", "max", "bilinear"])
def test_reductions_have_the_published_sizes(channels, side, width, how):
    """About nine thousand features at 224 and 227 pixels, and the same from larger maps."""
    assert reduced(torch.zeros(1, channels, side, side), how).shape == (1, width)
    assert reduced(torch.zeros(1, channels, 2 * side, 2 * side), how).shape == (1, width)


def test_reductions_reduce_as_named():
    """A 2x2 map of 0, 1, 2, 3 has mean 1.5 and maximum 3."""
    maps = torch.arange(4.0).view(1, 1, 2, 2)

    assert reduced(maps, "average", 1).tolist() == [[1.5]]
    assert reduced(maps, "max", 1).tolist() == [[3.0]]
    assert reduced(maps, "bilinear", 1).tolist() == [[1.5]]


@pytest.mark.parametrize("name", ["rotnet", "rotnet-conv"])
def test_the_trunk_is_frozen(name, striped):
    """Weights and batch-norm buffers are the same to the bit, no gradient reaches them, the mode is as before."""
    encoder = build_encoder("small", 32, seed=0).train()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    run(name, striped, encoder, epochs=1)

    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert encoder.training


def test_cached_features_are_those_of_the_centre(striped):
    """Without augmentation, what heads see is what the frozen trunk says of each image once."""
    calls = []
    encoder = build_encoder("small", 32, seed=0)
    encoder.inner.stage1.register_forward_hook(lambda *_: calls.append(1))
    run("rotnet", striped, encoder, epochs=5, augment=False)

    assert len(calls) == 3  # an example to measure, the training images, the test images


def test_the_last_epoch_counts_and_repeats(striped):
    """The same seed gives the same scores; torch's generator is left alone."""
    one = run("rotnet-fc", striped, epochs=2, seed=5).logits["stage2"]
    torch.rand(7)
    state = torch.get_rng_state()
    again = run("rotnet-fc", striped, epochs=2, seed=5).logits["stage2"]

    np.testing.assert_array_equal(one, again)
    assert torch.equal(state, torch.get_rng_state())
    assert not np.array_equal(one, run("rotnet-fc", striped, epochs=2, seed=6).logits["stage2"])


def test_protocols_probe_the_papers_stages(striped):
    """CIFAR-10's protocols read block 2, AlexNet's nonlinear ones the last two maps, linear ones every map."""
    stages = {name: list(run(name, striped, epochs=0.01, augment=False).logits) for name in ("asano", "aet-fc")}

    assert stages == {"asano": ["stage1", "stage2", "stage3", "stage4"], "aet-fc": ["stage2"]}
    assert PROTOCOLS["rotnet-nonlinear"].stages == (-2, -1)


def test_shuffled_labels_give_chance(striped):
    """A probe that learned labels without meaning is at one third."""
    train, labels, test, truth = striped
    wrong = np.random.default_rng(1).permutation(labels)
    found = run("asano", (train, wrong, test, truth), epochs=40, augment=False)

    accuracies = [(logits.argmax(1) == truth).mean() for logits in found.logits.values()]
    assert np.mean(accuracies) == pytest.approx(1 / 3, abs=0.2)


def test_ten_crops_of_a_constant_image_are_one_crop():
    """All ten are alike, and of a larger image they differ."""
    constant = torch.full((2, 3, 36, 36), 0.3)
    assert (ten_crops(constant, 32) == 0.3).all()
    assert ten_crops(constant, 32).shape == (10, 2, 3, 32, 32)

    pixels = torch.rand(1, 3, 36, 36)
    crops = ten_crops(pixels, 32)
    assert torch.equal(crops[1], pixels[..., :32, 4:])
    assert torch.equal(crops[4], pixels[..., 2:34, 2:34])
    assert torch.equal(crops[5], crops[0].flip(-1))


def test_a_misspelled_protocol_is_corrected():
    """The nearest name is offered."""
    with pytest.raises(InputError, match="did you mean rotnet-conv"):
        protocol("rotnet_conv")
