"""Encoders: any of timm's and three of our own behind one surface, at 32 and 64 pixels, with weights that travel."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from selfsup.errors import InputError
from selfsup.networks.encoders import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Encoder,
    behind_last_map,
    build_encoder,
    load_encoder,
    reestimate_norms,
    save_encoder,
)
from selfsup.networks.given import load_weights

ZOO = {
    "small": (128, 4, 8),
    "alexnet": (256, 7, 15),
    "nin": (192, 8, 16),
    "resnet18": (512, 4, 8),
    "resnet50": (2048, 4, 8),
    "convnext_atto": (320, 4, 8),
    "efficientnet_b0": (320, 2, 4),
    "mobilenetv3_small_100": (576, 2, 4),
    "vgg11_bn": (512, 1, 2),
    "regnety_002": (368, 2, 4),
    "densenet121": (1024, 4, 8),
    "vit_tiny_patch16_224": (192, 8, 8),
    "mobilenetv2_100": (320, 2, 4),
    "repvgg_a0": (1280, 2, 4),
}
"""Name, channels of the last map, its side at 32 and at 64 pixels."""


@pytest.mark.parametrize("name", ZOO)
def test_zoo(name: str) -> None:
    """Every network gives maps and a vector at 32 and 64 px, and the vector reaches every parameter."""
    width, side, side_at_64 = ZOO[name]
    with torch.device("meta"):  # shapes only
        large = build_encoder(name, 64)
    assert (large.width, large.side) == (width, side_at_64)

    encoder = build_encoder(name, 32, seed=0).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        maps, last, vector = encoder.stages(images), encoder(images), encoder.vector(images)
    assert tuple(maps) == encoder.stage_names
    assert len(maps) >= 4
    assert last.shape == (2, width, side, side) == (2, encoder.width, encoder.side, encoder.side)
    assert torch.equal(list(maps.values())[-1], last)
    assert vector.shape == (2, encoder.vector_width)
    again = encoder.map_and_vector(images)
    assert all(torch.equal(*pair) for pair in zip(again, (last, vector), strict=True))
    with torch.no_grad():
        at_once = encoder.stages_and_vector(images)
    assert all(torch.equal(at_once[0][key], value) for key, value in maps.items())
    assert torch.equal(at_once[1], vector)
    again[1].sum().backward()
    assert [key for key, value in encoder.named_parameters() if value.grad is None] == []


def test_layout_of_nin() -> None:
    """Four blocks; block 2 is 192 x 8 x 8 at 32 px, and convolutions are drawn from N(0, 2 / (k k C_out))."""
    encoder = build_encoder("nin", 32, seed=0)
    shapes = {key: tuple(value.shape[1:]) for key, value in encoder.stages(torch.rand(1, 3, 32, 32)).items()}
    assert shapes == {"block1": (96, 16, 16), "block2": (192, 8, 8), "block3": (192, 8, 8), "block4": (192, 8, 8)}
    convolutions = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in convolutions] == [
        (3, 192, 5), (192, 160, 1), (160, 96, 1), (96, 192, 5), (192, 192, 1), (192, 192, 1),
        *[(192, 192, 3), (192, 192, 1), (192, 192, 1)] * 2,
    ]  # fmt: skip
    assert all(m.bias is None for m in convolutions)
    assert convolutions[3].weight.std().item() == pytest.approx((2 / (25 * 192)) ** 0.5, rel=0.02)


def test_layout_of_alexnet() -> None:
    """At 224 px the maps are those of RotNet's AlexNet."""
    encoder = build_encoder("alexnet", 224, seed=0)
    shapes = [tuple(value.shape[1:]) for value in encoder.stages(torch.rand(1, 3, 224, 224)).values()]
    assert shapes == [(64, 55, 55), (192, 27, 27), (384, 13, 13), (256, 13, 13), (256, 13, 13)]


