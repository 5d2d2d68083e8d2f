"""Split-brain: no half sees what it has to say, losses against loops, and both halves learn."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.errors import InputError
from selfsup.method import Batch, DataFacts
from selfsup.methods.splitbrain import SplitBrain
from selfsup.networks.encoders import build_encoder
from selfsup.views import lab

SIZE = 32


def test_uniform_logits_cost_the_logarithms_of_the_bins() -> None:
    """With zero heads over the bins of the paper, the loss is ln 313 + ln 50."""
    method = split_brain(bin_step=10.0)
    for head in (method.to_colour, method.to_lightness):
        nn.init.zeros_(head.numbers.weight)
        nn.init.zeros_(head.numbers.bias)
    (objective,) = method.losses(batch_of(pictures(6)))
    assert objective.loss.item() == pytest.approx(math.log(313) + math.log(50), abs=1e-4)


def test_no_half_depends_on_what_it_has_to_say() -> None:
    """Gradients by the other channels are exactly 0, and those by its own are not."""
    method = split_brain().eval()
    read = torch.rand(2, 3, SIZE, SIZE).requires_grad_()
    method.encoder.normalize = lambda _: read  # type: ignore[method-assign]
    for output, own in zip(method.predict(read), (slice(0, 1), slice(1, 3)), strict=True):
        (slope,) = torch.autograd.grad(output.square().sum(), read, retain_graph=True)
        assert slope[:, own].abs().sum() > 0
        slope[:, own] = 0
        assert not slope.any()


def test_losses_move_their_own_half_alone() -> None:
    """What one half gets wrong has no gradient in the other."""
    method = split_brain()
    halves = method.encoder.inner
    first, second = (output.sum() for output in method.predict(pictures(4)))
    for loss, own, other in ((first, halves.lightness, halves.colour), (second, halves.colour, halves.lightness)):
        found = torch.autograd.grad(
            loss, [*own.parameters(), *other.parameters()], retain_graph=True, allow_unused=True
        )
        count = len(list(own.parameters()))
        assert all(gradient is not None for gradient in found[:count])
        assert not any(gradient is not None and gradient.any() for gradient in found[count:])


def test_loss_equals_a_loop_over_cells() -> None:
    """Averages of L, a and b come before the bins; cross-entropies of both are means over all cells."""
    method = split_brain(label_stride=8, flip=False).eval()
    images = pictures(3)
    (objective,) = method.losses(batch_of(images))
    to_colour, to_lightness = method.predict(images)
    values = lab.from_rgb(images)
    total = 0.0
    for image in range(3):
        for row in range(4):
            for column in range(4):
                cell = values[image, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].mean((1, 2))
                bin_ = (method.bins - cell[1:]).norm(dim=1).argmin()
                level = int(cell[0] // 2)
                total -= to_colour[image, :, row, column].log_softmax(0)[bin_].item() / 48
                total -= to_lightness[image, :, row, column].log_softmax(0)[level].item() / 48
    assert objective.loss.item() == pytest.approx(total, rel=1e-4)


def test_squared_error_equals_the_formula() -> None:
    """Half the squared distance in units of the deviations, summed over L, a and b."""
    method = split_brain(loss="squared", label_stride=8, flip=False).eval()
    images = pictures(3)
    (objective,) = method.losses(batch_of(images))
    to_colour, to_lightness = method.predict(images)
    truth = F.avg_pool2d(lab.from_rgb(images), 8)
    by_hand = (to_lightness - truth[:, :1] / 25).square().sum(1) + (to_colour - truth[:, 1:] / 15).square().sum(1)
    assert objective.loss.item() == pytest.approx(by_hand.mean().item() / 2, rel=1e-5)


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_targets_of_both_halves_flip_with_the_image(stride: int) -> None:
    """Mean L, a and b of a mirrored image, and the bins of both, are the mirrored ones."""
    method, images = split_brain(label_stride=stride), pictures(4)
    truth, mirrored = method.labels(images), method.labels(images.flip(3))
    assert not torch.allclose(mirrored, truth, atol=1.0)
    torch.testing.assert_close(mirrored, truth.flip(3), atol=1e-4, rtol=0)
    for classes, flipped in zip(method.classes(truth), method.classes(mirrored), strict=True):
        assert torch.equal(flipped, classes.flip(2))


def test_bins_are_decoded_to_within_half_a_bin() -> None:
    """Sure answers come back as the middle of their bins."""
    method = split_brain(bin_step=10.0, label_stride=4)
    truth = method.labels(pictures(8))
    colour, light = method.classes(truth)
    sure = [F.one_hot(index, count).movedim(-1, 1) * 1e4 for index, count in ((colour, 313), (light, 50))]
    said, coloured = method.decoded(*(logits.float() for logits in sure))
    assert (said - truth[:, :1]).abs().max() <= 1.001
    assert (coloured - truth[:, 1:]).norm(dim=1).max() <= 7.072
    white = torch.tensor([100.0, 0, 0]).view(1, 3, 1, 1)
    assert [index.item() for index in method.classes(white)] == [int((method.bins == 0).all(1).nonzero()), 49]


def test_gray_images_have_the_neutral_bin() -> None:
    """Every colour of a gray image is the bin at (0, 0), and the half of colour reads a constant."""
    method = split_brain(bin_step=10.0)
    gray = pictures(3).mean(1, keepdim=True).expand(-1, 3, -1, -1)
    colour, _ = method.classes(method.labels(gray))
    assert (method.bins[colour] == 0).all()
    assert method.encoder.normalize(gray)[:, 1:].abs().max() < 1e-3
    with pytest.raises(InputError, match="images are gray"):
        method.start(DataFacts(3, SIZE, lambda count: gray))


@pytest.mark.parametrize("loss", ["squared", "classes"])
def test_chance_is_the_least_loss_of_one_answer_for_all(loss: str) -> None:
    """The best pair of answers that do not look at the image, found by descent, costs what is called chance."""
    method, batch = split_brain(loss=loss, flip=False, label_stride=8), batch_of(pictures(64))
    widths = [head.numbers.out_channels for head in (method.to_colour, method.to_lightness)]
    answers = [torch.zeros(1, width, 1, 1, requires_grad=True) for width in widths]
    method.predict = lambda images: tuple(one.expand(len(images), -1, 4, 4) for one in answers)  # type: ignore
    optimizer = torch.optim.LBFGS(answers, max_iter=200, tolerance_change=1e-12)

    def closure() -> Tensor:
        optimizer.zero_grad()
        (objective,) = method.losses(batch)
        objective.loss.backward()
        return objective.loss

    optimizer.step(closure)
    (objective,) = method.losses(batch)
    assert objective.loss.item() == pytest.approx(objective.chance, rel=2e-3)
    if loss == "squared":
        assert objective.metrics["psnr_gain"].item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("loss", ["squared", "classes"])
def test_both_halves_learn(loss: str) -> None:
    """Where colour follows from lightness and lightness from colour, both come out 3 dB nearer than their means."""
    torch.manual_seed(0)
    method = SplitBrain(build_encoder("small", SIZE, seed=0, sees="halves"), loss=loss, label_stride=4)
    palette = torch.tensor([[0.4, 0.0, 0.0], [0.2, 0.3, 0.9], [0.6, 1.0, 0.5]])
    kinds = torch.randint(3, (128, 4, 4), generator=torch.Generator().manual_seed(2))
    images = palette[kinds].permute(0, 3, 1, 2).repeat_interleave(8, 2).repeat_interleave(8, 3)
    method.start(DataFacts(128, SIZE, lambda count: images[:count]))
    optimizer = torch.optim.Adam(method.parameters(), 3e-3)
    gains: dict[str, Tensor] = {}
    for step in range(40):
        (objective,) = method.losses(batch_of(images[(step % 4) * 32 :][:32]))
        optimizer.zero_grad()
        objective.loss.backward()
        optimizer.step()
        gains = dict(objective.metrics)
    assert gains["colour_gain"] > 3
    assert gains["lightness_gain"] > 3
    assert gains["psnr_gain"].item() == pytest.approx((gains["colour_gain"] + gains["lightness_gain"]).item() / 2)


def test_two_whole_networks_are_announced() -> None:
    """Halves of the networks built in are halves; of timm's there are two of the usual width."""
    small, timm = (SplitBrain(build_encoder(name, SIZE, seed=0, sees="halves")) for name in ("small", "convnext_atto"))
    assert small.remarks == ()
    assert "two whole networks convnext_atto" in timm.remarks[0]


