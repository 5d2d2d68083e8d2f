"""AET: transformations written as numbers and read back, both images through one encoder, and losses by hand."""

import pytest
import torch
from torch import Tensor, nn

from selfsup.errors import InputError
from selfsup.method import Batch
from selfsup.methods import aet
from selfsup.methods.aet import AET
from selfsup.networks.encoders import build_encoder
from selfsup.views import crops, homographies, sheets, warps

ALL = list(aet.codes(32))


@pytest.mark.parametrize("key", ALL, ids="-".join)
def test_what_is_written_can_be_read(key: tuple[str, str]) -> None:
    maps = drawn(key[0], 64)
    code = aet.codes(32)[key]
    torch.testing.assert_close(code.read(code.write(maps)), maps, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (("affine", "matrix"), [1, 0, 0, 0, 1, 0]),
        (("affine", "parameters"), [1, 0, 0, 0, 0, 0]),
        (("projective", "matrix"), [1, 0, 0, 0, 1, 0, 0, 0]),
        (("projective", "parameters"), [1, 0, -0.8, 0, 1, -0.8, 0, 0]),
        (("projective", "corners"), [-1, -1, 1, -1, 1, 1, -1, 1]),
    ],
)
def test_the_identity_in_numbers(key: tuple[str, str], expected: list[float]) -> None:
    """With the released constants at 32 pixels, -16/20 for either shift."""
    (numbers,) = aet.codes(32)[key].write(torch.eye(3)[None])
    assert numbers.tolist() == pytest.approx(expected, abs=1e-6)


def test_a_shift_to_the_right_reads_further_left() -> None:
    """The direction of the map: six pixels right at 32 is 0.375 half sides, and the matrix that samples has a minus."""
    uniform = torch.full((1, 5), 0.5)
    uniform[0, 1] = 0.5 + 6 / 12.8
    maps = homographies.pick_affine(uniform, 32)
    assert maps[0].tolist() == [[1, 0, -0.375], [0, 1, 0], [0, 0, 1]]
    assert aet.affine_parameters(maps)[0, 2].item() == pytest.approx(6 / 6.4)
    x = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(warps.project(x, maps)[..., 6:], x[..., :-6])
    assert aet.corner_places(maps)[0, ::2].tolist() == pytest.approx([-0.625, 1.375, 1.375, -0.625])


@pytest.mark.parametrize("side", [32, 48, 224])
def test_affine_parameters_keep_to_their_ranges(side: int) -> None:
    """Cosine and sine of one angle; the rest within [-1, 1], shifts of whole pixels."""
    numbers = aet.affine_parameters(drawn("affine", 512, side))
    torch.testing.assert_close(numbers[:, :2].square().sum(1), torch.ones(512, dtype=torch.float64))
    assert numbers.abs().max() <= 1 + 1e-9
    pixels = numbers[:, 2:4] * homographies.SHIFT * side
    torch.testing.assert_close(pixels, pixels.round(), atol=1e-9, rtol=0)
    assert numbers.std(0).min() > 0.5


