"""Encoders that see lightness, edges, or lightness and colour in two halves: nothing leaks, everything travels."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from selfsup.errors import InputError
from selfsup.networks.encoders import Encoder, build_encoder, load_encoder, save_encoder
from selfsup.networks.given import load_weights
from selfsup.networks.seeing import MEAN, STD
from selfsup.views import lab

NAMES = ("small", "alexnet", "nin", "resnet18", "convnext_atto")


@pytest.mark.parametrize("name", ["small", "resnet18"])
def test_lightness_is_all_that_is_seen(name: str) -> None:
    """The network gets standardized L three times, and no change of colour that keeps L moves the vector."""
    encoder = build_encoder(name, 32, seed=0, sees="lightness").eval()
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64).requires_grad_()
    read = encoder.normalize(images)
    expected = (lab.lightness(images) - MEAN[0]) / STD[0]
    assert all(torch.equal(channel, expected[:, 0]) for channel in read.unbind(1))
    (slope,) = torch.autograd.grad(lab.lightness(images).sum(), images)
    (moved,) = torch.autograd.grad(encoder.double().vector(images).sum(), images)
    share = moved / slope  # all three channels count in proportion to their part in L
    assert torch.allclose(share, share[:, :1].expand_as(share), rtol=1e-9)


def test_lightness_starts_from_the_weights_of_colour() -> None:
    """The same seed gives the same weights, whatever is seen."""
    one, other = (build_encoder("small", 32, seed=3, sees=sees).state_dict() for sees in ("colour", "lightness"))
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_a_flat_image_has_no_edges_inside() -> None:
    """Zeros inside the border, whatever the colour; outside lies the mean colour, as in the paper's code."""
    encoder = build_encoder("small", 32, seed=0, sees="edges")
    flat = torch.rand(4, 3, 1, 1).expand(-1, -1, 32, 32)
    assert encoder.normalize(flat)[:, :, 1:-1, 1:-1].abs().max() < 1e-5
    assert encoder.normalize(encoder.mean.view(3, 1, 1).expand(1, 3, 32, 32)).abs().max() < 1e-5


def test_a_ramp_has_edges_in_its_direction_only() -> None:
    """To the right it excites the first map by 8 times its slope, upwards the second, with the filters' signs."""
    encoder = build_encoder("small", 32, seed=0, sees="edges")
    ramp = (torch.arange(32) / 100).expand(1, 3, 32, 32)
    slope = (0.01 / encoder.std).mean()
    across, upward = encoder.normalize(ramp)[0, :, 1:-1, 1:-1]
    assert torch.allclose(across, -8 * slope, atol=1e-5)
    assert torch.allclose(upward, torch.zeros(()), atol=1e-5)
    across, upward = encoder.normalize(ramp.mT)[0, :, 1:-1, 1:-1]
    assert torch.allclose(upward, -8 * slope, atol=1e-5)
    assert torch.allclose(across, torch.zeros(()), atol=1e-5)


