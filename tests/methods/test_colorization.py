"""Colorization: losses against loops, what is masked, what a blind guess costs, and that it learns to colour."""

import math

import pytest
import torch
from torch import Tensor, nn

from selfsup.errors import InputError
from selfsup.method import Batch, DataFacts
from selfsup.methods.colorization import Colorization
from selfsup.networks.encoders import build_encoder
from selfsup.views import lab

SIZE = 32


def test_uniform_logits_cost_the_logarithm_of_the_bins() -> None:
    """With a zero head over the 313 bins of the paper, the unweighted loss is ln 313."""
    method = zero_head(colorization(loss="classes", grid="gamut", bin_step=10.0, label_stride=4))
    assert len(method.bins) == 313
    (objective,) = method.losses(batch_of(pictures(6)))
    assert objective.loss.item() == pytest.approx(math.log(313), abs=1e-4)


@pytest.mark.parametrize("grid", ["images", "gamut"])
def test_loss_equals_a_loop_over_pixels(grid: str) -> None:
    """Equation 2 of the paper, a pixel at a time, with the weight of the nearest bin."""
    method = colorization(grid=grid, bin_step=20.0, label_stride=8, flip=False).eval()
    images = pictures(3)
    (objective,) = method.losses(batch_of(images))
    output = method.predict(images).detach()
    colours = lab.from_rgb(images)[:, 1:, 4::8, 4::8]
    total = 0.0
    for image in range(3):
        for row in range(4):
            for column in range(4):
                apart = (method.bins - colours[image, :, row, column]).norm(dim=1)
                nearest = apart.argsort()[:5]
                shares = torch.exp(-apart[nearest].square() / (2 * 10.0**2))
                chances = output[image, :, row, column].softmax(0)
                soft = sum(
                    share / shares.sum() * -chances[method.stand_in[bin_]].log()
                    for share, bin_ in zip(shares, nearest, strict=True)
                )
                total += method.weights[method.stand_in[nearest[0]]].item() * soft.item() / 48
    assert objective.loss.item() == pytest.approx(total, rel=1e-4)


def test_soft_codes_cost_at_least_their_entropy() -> None:
    """The least cross-entropy is that of saying the code itself: 1.135 for a colour on a bin and five neighbours."""
    method = colorization(loss="classes", grid="gamut", bin_step=10.0, label_stride=8)
    colours = torch.zeros(2, 2, 4, 4)
    method.labels = lambda images: (colours, torch.ones(2, dtype=torch.bool))  # type: ignore[method-assign]
    index, shares = method.codes(colours)
    code = torch.zeros(2, len(method.bins), 4, 4).scatter_add_(1, index, shares)
    said = code.clamp_min(1e-12).log().requires_grad_()
    method.predict = lambda images: said  # type: ignore[method-assign]
    (objective,) = method.losses(batch_of(pictures(2)))
    far, beside = math.exp(-2) / (1 + 4 * math.exp(-2)), 1 / (1 + 4 * math.exp(-2))
    entropy = -4 * far * math.log(far) - beside * math.log(beside)
    assert entropy == pytest.approx(1.135, abs=5e-4)
    assert objective.loss.item() == pytest.approx(entropy, rel=1e-4)
    (slope,) = torch.autograd.grad(objective.loss, said)
    assert slope.abs().max() < 1e-6
    other = said.detach() + 0.1 * torch.randn(said.shape)
    method.predict = lambda images: other  # type: ignore[method-assign]
    assert next(method.losses(batch_of(pictures(2)))).loss > entropy + 1e-4


def test_weights_in_the_loss_have_the_gradient_of_weights_in_the_gradient() -> None:
    """The released code logs the plain loss and multiplies its gradient at each place by the nearest bin's weight."""
    rare, plain = (colorization(loss=loss, label_stride=8, flip=False) for loss in ("rebalanced", "classes"))
    images = pictures(4)
    index, _ = rare.codes(rare.labels(images)[0])
    weights = rare.weights[index[:, :1]]
    assert weights.max() > 2 * weights.min()
    output = rare.eval().predict(images).detach().requires_grad_()
    behind = output * 1
    behind.register_hook(lambda gradient: gradient * weights)
    rare.predict, plain.predict = lambda images: output, lambda images: behind  # type: ignore[method-assign]
    in_loss, in_gradient = (next(method.losses(batch_of(images))).loss for method in (rare, plain))
    expected, found = (torch.autograd.grad(loss, output)[0] for loss in (in_gradient, in_loss))
    torch.testing.assert_close(found, expected)
    assert in_loss.item() != pytest.approx(in_gradient.item(), rel=0.01)