def test_corners_move_by_whole_pixels_within_an_eighth_and_stay_convex() -> None:
    """Scaled corners differ from the moved ones by whole pixels only, at most 4 of 32."""
    uniform = torch.rand(256, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    uniform[:, 0], uniform[:, 1] = 0.5, 0.0
    places = aet.corner_places(homographies.pick_projective(uniform, 32)).view(-1, 4, 2)
    moved = (places - torch.tensor(homographies.FRAME)) * 16
    torch.testing.assert_close(moved, moved.round(), atol=1e-9, rtol=0)
    assert moved.abs().max().round() == 4
    sides = drawn_corners().roll(-1, 1) - drawn_corners()
    following = sides.roll(-1, 1)
    assert (sides[..., 0] * following[..., 1] - sides[..., 1] * following[..., 0]).min() > 0


def test_computed_constants_are_those_released_for_224_pixels() -> None:
    """Those for 32 are rounded guesses: the deviations there are (0.76, 0.76, 17, ..., 0.0062)."""
    mean, deviation = aet.computed_standards(224)
    assert deviation == pytest.approx(aet.RELEASED[224][1], rel=0.01)
    assert mean == pytest.approx(aet.RELEASED[224][0], abs=0.02)
    assert mean[6:] == pytest.approx(aet.RELEASED[224][0][6:], rel=0.05)
    at_32 = aet.computed_standards(32)[1]
    assert at_32 == pytest.approx((0.763, 0.763, 17.0, 0.763, 0.763, 17.0, 0.00616, 0.00616), rel=0.01)
    maps = drawn("projective", 4096, 96)
    numbers = aet.codes(96)["projective", "parameters"].write(maps)
    assert numbers.mean(0).abs().max() < 0.06
    assert numbers.std(0).tolist() == pytest.approx([1] * 8, abs=0.06)


def test_released_constants_for_32_pixels_leave_numbers_of_order_one() -> None:
    """Means near 0; deviations 0.76, 0.85 of shifts and 0.41 of perspective, not 1, as the constants are rounded."""
    numbers = aet.codes(32)["projective", "parameters"].write(drawn("projective", 20_000))
    assert numbers.mean(0).tolist() == pytest.approx([0] * 8, abs=0.06)
    assert numbers.std(0).tolist() == pytest.approx([0.76, 0.76, 0.85, 0.76, 0.76, 0.85, 0.41, 0.41], abs=0.015)


@pytest.mark.parametrize(("transform", "target"), ALL, ids=str)
def test_loss_equals_a_loop_over_images(transform: str, target: str) -> None:
    """Half the squared Frobenius distance of matrices, or the mean of squared differences of the numbers."""
    method, images = built(transform=transform, target=target).eval(), torch.rand(5, 3, 36, 36)
    torch.manual_seed(4)
    (objective,) = losses_of(method, images)
    torch.manual_seed(4)
    views = crops.random_crop(images, 32, flip=False)
    maps, transformed = method.transform(views)
    total = 0.0
    for view, after, true in zip(views, transformed, maps, strict=True):
        estimate = method.decoder(method.encoder.vector(view[None]), method.encoder.vector(after[None]))[0].tolist()
        if target == "matrix":
            guessed = [*[*estimate, 0.0, 0.0][:8], 1.0]
            total += 0.5 * sum((a - b) ** 2 for a, b in zip(true.flatten().tolist(), guessed, strict=True)) / 5
        else:
            wanted = method.code.write(true[None])[0].tolist()
            total += sum((a - b) ** 2 for a, b in zip(estimate, wanted, strict=True)) / len(wanted) / 5
    assert objective.loss.item() == pytest.approx(total, rel=1e-4)
    assert objective.metrics["r2"].item() == pytest.approx(1 - total / objective.chance, rel=1e-4)


@pytest.mark.parametrize(("transform", "target"), ALL, ids=str)
def test_chance_is_the_loss_of_the_best_constant(transform: str, target: str) -> None:
    """The mean of many draws, always given as the answer, has that loss; r2 is 0 then."""
    method = built(transform=transform, target=target)
    numbers = method.code.write(drawn(transform, 20_000))
    errors = (numbers - numbers.mean(0)).square().mean(0).float()
    assert method.weight * errors.sum().item() == pytest.approx(method.chance, rel=0.02)
    assert all(abs(value.item()) < 0.05 for value in method.explained(errors).values())


def test_chance_of_affine_parameters_by_hand() -> None:
    """Variance 1/2 for cosine and sine, 1/3 for a number even in [-1, 1]; shifts are rounded to 13 whole pixels."""
    shifts = 2 * sum(k**2 for k in range(6)) / 12.8 + 2 * 36 * (0.9 / 12.8)
    expected = (1 / 2 + 1 / 2 + 2 * shifts / 6.4**2 + 1 / 3 + 1 / 3) / 6
    assert built(transform="affine", target="parameters").chance == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("transform", "target"), ALL, ids=str)
