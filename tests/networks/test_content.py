"""Frozen features: loaded from safe files only, never trained, and nothing between equal images."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from selfsup.errors import InputError
from selfsup.networks.content import VGG19, FrozenFeatures, load_features, unlikeness
from selfsup.networks.encoders import build_encoder, save_encoder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with an encoder."""
    folder = tmp_path_factory.mktemp("run")
    save_encoder(build_encoder("small", 32, seed=3), folder)
    return folder


def test_features_of_a_run_are_frozen(run: Path) -> None:
    """From the folder or the file: all stages, always in eval mode, no gradient for weights but one for images."""
    for place in (run, run / "encoder.safetensors"):
        features = load_features(place, 32).train()
        assert not any(module.training for module in features.modules())
        assert not any(parameter.requires_grad for parameter in features.parameters())
        assert features.labels == "none"
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    maps = features(images)
    expected = build_encoder("small", 32, seed=3).eval().stages(images)
    assert all(torch.equal(made, true) for made, true in zip(maps, expected.values(), strict=True))
    maps[-1].sum().backward()
    assert images.grad is not None


def test_vgg_is_known_by_its_tensors(tmp_path: Path) -> None:
    """The file of torchvision or timm, classifier or not; its map is the fourth of the fifth group, after ReLU."""
    network = VGG19()
    save_file({**network.state_dict(), "classifier.weight": torch.zeros(2)}, tmp_path / "vgg19.safetensors")
    features = load_features(tmp_path / "vgg19.safetensors", 32)
    assert features.labels == "used"
    assert [name for name in network.state_dict() if name.endswith("34.weight")] == ["features.34.weight"]
    images = torch.rand(1, 3, 32, 32)
    (found,) = features(images)
    assert found.shape == (1, 512, 2, 2)
    assert found.min() >= 0
    assert torch.equal(found, network(images))


def test_other_files_are_refused(tmp_path: Path, run: Path) -> None:
    """A sentence says what would do."""
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    (tmp_path / "vgg19.pth").write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match="neither an encoder"):
        load_features(tmp_path / "other.safetensors", 32)
    with pytest.raises(InputError, match="pickled weights are not read"):
        load_features(tmp_path / "vgg19.pth", 32)
    with pytest.raises(InputError, match="no weights"):
        load_features(tmp_path / "none.safetensors", 32)
    with pytest.raises(InputError, match="does not take images of 4 pixels"):
        load_features(run, 4)


def test_unlikeness_equals_its_definition() -> None:
    """Squared differences as a share of the true map's mean square, maps counting alike; 0 for equal ones."""
    made, true = ([torch.rand(3, 4, 5, 5), 100 * torch.rand(3, 2, 2, 2)] for _ in range(2))
    by_hand = [((a - b) ** 2).mean() / (b**2).mean() for a, b in zip(made, true, strict=True)]
    assert unlikeness(made, true).item() == pytest.approx(sum(by_hand).item() / 2)
    assert unlikeness(true, true).item() == 0
    scaled = unlikeness([made[0], 7 * made[1]], [true[0], 7 * true[1]])
    assert scaled.item() == pytest.approx(unlikeness(made, true).item())


def test_true_maps_get_no_gradient() -> None:
    """Only the enlarged image is pulled."""
    made, true = (torch.rand(2, 3, 4, 4, requires_grad=True) for _ in range(2))
    unlikeness([made], [true]).backward()
    assert made.grad is not None
    assert true.grad is None


def test_frozen_features_take_part_in_no_training() -> None:
    """Wrapping freezes the network that is given."""
    features = FrozenFeatures(build_encoder("small", 32, seed=0))
    assert not [parameter for parameter in features.parameters() if parameter.requires_grad]
