"""Filters from images: channels of equal scale, uncorrelated or centres of patches, whatever the network."""

from collections.abc import Iterator
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.clustering import kmeans
from selfsup.draws import mix
from selfsup.errors import InputError
from selfsup.networks import filters
from selfsup.networks.built_in import Stack
from selfsup.networks.encoders import Encoder, build_encoder
from selfsup.networks.filters import initialise
from selfsup.networks.names import WAYS


@pytest.mark.parametrize("how", WAYS)
def test_channels_have_mean_and_deviation(how: filters.How) -> None:
    """Before every non-linearity: mean 0.1 and deviation 1 on these images, about that on others."""
    encoder = plain()
    initialise(encoder, pictures(64), how, 0)
    for images, exact in ((pictures(64), True), (pictures(64, seed=1), False)):
        for values in before_rectifiers(encoder, images):
            mean, std = values.mean((0, 2, 3)), values.std((0, 2, 3), correction=0)
            assert (mean - 0.1).abs().max() < (1e-3 if exact else 0.35)
            assert (std - 1).abs().max() < (1e-2 if exact else 0.35)


def test_responses_of_principal_directions_are_uncorrelated() -> None:
    """The covariance of the first layer's channels over all places of the images is the identity."""
    encoder = plain()
    initialise(encoder, pictures(32), "pca", 0)
    rows = next(before_rectifiers(encoder, pictures(32))).transpose(0, 1).flatten(1)
    assert torch.allclose(torch.cov(rows), torch.eye(len(rows)), atol=2e-2)


def test_filters_are_centres_of_whitened_patches() -> None:
    """As written in the sources: whiten by the leading directions, unit rows, k-means, back to pixels, deviation 1."""
    encoder, images = plain(), pictures(32)
    initialise(encoder, images, "kmeans", 3)
    patches = F.unfold(encoder.normalize(images), 3, padding=1).transpose(1, 2).flatten(0, 1).double()
    patches = patches - patches.mean(0)
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    variances, directions = variances.flip(0)[:8], directions.flip(1)[:, :8]
    directions = directions * directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
    whitening = directions / (variances + filters.FLOOR * variances[0]).sqrt()
    contrast = patches.var(1, correction=0)
    rows = F.normalize(patches @ whitening)[contrast > filters.FLAT * contrast.mean()]
    centres = kmeans(rows.float(), 8, seed=mix(3, 0xF117, 0)).centroids.double()
    expected = centres @ whitening.T
    expected = expected / (patches @ expected.T).std(0, correction=0)[:, None]
    assert torch.allclose(filters_of(encoder).flatten(1).double(), expected, atol=0.02 * expected.abs().max().item())


def test_kmeans_finds_what_images_are_made_of() -> None:
    """Of images tiled with four patterns, each has a filter that hardly answers the others."""
    patterns = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    which = torch.randint(4, (64, 8, 8), generator=torch.Generator().manual_seed(1))
    tiled = patterns[which].permute(0, 3, 1, 4, 2, 5).reshape(64, 3, 32, 32)
    noise = 0.1 * torch.randn(tiled.shape, generator=torch.Generator().manual_seed(2))
    encoder = plain(stem=nn.Conv2d(3, 8, 4, stride=4))
    initialise(encoder, tiled + noise, "kmeans", 0)
    answers = F.conv2d(patterns, filters_of(encoder)).flatten(1)  # [pattern, filter]
    own = answers[:, answers.argmax(1)]  # the best filter of each pattern
    assert (own.diagonal() > 3 * (own - 10 * torch.eye(4)).amax(0)).all()


@pytest.mark.parametrize("how", WAYS)
def test_same_seed_same_filters(how: filters.How) -> None:
    """Seed and images decide to the bit, torch's generator stays as it was, and so do modes."""
    found = []
    for _ in range(2):
        encoder = plain(seed=len(found)).eval()
        state = torch.get_rng_state()
        initialise(encoder, pictures(32), how, 5)
        assert torch.equal(torch.get_rng_state(), state)
        assert not any(module.training for module in encoder.modules())
        torch.rand(3)
        found.append(encoder.state_dict())
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())
    encoder = plain()
    initialise(encoder, pictures(32), how, 6)
    assert torch.equal(filters_of(encoder), found[0]["inner.one.0.weight"]) == (how == "pca")


def test_order_of_images_does_not_matter_to_principal_directions() -> None:
    encoders = [plain().eval(), plain().eval()]
    for encoder, images in zip(encoders, (pictures(32), pictures(32).flip(0)), strict=True):
        initialise(encoder, images, "pca", 0)
    assert torch.allclose(*(encoder.vector(pictures(8)) for encoder in encoders), atol=1e-3)


