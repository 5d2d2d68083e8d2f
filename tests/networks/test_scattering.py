"""Scattering: the network against a naive cascade, and the invariances it is made for."""

import math
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from selfsup.errors import InputError
from selfsup.networks import scattering
from selfsup.networks.encoders import build_encoder, load_encoder, save_encoder
from selfsup.networks.scattering import Scattering, scales_for


def noise(count: int = 2, size: int = 32) -> torch.Tensor:
    """Images in [0, 1] with the 1/f spectrum of photographs, three colours each."""
    draws = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    frequency[0, 0] = np.inf
    spectrum = np.fft.fft2(draws.normal(size=(count, 3, size, size))) / frequency
    values = np.fft.ifft2(spectrum).real
    values -= values.min((2, 3), keepdims=True)
    return torch.from_numpy(values / values.max((2, 3), keepdims=True)).float()


def island(values: torch.Tensor, top: int, left: int) -> torch.Tensor:
    """Lay values into an empty image of 32 pixels; far from the borders, mirroring adds nothing."""
    height, width = values.shape[-2:]
    return F.pad(values, (left, 32 - width - left, top, 32 - height - top))


def by_order(network: Scattering, images: torch.Tensor) -> list[torch.Tensor]:
    """Give what each order adds, without gradients."""
    with torch.no_grad():
        maps = list(network.maps(images).values())
    return [maps[0], *(more[:, before.shape[1] :] for before, more in pairwise(maps))]


def gabor(side: int, sigma: float, angle: float, frequency: float, slant: float) -> np.ndarray:
    """Give a Gaussian times a wave, summed over 5 x 5 periods."""
    found = np.zeros((side, side), complex)
    for row in range(-2 * side, 3 * side):
        for column in range(-2 * side, 3 * side):
            along = row * math.cos(angle) + column * math.sin(angle)
            across = column * math.cos(angle) - row * math.sin(angle)
            height = math.exp(-(along**2 + (slant * across) ** 2) / (2 * sigma**2))
            found[row % side, column % side] += height * np.exp(1j * frequency * along)
    return found / (2 * math.pi * sigma**2 / slant)