def test_small_is_of_small_size() -> None:
    """Eight to twelve million multiplications at 32 px; the maps stay small for large images."""
    encoder = build_encoder("small", 32, seed=0).eval()
    done = []
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, _, out: done.append(m.weight.numel() * out[0, 0].numel()))
    encoder(torch.rand(1, 3, 32, 32))
    assert 8e6 < sum(done) < 12e6
    assert build_encoder("small", 96, seed=0).side == 6
    assert build_encoder("small", 224, seed=0).side == 7


@pytest.mark.parametrize("name", ["small", "resnet18"])
def test_seed_alone_decides_the_weights(name: str) -> None:
    """Whatever was drawn before, a seed gives the same weights and leaves torch's generator alone."""
    torch.manual_seed(1)
    one = build_encoder(name, 32, seed=7).state_dict()
    after = torch.rand(())
    torch.manual_seed(1)
    assert torch.rand(()) == after
    other = build_encoder(name, 32, seed=7).state_dict()
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    third = build_encoder(name, 32, seed=8).state_dict()
    assert any(not torch.equal(value, third[key]) for key, value in one.items())


def test_normalization_is_inside() -> None:
    """The mean colour becomes 0, a deviation above it 1; other values can be asked for and are kept."""
    encoder = build_encoder("small", 32)
    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
    images = (mean + std * torch.tensor([-1.0, 0.0, 2.0]).view(3, 1, 1, 1)).expand(3, 3, 32, 32)
    expected = torch.tensor([-1.0, 0.0, 2.0]).view(3, 1, 1, 1).expand(3, 3, 32, 32)
    assert torch.allclose(encoder.normalize(images), expected, atol=1e-6)
    inputs = []
    encoder.inner.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    encoder(images)
    assert torch.allclose(inputs[0], expected, atol=1e-6)
    assert encoder.description()["mean"] == list(IMAGENET_MEAN)
    other = build_encoder("small", 32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    assert other.normalize(torch.ones(1, 3, 32, 32)).unique().tolist() == [2.0]


@pytest.mark.parametrize("name", ["small", "nin", "convnext_atto", "mobilenetv3_small_100"])
def test_saved_encoder_loads_to_the_bit(name: str, tmp_path: Path) -> None:
    """Weights, statistics, stem and normalization come back from a folder, from a file, and from its metadata alone."""
    encoder = build_encoder(name, 32, seed=1, mean=(0.4, 0.5, 0.6))
    images = torch.rand(4, 3, 32, 32)
    encoder.vector(images)  # moves running statistics
    save_encoder(encoder, tmp_path / "run")
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((tmp_path / "run" / "encoder.safetensors").read_bytes())
    expected = encoder.eval().vector(images)
    for place in (tmp_path / "run", tmp_path / "run" / "encoder.safetensors", alone):
        torch.manual_seed(0)
        again = load_encoder(place).eval()
        assert torch.equal(again.vector(images), expected)
        assert again.description() == encoder.description()
    assert not list((tmp_path / "run").glob(".*"))


def test_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    """Memory layout does not change the file."""
    encoder = build_encoder("small", 32, seed=1)
    save_encoder(encoder, tmp_path / "one")
    save_encoder(encoder.to(memory_format=torch.channels_last), tmp_path / "two")
    one, two = ((tmp_path / run / "encoder.safetensors").read_bytes() for run in ("one", "two"))
    assert one == two


def test_keys_are_those_of_the_inner_network(tmp_path: Path) -> None:
    """A file of a timm encoder is a file for timm."""
    import timm

    save_encoder(build_encoder("resnet18", 32, seed=0), tmp_path)
    expected = set(timm.create_model("resnet18", num_classes=0).state_dict())
    assert set(load_file(tmp_path / "encoder.safetensors")) == expected


def test_stem_change_is_recorded(tmp_path: Path) -> None:
    """At 64 px and below the first convolution is 3x3 with stride 1 and the pooling gone; above they are timm's."""
    encoder = build_encoder("resnet18", 64, seed=0)
    save_encoder(encoder, tmp_path)
    written = json.loads((tmp_path / "encoder.json").read_text())
    assert written["stem"] == {"conv1": {"kernel_size": 3, "stride": 1}, "maxpool": {"identity": True}}
    assert encoder.inner.conv1.weight.shape == (64, 3, 3, 3)
    assert build_encoder("vit_tiny_patch16_224", 32).arguments == {"img_size": 32, "patch_size": 4}
    large = build_encoder("resnet18", 96)
    assert large.stem == {}
    assert large.inner.conv1.weight.shape == (64, 3, 7, 7)


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("resnet81", 32, "resnet18"),
        ("smal", 32, "small"),
        ("hf-hub:timm/resnet18", 32, "no encoder"),
        ("small", 16, "32 to 224"),
        ("small", 512, "got 512"),
        ("inception_v3", 32, "inception_v3 cannot take images of 32 pixels"),
        ("botnet26t_256", 32, "botnet26t_256 cannot take images of 32 pixels; choose"),
    ],
)
def test_impossible_encoders_are_refused(name: str, size: int, says: str) -> None:
    """A sentence says what is wrong and what would do."""
    with pytest.raises(InputError, match=says):
        build_encoder(name, size)