def test_what_lies_behind_the_last_map_learns_too() -> None:
    """Networks with parameters there (ConvNeXt's last norm) pass their vector to the head."""
    method = SplitBrain(build_encoder("convnext_atto", SIZE, seed=0, sees="halves"))
    method.start(DataFacts(8, SIZE, lambda count: pictures(8)))
    (objective,) = method.losses(batch_of(pictures(4)))
    objective.loss.backward()
    assert [name for name, p in method.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"bin_step": 1.0}, "bin_step is a distance"),
        ({"lightness_bins": 1}, "lightness_bins is a number"),
        ({"label_stride": 9}, "label_stride is 1 to 8"),
    ],
)
def test_impossible_settings_are_refused(arguments: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        split_brain(**arguments)


def test_a_whole_encoder_is_refused() -> None:
    with pytest.raises(InputError, match="needs an encoder in two halves"):
        SplitBrain(build_encoder("small", SIZE, seed=0))


def split_brain(**arguments: object) -> SplitBrain:
    """Give the method on a small encoder, started on smooth pictures."""
    torch.manual_seed(0)
    method = SplitBrain(build_encoder("small", SIZE, seed=0, sees="halves"), **arguments)  # type: ignore[arg-type]
    method.start(DataFacts(64, SIZE, lambda count: pictures(64)))
    return method


def pictures(count: int) -> Tensor:
    """Give smooth images with colours of all kinds but the most vivid."""
    coarse = torch.rand(64, 3, 5, 5, generator=torch.Generator().manual_seed(1))[:count]
    return nn.functional.interpolate(coarse, size=SIZE, mode="bilinear")


def batch_of(images: Tensor) -> Batch:
    """Wrap images as a batch."""
    return Batch(images, torch.arange(len(images)), 0, 0.0)