def convolved(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve circularly, pixel by pixel of the kernel."""
    places = np.ndindex(kernel.shape)
    return sum(kernel[place] * np.roll(values, place, (0, 1)) for place in places)


def naive(image: np.ndarray, scales: int, angles: int = 8) -> list[list[np.ndarray]]:
    """Give all orders of one colour: every convolution at full resolution, places left out at the very end."""
    side, reach = len(image), 2**scales
    whole = ((side + reach) // reach + 1) * reach
    before = (whole - side) // 2
    padded = np.pad(image, (before, whole - side - before), "reflect")
    low = gabor(whole, 0.8 * 2 ** (scales - 1), 0, 0, 1).real
    waves = []
    for scale in range(scales):
        for number in range(angles):
            shape = 0.8 * 2**scale, (angles / 2 - 1 - number) * math.pi / angles
            wave, hill = (gabor(whole, *shape, centre, 4 / angles) for centre in (0.75 * math.pi / 2**scale, 0))
            waves.append((scale, wave - wave.sum() / hill.sum() * hill))
    orders: list[list[np.ndarray]] = [[padded], [], []]
    for fine, wave in waves:
        orders[1].append(modulus := np.abs(convolved(padded, wave)))
        orders[2] += [np.abs(convolved(modulus, other)) for coarse, other in waves if coarse > fine]
    return [[convolved(values, low)[::reach, ::reach][1:-1, 1:-1] for values in order] for order in orders]


def test_it_is_the_transform_of_the_formulas() -> None:
    """Numbers and order of paths are those of a slow cascade, but for what thinning out on the way costs."""
    images = noise(1, 13)[:, :2]
    found = by_order(Scattering(13, 2), images)
    expected = [naive(colour, 2) for colour in images[0].double().numpy()]

    for order, part in enumerate(found):
        wanted = torch.from_numpy(np.stack([colour[order] for colour in expected])).float()  # [c, K, s, s]
        values = part[0].unflatten(0, (2, -1))
        assert (values - wanted).abs().max() < 0.15 * wanted.mean()
        if order < 2:  # averages and the finest scale are not thinned out before they are averaged
            assert torch.allclose(values[:, :8], wanted[:, :8], atol=5e-5)


@pytest.mark.parametrize("scales", [1, 2, 3, 4])
@pytest.mark.parametrize("angles", [4, 8])
def test_channels_and_side_are_those_of_the_formula(scales: int, angles: int) -> None:
    """1 + JL + L^2 J (J - 1) / 2 channels of each colour, S // 2^J places a side, each order with the ones before."""
    first = 1 + scales * angles
    maps = Scattering(32, scales, angles).maps(torch.rand(1, 3, 32, 32))

    assert list(maps) == ["order0", "order1", "order2"]
    assert maps["order0"].shape == (1, 3, 32 >> scales, 32 >> scales)
    assert maps["order1"].shape[1] == 3 * first
    assert maps["order2"].shape[1] == 3 * (first + angles**2 * scales * (scales - 1) // 2)
    assert torch.equal(maps["order1"][:, :3], maps["order0"])
    assert torch.equal(maps["order2"][:, : 3 * first], maps["order1"])


@pytest.mark.parametrize(("size", "scales"), [(32, 2), (48, 2), (64, 3), (96, 3), (128, 4), (224, 4)])
def test_scales_follow_the_size(size: int, scales: int) -> None:
    """Maps of 8 to 16 places a side, whatever the images."""
    assert scales_for(size) == scales
    assert 8 <= size >> scales <= 16


def test_the_distance_of_images_is_not_stretched() -> None:
    """Each place standing for 4 x 4, images are at most 1.03 times as far apart as before; photographs hardly less."""
    network, photographs, pixels = Scattering(32), noise(8, 21), torch.rand(8, 3, 21, 21)
    for one, other, least in ((photographs, photographs / 2, 0.9), (photographs, pixels, 0.4)):
        one, other = island(one, 6, 6), island(other, 6, 6)
        apart = (network(one) - network(other)).flatten(1).norm(dim=1) * 4 / (one - other).flatten(1).norm(dim=1)

        assert least < apart.min()
        assert apart.max() < 1.03


def test_a_flat_image_has_averages_only() -> None:
    """A constant c gives c at order 0 and nothing beyond."""
    zeroth, first, second = by_order(Scattering(32), torch.full((1, 3, 32, 32), 0.7))

    assert torch.allclose(zeroth, torch.tensor(0.7), atol=1e-4)
    assert max(first.abs().max(), second.abs().max()) < 1e-4


def test_brightness_changes_averages_only_and_contrast_scales_all() -> None:
    """S(x + c) differs at order 0 alone, and S(a x) = a S(x); what is a modulus is not negative."""
    network, images = Scattering(32), noise()
    plain, brighter, stronger = (by_order(network, x) for x in (images, images + 0.5, 3 * images))

    assert torch.allclose(brighter[0], plain[0] + 0.5, atol=1e-4)
    for order in (1, 2):
        assert torch.allclose(brighter[order], plain[order], atol=1e-4)
        assert torch.allclose(stronger[order], 3 * plain[order], atol=1e-4)
        assert plain[order].min() > -1e-5
    means = [part.abs().mean().item() for part in plain]
    assert means[0] > 5 * means[1] > 25 * means[2] > 0


def test_a_shift_changes_it_less_than_pixels() -> None:
    """One pixel of 4 that averages reach over: a third of the change that pixels see, relative to their spread."""
    images = noise(8, 33)
    one, other = images[..., :32, :32], images[..., :32, 1:]
    network = Scattering(32)

    def change(left: torch.Tensor, right: torch.Tensor) -> float:
        return float((left - right).norm() / (left - left.mean(0)).norm())

    found = [torch.cat(by_order(network, x), 1) for x in (one, other)]
    assert change(*found) < 0.5 * change(one, other)


def test_a_shift_by_a_place_moves_the_map_by_a_place() -> None:
    """Exactly, where nothing comes near the borders."""
    values = noise(2, 16)
    one, other = (torch.cat(by_order(Scattering(32), island(values, *corner)), 1) for corner in ((6, 9), (10, 5)))

    assert one.abs().max() > 0.1
    assert torch.allclose(one[..., :-1, 1:], other[..., 1:, :-1], atol=1e-5)


def test_a_quarter_turn_moves_angles() -> None:
    """Turned by 90 degrees about a place of the map, an image has at angle t + L/2 what it had at t."""
    values = noise(2, 21)
    one, other = (
        by_order(Scattering(32), island(image, 6, 6))[1].unflatten(1, (3, 2, 8))[..., 1:, 1:]
        for image in (values, torch.rot90(values, 1, (2, 3)))
    )

    assert torch.allclose(torch.rot90(one, 1, (4, 5)).roll(4, 3), other, atol=1e-5)
    assert not torch.allclose(torch.rot90(one, 1, (4, 5)), other, atol=1e-2)


@pytest.mark.parametrize(("axis", "angle"), [(0, 3), (1, 7)])
def test_a_wave_is_found_by_its_own_wavelet(axis: int, angle: int) -> None:
    """A cosine of 3/4 pi along the rows is strongest at the finest scale and angle 3, along the columns at 7."""
    places = torch.arange(32.0).view((32, 1) if axis == 0 else (1, 32)).expand(32, 32)
    _, first, _ = by_order(Scattering(32), torch.cos(0.75 * math.pi * places)[None, None])

    assert first[0, :, 2:-2, 2:-2].mean((1, 2)).argmax() == angle


def test_there_is_nothing_to_train_and_no_batch_to_depend_on() -> None:
    """No parameters, no state; the same in training and in evaluation, alone and in a batch; images get gradients."""
    encoder, images = build_encoder("scattering", 32), noise(9)
    whole = encoder.train().vector(images)

    assert list(encoder.parameters()) == []
    assert encoder.inner.state_dict() == {}
    assert torch.equal(encoder.eval().vector(images), whole)
    assert torch.allclose(encoder.vector(images[4:5]), whole[4:5], atol=1e-6)
    images[0] = 0.485  # where moduli are 0
    images.requires_grad_()
    encoder.vector(images).sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()
    assert images.grad[1].abs().max() > 0


def test_pieces_and_strides_make_no_difference(monkeypatch) -> None:
    """A batch is worked on a few images at a time, laid out in memory as it comes."""
    network, images = Scattering(32), noise(5)
    whole, sizes = network(images), []
    monkeypatch.setattr(scattering, "CACHED", 2 * images[0].numel())
    network.transform.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    strided = images.to(memory_format=torch.channels_last)

    assert torch.allclose(network(strided), whole, atol=1e-6)
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize("surrounding", [torch.bfloat16, torch.float16])
def test_it_keeps_full_precision_inside_autocast(surrounding: torch.dtype) -> None:
    encoder, images = build_encoder("scattering", 32), noise()
    with torch.autocast("cpu", dtype=surrounding):
        inside = encoder.vector(images)

    assert torch.equal(inside, encoder.vector(images))


def test_precision_is_that_of_the_images() -> None:
    """Double stays double and is computed so, half becomes single; the filters are as they were."""
    network, images = Scattering(32), noise()
    single, double = network(images), network(images.double())

    assert double.dtype == torch.float64
    assert 0 < (double - single).abs().max() < 1e-5
    assert network(images.bfloat16()).dtype == torch.float32
    assert torch.equal(network.double()(images.double()), double)
    assert torch.equal(network(images), single)


def test_filters_go_where_the_network_goes() -> None:
    """Those of other networks of the same size stay."""
    moved, other = Scattering(32).to("meta"), Scattering(32)

    assert {filters.device.type for filters in moved.buffers()} == {"meta"}
    assert {filters.device.type for filters in other.buffers()} == {"cpu"}


def test_without_kymatio_one_sentence_says_what_would_do(monkeypatch) -> None:
    """It is imported when a network is built, not before."""
    monkeypatch.setitem(sys.modules, "kymatio.scattering2d.frontend.torch_frontend", None)

    with pytest.raises(InputError, match=r"needs Kymatio.*pip install kymatio"):
        Scattering(17)  # of a size that nothing else has built


@pytest.mark.parametrize("name", ["scattering", "pixels"])
def test_an_encoder_without_tensors_is_written_and_read(name, tmp_path) -> None:
    """The file says how to build it; what is loaded gives the same."""
    encoder = build_encoder(name, 48, mean=(0.1, 0.2, 0.3))
    save_encoder(encoder, tmp_path)
    again = load_encoder(tmp_path / "encoder.safetensors")

    assert again.description() == encoder.description()
    assert torch.equal(again.vector(images := noise(2, 48)), encoder.vector(images))
    with pytest.raises(InputError, match="sees colour"):
        build_encoder(name, 32, sees="halves")


def test_pixels_are_means_of_pixels() -> None:
    """32 pixels a side are averaged by fours, and the vector is the image, not its mean colour."""
    images = torch.rand(2, 3, 32, 32)
    encoder = build_encoder("pixels", 32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    assert torch.allclose(encoder(images), F.avg_pool2d(images, 2))
    assert torch.equal(encoder.vector(images), encoder(images).flatten(1))