def test_a_perfect_estimate_has_no_loss_and_undoes_the_warp(
    transform: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zero loss, all r2 1; undone as estimated is undone as it was, and in the middle the image is back."""
    method = built(transform=transform, target=target)
    maps = drawn(transform, 8).float()
    monkeypatch.setattr(method, "transform", lambda images: (maps, method.warp(images, maps)))
    monkeypatch.setattr(method, "estimate", lambda images, transformed: method.code.write(maps))
    shown: list[Tensor] = []
    monkeypatch.setattr(sheets, "rows", lambda rows: shown.extend(rows) or rows[0])
    batch = Batch(smooth(8), torch.arange(8), 0, 0.0)
    (objective,) = method.losses(batch)
    assert objective.loss == 0
    assert all(value == 1 for value in objective.metrics.values())
    method.figures(batch)
    images, transformed, estimated, undone = shown
    torch.testing.assert_close(estimated, undone, atol=1e-3, rtol=0)
    middle = (..., slice(12, 20), slice(12, 20))
    assert (undone[middle] - images[middle]).abs().mean() < 0.02 < (transformed[middle] - images[middle]).abs().mean()


def test_original_comes_first_and_both_branches_learn() -> None:
    """Swapping the images changes the answer; the encoder's gradient has a share from either image."""
    method, images = built().eval(), smooth(4)
    _, transformed = method.transform(images)
    assert not torch.allclose(method.estimate(images, transformed), method.estimate(transformed, images))
    vectors = torch.cat([method.encoder.vector(images), method.encoder.vector(transformed)], dim=1)
    (linear,) = method.decoder.layers
    torch.testing.assert_close(method.estimate(images, transformed), linear(vectors))
    inputs = [images.requires_grad_(), transformed.detach().requires_grad_()]
    gradients = torch.autograd.grad(method.estimate(*inputs).square().sum(), inputs)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_each_set_has_batch_statistics_of_its_own() -> None:
    """Two passes: running averages move twice, and the originals' vectors do not depend on the transformed images."""
    method, images = built(), smooth(8)
    norm = next(module for module in method.encoder.modules() if isinstance(module, nn.BatchNorm2d))
    vectors: list[tuple[Tensor, Tensor]] = []
    method.decoder.register_forward_pre_hook(lambda _, given: vectors.append(given))
    method.estimate(images, torch.zeros_like(images))
    assert norm.num_batches_tracked == 2
    method.estimate(images, images.flip(3))
    (originals, zeros), (again, flipped) = vectors
    assert torch.equal(originals, again)
    assert not torch.allclose(zeros, flipped)


def test_the_target_depends_on_the_draw_alone() -> None:
    """The same seed gives the same triple; other images get the same transformations."""
    method = built()
    triples = []
    for images in (smooth(4), smooth(4), 1 - smooth(4)):
        torch.manual_seed(5)
        triples.append((*method.transform(images), images))
    for one, other in zip(triples[0], triples[1], strict=True):
        assert torch.equal(one, other)
    assert torch.equal(triples[0][0], triples[2][0])
    assert not torch.equal(triples[0][0][0], triples[0][0][1])


def test_explained_shares_are_of_the_numbers_they_name() -> None:
    """An error of the whole variance in the shift alone takes that share away and leaves the others."""
    for transform, places in (("projective", (2, 5)), ("affine", (2, 5))):
        method = built(transform=transform)
        errors = torch.zeros_like(method.spread)
        errors[list(places)] = method.spread[list(places)]
        shares = method.explained(errors)
        assert shares.pop("r2") < 1
        assert shares.pop("r2_shift") == 0
        assert all(share == 1 for share in shares.values())


def test_borders_are_gray_or_mirrored() -> None:
    black = torch.zeros(16, 3, 32, 32)
    gray, mirror = built(), built(border="mirror")
    assert gray.transform(black)[1].amax() == pytest.approx(128 / 255)
    assert mirror.transform(black)[1].amax() == 0


def test_a_hidden_layer_can_compare() -> None:
    """Only with it is a decoder more than a sum of two shares."""
    a, b, c, d = torch.rand(4, 6, 128).unbind()
    for hidden, adds_up in ((0, True), (32, False)):
        decoder = built(hidden=hidden).decoder.eval()
        assert torch.allclose(decoder(a, b) + decoder(c, d), decoder(a, d) + decoder(c, b), atol=1e-5) == adds_up


def test_a_negative_width_is_refused() -> None:
    with pytest.raises(InputError, match="hidden is a width, got -1"):
        built(hidden=-1)


def test_a_few_steps_beat_the_best_constant() -> None:
    """On pictures with an obvious upright (bright above, red on the left) the turn is learned at once."""
    torch.manual_seed(0)
    method = built()
    optimizer = torch.optim.Adam(method.parameters(), 2e-3)
    line = torch.linspace(0, 1, 32)
    picture = torch.stack([line.flip(0)[:, None].expand(32, 32), line[:, None].expand(32, 32), line.expand(32, 32)])
    for _ in range(40):
        images = picture * (0.5 + torch.rand(16, 1, 1, 1) / 2)
        (objective,) = losses_of(method, images)
        optimizer.zero_grad()
        objective.loss.backward()
        optimizer.step()
    assert objective.metrics["r2"] > 0.3


def built(**arguments: object) -> AET:
    """Give the method on a small encoder; images are not mirrored."""
    torch.manual_seed(3)
    return AET(build_encoder("small", 32, seed=0), flip=False, **arguments)  # type: ignore[arg-type]


def losses_of(method: AET, images: Tensor) -> list:
    """List what one batch yields."""
    return list(method.losses(Batch(images, torch.arange(len(images)), 0, 0.0)))


def drawn(transform: str, count: int, side: int = 32) -> Tensor:
    """Draw transformations, in float64."""
    family = homographies.FAMILIES[transform]
    generator = torch.Generator().manual_seed(7)
    return family.pick(torch.rand(count, family.numbers, dtype=torch.float64, generator=generator), side)


def drawn_corners() -> Tensor:
    """Give where the corners of many images went."""
    return aet.corner_places(drawn("projective", 2048)).view(-1, 4, 2)


def smooth(count: int) -> Tensor:
    """Give smooth random images."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(2))
    return nn.functional.interpolate(coarse, size=32, mode="bicubic").clamp(0, 1)