def test_squared_error_by_hand() -> None:
    """A head that says gray is off by half the squared distance from gray, in units of 15."""
    method = zero_head(colorization(loss="squared", flip=False))
    images = pictures(4)
    (objective,) = method.losses(batch_of(images))
    colours, _ = method.labels(images)
    assert objective.loss.item() == pytest.approx(colours.square().sum(1).mean().item() / 450, rel=1e-5)


@pytest.mark.parametrize("loss", ["squared", "classes", "rebalanced"])
def test_chance_is_the_least_loss_of_one_answer_for_all(loss: str) -> None:
    """The best answer that does not look at the image, found by descent, costs what is called chance."""
    method, batch = colorization(loss=loss, flip=False, label_stride=8), batch_of(pictures(64))
    answer = torch.zeros(1, method.head.numbers.out_channels, 1, 1, requires_grad=True)
    closed = method.predict(pictures(1))[:, :, :1, :1].detach().isneginf()
    method.predict = lambda images: answer.masked_fill(closed, -math.inf).expand(len(images), -1, 4, 4)  # type: ignore
    optimizer = torch.optim.LBFGS([answer], max_iter=200, tolerance_change=1e-12)

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


def test_weights_of_one_give_the_plain_loss() -> None:
    """Rebalancing that weighs all colours alike is none, and otherwise only the weights differ."""
    images = pictures(4)
    plain, alike = (
        next(colorization(**kind, flip=False).eval().losses(batch_of(images))).loss
        for kind in ({"loss": "classes"}, {"loss": "rebalanced", "mixing": 1.0})
    )
    assert plain.item() == pytest.approx(alike.item(), rel=1e-6)
    rare = colorization(mixing=0.1)
    open_ = rare.stand_in == torch.arange(len(rare.bins))
    known = rare.prior > 0
    assert torch.equal(open_, known)
    assert rare.weights[known][rare.prior[known].argmin()] > 2 * rare.weights[known][rare.prior[known].argmax()]


def test_bins_that_the_images_do_not_fill_are_closed() -> None:
    """Their colours go to the nearest open bin, and they are never predicted."""
    method = colorization().eval()
    closed = (method.prior == 0).nonzero()[:, 0]
    assert len(closed) > 5
    apart = torch.cdist(method.bins[closed], method.bins[method.prior > 0])
    chosen = (method.bins[closed] - method.bins[method.stand_in[closed]]).norm(dim=1)
    assert torch.allclose(chosen, apart.min(1).values)
    output = method.predict(pictures(2))
    assert torch.isneginf(output[:, closed]).all()
    every = torch.cartesian_prod(*[torch.linspace(0, 1, 9)] * 3).T.reshape(1, 3, 27, 27)
    index, shares = method.codes(lab.from_rgb(every)[:, 1:])
    assert not torch.isin(index, closed).any()
    assert torch.allclose(shares.sum(1), torch.ones(()), atol=1e-5)
    assert (colorization(grid="gamut").stand_in == torch.arange(len(method.bins))).all()


def test_gray_images_teach_nothing() -> None:
    """An image without colour adds nothing to loss, gradient or gain; a batch of such has gradient 0."""
    method = colorization(flip=False).eval()
    images = pictures(4)
    gray = lab.to_rgb(torch.cat([lab.lightness(images), torch.zeros(4, 2, SIZE, SIZE)], 1))
    (mixed,), (alone,) = (list(method.losses(batch_of(x))) for x in (torch.cat([images, gray]), images))
    assert mixed.loss.item() == pytest.approx(alone.loss.item() / 2, rel=1e-5)
    assert mixed.metrics["psnr_gain"].item() == pytest.approx(alone.metrics["psnr_gain"].item(), abs=1e-4)
    (nothing,) = method.losses(batch_of(gray))
    nothing.loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in method.parameters())
    method = Colorization(build_encoder("small", SIZE, seed=0, sees="lightness"))
    with pytest.raises(InputError, match="images are gray"):
        method.start(DataFacts(4, SIZE, lambda count: gray))


def test_labels_flip_with_the_image() -> None:
    """At every pixel the colours of a mirrored image are the mirrored colours."""
    method, images = colorization(label_stride=1), pictures(2)
    labels, _ = method.labels(images)
    assert torch.equal(method.labels(images.flip(3))[0], labels.flip(3))
    picked, _ = colorization(label_stride=4).labels(images)
    assert torch.equal(picked, labels[:, :, 2::4, 2::4])