@pytest.mark.parametrize("how", WAYS)
def test_scale_of_images_does_not_matter(how: filters.How) -> None:
    """Images of a quarter of the contrast: first filters four times as large, everything behind them the same."""
    encoders = [plain(mean=[0.0] * 3, std=[1.0] * 3).eval() for _ in range(2)]
    images = pictures(32) - 0.5
    for encoder, factor in zip(encoders, (1.0, 0.25), strict=True):
        initialise(encoder, images * factor, how, 0)
    assert torch.allclose(filters_of(encoders[1]), 4 * filters_of(encoders[0]), rtol=1e-2, atol=1e-3)
    assert torch.allclose(encoders[0].vector(images), encoders[1].vector(images / 4), atol=1e-2)


@pytest.mark.parametrize("how", ["pca", "kmeans"])
@pytest.mark.parametrize("case", ["a constant channel", "more filters than numbers in a patch", "two images", "black"])
def test_what_is_missing_does_no_harm(how: filters.How, case: str) -> None:
    """Rank-deficient patches: numbers stay finite, no channel is dead, and none is like another."""
    stems = {"more filters than numbers in a patch": nn.Conv2d(3, 40, 3, padding=1), "black": nn.Conv2d(3, 8, 3)}
    encoder = plain(stem=stems.get(case))
    images = pictures(2 if case == "two images" else 16)
    images[:, 0] = 0.5 if case == "a constant channel" else images[:, 0]
    images = images * 0 if case == "black" else images
    initialise(encoder, images, how, 0)
    assert all(torch.isfinite(value).all() for value in encoder.state_dict().values())
    if case != "black":
        first = next(before_rectifiers(encoder, images)).transpose(0, 1).flatten(1)
        assert (first.std(1) - 1).abs().max() < 0.02
        assert (torch.corrcoef(first) - torch.eye(len(first))).max() < 0.999


@pytest.mark.parametrize("how", WAYS)
def test_groups_and_depthwise_layers_get_filters_of_their_own_channels(how: filters.How) -> None:
    """Each channel of a depthwise layer has a filter, not all the same one; groups see their own channels."""
    stem = nn.Conv2d(3, 12, 3, padding=1)
    encoder = plain(stem=stem, second=nn.Conv2d(12, 12, 3, padding=1, groups=12), third=nn.Conv2d(12, 8, 3, groups=4))
    initialise(encoder, pictures(32), how, 0)
    for values in before_rectifiers(encoder, pictures(32)):
        assert (values.std((0, 2, 3)) - 1).abs().max() < 0.02
    depthwise = F.normalize(encoder.inner.two[0].weight.flatten(1))
    assert (depthwise @ depthwise.T - torch.eye(12)).abs().median() < 0.6


def test_groups_learn_from_their_own_channels() -> None:
    """Where one group reads the other's images lying on their side, so do its filters lie."""
    upright = F.avg_pool2d(torch.randn(16, 1, 32, 34, generator=torch.Generator().manual_seed(0)), (1, 3), 1)
    layer = nn.Conv2d(2, 6, 3, groups=2).requires_grad_(False)
    filters._make_filters(layer, torch.cat([upright, upright.transpose(2, 3)], 1), "pca", 0)
    one, other = layer.weight[:3, 0].abs(), layer.weight[3:, 0].abs()
    assert torch.allclose(one.transpose(1, 2), other, atol=1e-3)
    assert (one - other).abs().max() > 0.1


def test_layers_that_scale_their_own_weights_are_followed() -> None:
    """What such a layer gives cannot be scaled by its weights; the layers behind it read what it really gives."""
    encoder = plain(second=OfLengthOne(8, 16, 3, stride=2))
    initialise(encoder, pictures(64), "pca", 0)
    last = list(before_rectifiers(encoder, pictures(64)))[-1]
    assert (last.mean((0, 2, 3)) - 0.1).abs().max() < 1e-3
    assert (last.std((0, 2, 3)) - 1).abs().max() < 1e-2