def test_pretrained_tags_mean_the_architecture() -> None:
    """`resnet18.a1_in1k` is resnet18, without its weights."""
    assert build_encoder("resnet18.a1_in1k", 32).name == "resnet18"


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    """Nothing there, not safetensors, without description, of another network: a sentence each."""
    with pytest.raises(InputError, match="no weights at"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.safetensors").write_bytes(b"\x80\x02}q\x00." * 5)
    with pytest.raises(InputError, match="not a safetensors file"):
        load_encoder(tmp_path)
    save_file({"weight": torch.zeros(3)}, tmp_path / "encoder.safetensors")
    with pytest.raises(InputError, match="does not say which encoder"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.json").write_text("{broken")
    with pytest.raises(InputError, match="does not say which encoder"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.json").write_text(json.dumps(build_encoder("small", 32).description()))
    with pytest.raises(InputError, match="does not fit small"):
        load_encoder(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": {"checkpoint_path": "x.pth"}},
        {"arguments": {"img_size": "x.pth"}},
        {"arguments": [1]},
        {"name": 3},
        {"image_size": "32"},
        {"image_size": True},
        {"mean": [0.5, 0.5]},
        {"std": "abc"},
        {"stem": [1]},
        {"stem": {"conv1": 3}},
        {"stem": {"nowhere": {"identity": True}}},
        {"stem": {"conv1": {"stride": 1}}},
    ],
    ids=str,
)
def test_a_description_that_selfsup_did_not_write_is_refused(
    change: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in it reaches timm but sizes: `checkpoint_path` would have it open a pickle."""
    import timm

    encoder = build_encoder("resnet18", 32, seed=0)
    save_encoder(encoder, tmp_path)
    (tmp_path / "encoder.json").write_text(json.dumps({**encoder.description(), **change}))
    asked = []
    make = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *given, **more: asked.append(more) or make(*given, **more))
    with pytest.raises(InputError, match="not one that selfsup wrote") as caught:
        load_encoder(tmp_path)
    assert "\n" not in str(caught.value)
    assert all(set(more) <= {"pretrained", "num_classes"} for more in asked)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe{", b'["name", "image_size"]', b"[" * 100_000], ids=["utf", "list", "deep"]
)
def test_a_text_that_describes_nothing_is_passed_over(content: bytes, tmp_path: Path) -> None:
    """The weights say it themselves; where they do not, a sentence says so."""
    save_encoder(build_encoder("small", 32, seed=0), tmp_path)
    (tmp_path / "encoder.json").write_bytes(content)
    assert load_encoder(tmp_path).name == "small"
    save_file(load_file(tmp_path / "encoder.safetensors"), tmp_path / "encoder.safetensors")
    with pytest.raises(InputError, match="does not say which encoder"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("prefix", ["", "encoder.inner.", "backbone.", "model.", "student.backbone."])
def test_initial_weights_from_a_file(prefix: str, tmp_path: Path) -> None:
    """Weights come in whatever their prefix; a classifier is ignored, a missing tensor is named."""
    source, target = build_encoder("regnety_002", 32, seed=0), build_encoder("regnety_002", 32, seed=1)
    tensors = {f"{prefix}{key}": value.clone() for key, value in source.inner.state_dict().items()}
    tensors["head.fc.weight"] = torch.zeros(10, 368)
    del tensors[f"{prefix}stem.bn.bias"]
    save_file(tensors, tmp_path / "weights.safetensors")
    found = load_weights(target, tmp_path / "weights.safetensors")
    assert found.missing == ["stem.bn.bias"]
    assert found.matched == len([key for key in source.inner.state_dict() if "num_batches" not in key]) - 1
    assert torch.equal(target.inner.s3.b1.conv1.conv.weight, source.inner.s3.b1.conv1.conv.weight)


def test_initial_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    """Below 95 % of the tensors nothing is changed, and the counts are said."""
    save_encoder(build_encoder("resnet18", 32), tmp_path)
    encoder = build_encoder("small", 32, seed=0)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with pytest.raises(InputError, match=r"0 of 30 tensors"):
        load_weights(encoder, tmp_path / "encoder.safetensors")
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_reestimated_statistics_are_plain_averages() -> None:
    """After it, statistics are those of the batches given, averaged; weights, modes and momentum stay."""
    encoder = build_encoder("small", 32, seed=0).train()
    encoder.inner.stage4.eval()
    first = next(m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d))
    for _ in range(3):
        encoder.vector(torch.rand(8, 3, 32, 32) * 5)  # statistics of something else
    batches = [torch.rand(8, 3, 32, 32) * k for k in (1.0, 0.5, 0.2)]
    with torch.no_grad():
        maps = [encoder.inner.stage1[0](encoder.normalize(batch)) for batch in batches]
    before = {key: value.clone() for key, value in encoder.named_parameters()}
    reestimate_norms(encoder, iter(batches))
    assert torch.allclose(first.running_mean, torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0), atol=1e-6)
    variance = torch.stack([m.var((0, 2, 3)) for m in maps]).mean(0)
    assert torch.allclose(first.running_var, variance, rtol=1e-5)
    assert first.momentum == 0.1
    assert encoder.training
    assert not encoder.inner.stage4.training
    assert all(torch.equal(value, before[key]) for key, value in encoder.named_parameters())
    assert all(value.grad is None for value in encoder.parameters())


def test_reestimation_without_batches_changes_nothing() -> None:
    """No images, no new statistics."""
    encoder = build_encoder("small", 32, seed=0)
    encoder.vector(torch.rand(4, 3, 32, 32))
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    reestimate_norms(encoder, [])
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_parameters_behind_the_last_map_are_named() -> None:
    """ConvNeXt's final norm sees the vector only; a residual network has nothing of the kind."""
    assert behind_last_map(build_encoder("convnext_atto", 32)) == ["inner.head.norm.weight", "inner.head.norm.bias"]
    assert behind_last_map(build_encoder("resnet18", 32)) == []
    assert behind_last_map(build_encoder("small", 32)) == []


def test_vector_is_timms(tmp_path: Path) -> None:
    """The vector equals what timm's network gives in front of its classifier."""
    import timm

    encoder: Encoder = build_encoder("efficientnet_b0", 96, seed=0).eval()
    network = timm.create_model("efficientnet_b0", num_classes=0)
    network.load_state_dict(encoder.inner.state_dict())
    images = torch.from_numpy(np.random.default_rng(0).random((2, 3, 96, 96), dtype=np.float32))
    expected = network.eval()(encoder.normalize(images))
    assert torch.equal(encoder.vector(images), expected)