@pytest.mark.parametrize("stride", [2, 3, 4, 5])
def test_labels_of_cells_flip_with_the_image(stride: int) -> None:
    """Cells keep their labels: the middle pixel's at odd strides, the one colour of the whole cell at any."""
    method = colorization(label_stride=stride)
    cells = pictures(2)[:, :, ::5, ::5].repeat_interleave(stride, 2).repeat_interleave(stride, 3)
    for images in (cells, *([pictures(2)[..., : 6 * stride, : 6 * stride]] if stride % 2 else [])):
        labels, _ = method.labels(images)
        assert not torch.allclose(labels, labels.flip(3), atol=1.0)
        torch.testing.assert_close(method.labels(images.flip(3))[0], labels.flip(3), atol=1e-3, rtol=0)


def test_colours_never_reach_the_prediction() -> None:
    """Another colour at the same lightness changes neither what is read nor what is said."""
    method = colorization().eval()
    values = lab.from_rgb(pictures(3)) * torch.tensor([1.0, 0.3, 0.3]).view(3, 1, 1)
    other = values * torch.tensor([1.0, -1.0, 0.5]).view(3, 1, 1)
    one, two = (method.predict(lab.to_rgb(x)).softmax(1) for x in (values, other))
    assert torch.allclose(one, two, atol=1e-4)


@pytest.mark.parametrize("loss", ["squared", "rebalanced"])
def test_it_learns_to_colour(loss: str) -> None:
    """Where lightness says it (dark red, light green, blue between), colours come out 6 dB nearer than the mean's."""
    torch.manual_seed(0)
    method = Colorization(build_encoder("small", SIZE, seed=0, sees="lightness"), loss=loss, label_stride=4)
    images = traffic_lights(128)
    method.start(DataFacts(128, SIZE, lambda count: images[:count]))
    optimizer = torch.optim.Adam(method.parameters(), 3e-3)
    gain = torch.zeros(())
    for step in range(40):
        (objective,) = method.losses(batch_of(images[(step % 4) * 32 :][:32]))
        optimizer.zero_grad()
        objective.loss.backward()
        optimizer.step()
        gain = objective.metrics["psnr_gain"]
    assert gain > 6


def test_what_lies_behind_the_last_map_learns_too() -> None:
    """Networks with parameters there (ConvNeXt's last norm) pass their vector to the head."""
    method = Colorization(build_encoder("convnext_atto", SIZE, seed=0, sees="lightness"))
    method.start(DataFacts(8, SIZE, lambda count: pictures(8)))
    (objective,) = method.losses(batch_of(pictures(4)))
    objective.loss.backward()
    assert [name for name, p in method.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"bin_step": 1.0}, "bin_step is a distance"),
        ({"neighbours": 0}, "1 to 20 neighbours"),
        ({"mixing": 2.0}, "mixing is a share"),
        ({"temperature": -1.0}, "temperature is 0"),
        ({"label_stride": 9}, "label_stride is 1 to 8"),
    ],
)
def test_impossible_settings_are_refused(arguments: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        colorization(**arguments)


def test_an_encoder_that_sees_colour_is_refused() -> None:
    with pytest.raises(InputError, match="would see the colours"):
        Colorization(build_encoder("small", SIZE, seed=0))


def colorization(**arguments: object) -> Colorization:
    """Give the method on a small encoder, started on smooth pictures."""
    torch.manual_seed(0)
    method = Colorization(build_encoder("small", SIZE, seed=0, sees="lightness"), **arguments)  # type: ignore[arg-type]
    method.start(DataFacts(64, SIZE, lambda count: pictures(64)))
    return method


def zero_head(method: Colorization) -> Colorization:
    """Make the head say the same whatever it is given."""
    nn.init.zeros_(method.head.numbers.weight)
    nn.init.zeros_(method.head.numbers.bias)
    return method


def pictures(count: int) -> Tensor:
    """Give smooth images with colours of all kinds but the most vivid."""
    coarse = torch.rand(64, 3, 5, 5, generator=torch.Generator().manual_seed(1))[:count]
    return nn.functional.interpolate(coarse, size=SIZE, mode="bilinear")


def traffic_lights(count: int) -> Tensor:
    """Give images of patches whose colour follows from how light they are."""
    generator = torch.Generator().manual_seed(2)
    kinds = torch.randint(3, (count, 4, 4), generator=generator)
    palette = torch.tensor([[0.4, 0.0, 0.0], [0.2, 0.3, 0.9], [0.6, 1.0, 0.5]])
    return palette[kinds].permute(0, 3, 1, 2).repeat_interleave(8, 2).repeat_interleave(8, 3)


def batch_of(images: Tensor) -> Batch:
    """Wrap images as a batch."""
    return Batch(images, torch.arange(len(images)), 0, 0.0)