@pytest.mark.parametrize("how", WAYS)
def test_batch_norms_have_the_statistics_of_the_images(how: filters.How) -> None:
    """In `small` every channel is normal after its batch norm, in eval mode, on these images."""
    encoder = build_encoder("small", 32, seed=0).eval()
    initialise(encoder, pictures(64), how, 0)
    seen = [m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    values: list[Tensor] = []
    hooks = [m.register_forward_hook(lambda _, __, out: values.append(out.clone())) for m in seen]
    with torch.no_grad():
        encoder.vector(pictures(64))
    for hook in hooks:
        hook.remove()
    for one in values:
        assert one.mean((0, 2, 3)).abs().max() < 1e-2
        assert (one.var((0, 2, 3)) - 1).abs().max() < 3e-2
    assert all(norm.momentum == 0.1 for norm in seen)


def test_transformers_keep_their_blocks() -> None:
    """The patch embedding is made from patches, what works on tokens stays as drawn, and so does what is frozen."""
    encoder = build_encoder("vit_tiny_patch16_224", 32, seed=0)
    blank = {key: value.clone() for key, value in encoder.state_dict().items()}
    initialise(encoder, pictures(32), "kmeans", 0)
    changed = {key for key, value in encoder.state_dict().items() if not torch.equal(value, blank[key])}
    assert changed == {"inner.patch_embed.proj.weight", "inner.patch_embed.proj.bias"}
    encoder.requires_grad_(False)
    kept = {key: value.clone() for key, value in encoder.state_dict().items()}
    initialise(encoder, pictures(32), "pca", 0)
    assert all(torch.equal(value, kept[key]) for key, value in encoder.state_dict().items())


def test_signals_have_filters_too() -> None:
    encoder = build_encoder("small1d", 64, seed=0, mean=[0.0] * 2, std=[1.0] * 2)
    initialise(encoder, torch.randn(32, 2, 64).cumsum(2), "kmeans", 0)
    assert all(torch.isfinite(value).all() for value in encoder.state_dict().values())
    with torch.no_grad():
        assert encoder.vector(torch.randn(4, 2, 64)).std() > 0


def test_slips_are_refused() -> None:
    assert get_args(filters.How) == WAYS
    with pytest.raises((InputError, TypeError), match="zca"):  # where shapes are checked, types are too
        initialise(plain(), pictures(8), "zca", 0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="2 images"):
        initialise(plain(), pictures(1), "pca", 0)


def test_late_layers_use_as_many_images_as_memory_allows() -> None:
    assert [filters.images_needed(size) for size in (32, 64, 96, 224)] == [512, 244, 160, 160]


def plain(
    stem: nn.Module | None = None,
    second: nn.Module | None = None,
    third: nn.Module | None = None,
    seed: int = 0,
    **arguments: list[float],
) -> Encoder:
    """Give an encoder of three convolutions with biases; the branch keeps the layers from being rescaled."""
    encoder = build_encoder("small", 32, seed=seed, **arguments)
    stem = stem or nn.Conv2d(3, 8, 3, padding=1)
    width = stem.out_channels
    second = second or nn.Conv2d(width, 16, 3, stride=2)
    encoder.inner = Branched(
        one=nn.Sequential(stem, nn.ReLU()),
        two=nn.Sequential(second, nn.ReLU(), nn.Dropout(0.5)),
        three=nn.Sequential(third or nn.Conv2d(16, 20, 1), nn.ReLU()),
    )
    return encoder


class Branched(Stack):
    """A stack with a branch around its last stage that modules do not show."""

    def forward(self, images: Tensor) -> Tensor:
        value = self.two(self.one(images))
        return (
            torch.cat([self.three(value), value[:, :, 1:-1, 1:-1]], 1) if value.shape[1] == 12 else _both(self, value)
        )


def _both(stack: Stack, value: Tensor) -> Tensor:
    return torch.cat([stack.three(value), value], 1)


class OfLengthOne(nn.Conv2d):
    """A convolution whose filters count by their direction only."""

    def forward(self, images: Tensor) -> Tensor:
        weight = F.normalize(self.weight.flatten(1)).view_as(self.weight)
        return F.conv2d(images, weight, self.bias, self.stride, self.padding)


def filters_of(encoder: Encoder) -> Tensor:
    """Give the first layer's filters."""
    return encoder.inner.one[0].weight.detach()


def before_rectifiers(encoder: Encoder, images: Tensor) -> Iterator[Tensor]:
    """Give what every convolution gives, first to last."""
    found: list[Tensor] = []
    layers = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    hooks = [layer.register_forward_hook(lambda _, __, out: found.append(out.clone())) for layer in layers]
    with torch.no_grad():
        encoder.eval().vector(images)
    for hook in hooks:
        hook.remove()
    return iter(found)


def pictures(count: int, seed: int = 0) -> Tensor:
    """Give smooth images with noise, in which neighbours are alike."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    fine = F.interpolate(coarse, size=32, mode="bilinear")
    return (fine + 0.05 * torch.randn(fine.shape, generator=generator)).clamp(0, 1)