@pytest.mark.parametrize("name", ["small", "resnet18"])
def test_edges_are_those_of_the_papers_filters(name: str) -> None:
    """Equal to a convolution with the published kernels; a network made for RGB gets zeros on a third channel."""
    encoder = build_encoder(name, 32, seed=0, sees="edges").eval()
    images = torch.rand(2, 3, 32, 32)
    standard = (images - encoder.mean.view(3, 1, 1)) / encoder.std.view(3, 1, 1)
    kernel = torch.tensor([[[1, 0, -1], [2, 0, -2], [1, 0, -1]], [[1, 2, 1], [0, 0, 0], [-1, -2, -1]]])
    expected = torch.nn.functional.conv2d(standard.mean(1, keepdim=True), kernel[:, None].float(), padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        read = encoder.normalize(images)
    assert torch.allclose(read[:, :2], expected, atol=1e-5)
    assert read.shape[1] == (2 if name == "small" else 3)
    assert not read[:, 2:].any()
    assert encoder.vector(images).isfinite().all()
    assert not [key for key in encoder.state_dict() if "sobel" in key or "edge" in key]  # nothing to be trained


@pytest.mark.parametrize("name", NAMES)
def test_no_half_sees_what_the_other_does(name: str) -> None:
    """To the bit, at every stage and in the vector: new colours leave the first half, new lightness the second."""
    encoder = build_encoder(name, 32, seed=0, sees="halves").eval()
    read = [torch.rand(2, 3, 32, 32) for _ in range(2)]
    with torch.no_grad():
        whole = answers(encoder, read[0])
        recoloured = answers(encoder, torch.cat([read[0][:, :1], read[1][:, 1:]], 1))
        relit = answers(encoder, torch.cat([read[1][:, :1], read[0][:, 1:]], 1))
    assert list(whole) == [*encoder.stage_names, "map", "vector"]
    for key, value in whole.items():
        light, colour = value.chunk(2, dim=1)
        assert torch.equal(recoloured[key].chunk(2, dim=1)[0], light), key
        assert torch.equal(relit[key].chunk(2, dim=1)[1], colour), key
        assert not torch.equal(recoloured[key].chunk(2, dim=1)[1], colour), key
        assert not torch.equal(relit[key].chunk(2, dim=1)[0], light), key


@pytest.mark.parametrize(("name", "factor"), [("small", 1), ("alexnet", 1), ("nin", 1), ("resnet18", 2)])
def test_widths_of_halves(name: str, factor: int) -> None:
    """Halves of a built-in network add up to its width; of timm's they are two whole ones."""
    whole, halves = build_encoder(name, 32, seed=0), build_encoder(name, 32, seed=0, sees="halves")
    assert (halves.width, halves.vector_width) == (factor * whole.width, factor * whole.vector_width)
    assert (halves.side, halves.stage_names) == (whole.side, whole.stage_names)
    images = torch.rand(1, 3, 32, 32)
    for one, other in zip(whole.stages(images).values(), halves.stages(images).values(), strict=True):
        assert (other.shape[1], other.shape[2:]) == (factor * one.shape[1], one.shape[2:])
    shapes = [[p.shape for p in half.parameters()] for half in (halves.inner.lightness, halves.inner.colour)]
    assert shapes[0][1:] == shapes[1][1:]  # all but the first convolution, of 1 and 2 channels


@pytest.mark.parametrize("sees", ["lightness", "halves"])
def test_what_is_read_can_be_shown(sees: str) -> None:
    """Values that were read from an image give it back, or its gray version."""
    encoder = build_encoder("small", 32, seed=0, sees=sees)
    images = torch.rand(2, 3, 32, 32)
    shown = encoder.denormalize(encoder.normalize(images))
    if sees == "halves":
        assert (shown - images).abs().max() < 1e-3
    else:
        assert torch.allclose(lab.lightness(shown), lab.lightness(images), atol=0.02)
        assert torch.allclose(lab.from_rgb(shown)[:, 1:], torch.zeros(()), atol=0.05)


@pytest.mark.parametrize("sees", ["lightness", "edges", "halves"])
@pytest.mark.parametrize("name", ["small", "resnet18"])
def test_it_travels_with_the_weights(name: str, sees: str, tmp_path: Path) -> None:
    """A saved encoder sees what it saw; one that sees colour writes nothing of it, as before."""
    encoder = build_encoder(name, 32, seed=1, sees=sees)
    images = torch.rand(4, 3, 32, 32)
    encoder.vector(images)
    save_encoder(encoder, tmp_path / "run")
    again = load_encoder(tmp_path / "run")
    assert again.sees == sees
    assert again.description() == encoder.description()
    assert torch.equal(again.eval().vector(images), encoder.eval().vector(images))
    assert "sees" not in build_encoder(name, 32, seed=1).description()


def test_weights_that_saw_something_else_are_no_start(tmp_path: Path) -> None:
    """Weights for RGB start an encoder that sees lightness; the other way round a sentence says why not."""
    colour, light = (build_encoder("small", 32, seed=seed, sees=s) for seed, s in ((1, "colour"), (2, "lightness")))
    save_encoder(colour, tmp_path / "colour")
    save_encoder(light, tmp_path / "light")
    with pytest.raises(InputError, match="sees lightness, and this one sees colour"):
        load_weights(colour, tmp_path / "light" / "encoder.safetensors")
    assert not load_weights(light, tmp_path / "colour" / "encoder.safetensors").missing
    assert torch.equal(light.inner.stage1[0].weight, colour.inner.stage1[0].weight)
    edges = build_encoder("resnet18", 32, seed=3, sees="edges")
    save_encoder(build_encoder("resnet18", 32, seed=1), tmp_path / "resnet")
    with pytest.raises(InputError, match="sees colour, and this one sees edges; start from weights of the same"):
        load_weights(edges, tmp_path / "resnet" / "encoder.safetensors")
    with pytest.raises(InputError, match="cannot show what it read"):
        edges.denormalize(torch.zeros(1, 3, 32, 32))


def test_what_cannot_be_seen_is_refused(tmp_path: Path) -> None:
    """A sentence for another word, in an argument and in a file, and for signals."""
    with pytest.raises(InputError, match="sees colour, lightness, edges or halves, got 'color'"):
        build_encoder("small", 32, sees="color")
    with pytest.raises(InputError, match="small1d reads signals"):
        build_encoder("small1d", 64, sees="lightness")
    encoder = build_encoder("small", 32, seed=0)
    save_encoder(encoder, tmp_path)
    (tmp_path / "encoder.json").write_text(json.dumps({**encoder.description(), "sees": "all"}))
    with pytest.raises(InputError, match="see its sees"):
        load_encoder(tmp_path)


def answers(encoder: Encoder, read: Tensor) -> dict[str, Tensor]:
    """Give maps of the stages, last map and vector for what is read, instead of for images."""
    encoder.normalize = lambda _: read  # type: ignore[method-assign]
    last, vector = encoder.map_and_vector(read)
    assert torch.equal(last, encoder(read))
    assert torch.equal(vector, encoder.vector(read))
    return {**encoder.stages(read), "map": last, "vector": vector}
