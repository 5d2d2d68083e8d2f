"""Export: the file loads in timm with only the classifier missing, the printed lines run, features agree."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from selfsup.errors import InputError
from selfsup.export.timm import ExportReport, export
from selfsup.networks.encoders import Encoder, build_encoder, load_encoder, save_encoder

NAMES = {
    "resnet18": ("fc.weight", "fc.bias"),
    "convnext_atto": ("head.fc.weight", "head.fc.bias"),
    "mobilenetv3_small_100": ("classifier.weight", "classifier.bias"),
    "vit_tiny_patch16_224": ("head.weight", "head.bias"),
}
"""Encoders, and timm's names of their classifiers."""

PARTS = ("weight", "bias")


@pytest.mark.parametrize("name", NAMES)
def test_timm_loads_the_file(name: str, tmp_path: Path) -> None:
    """Everything matches but the classifier, and the three printed lines give a network with the same vectors."""
    run, file = tmp_path / "run", tmp_path / "out" / "weights.safetensors"
    encoder = trained(name)
    save_encoder(encoder, run)
    report = export(run, out=file, images=pictures(tmp_path))
    assert report.matched == report.tensors == len(encoder.inner.state_dict())
    assert report.missing == NAMES[name]
    assert report.largest_difference < 1e-5
    assert report.images == 20

    lines = str(report).splitlines()[-3:]
    scope: dict[str, torch.nn.Module] = {}
    exec("\n".join(line.strip() for line in lines), scope)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(
            scope["model"].eval()(encoder.normalize(images)), encoder.eval().vector(images), atol=1e-5
        )


@pytest.mark.parametrize("sees", ["lightness", "edges", "halves"])
def test_timm_loads_what_sees_no_colour(sees: str, tmp_path: Path) -> None:
    """Lightness goes into one network of timm's, halves into two from one file; it is said what they take."""
    encoder = trained("resnet18", sees)
    save_encoder(encoder, tmp_path / "run")
    report = export(tmp_path / "run", out=tmp_path / "weights.safetensors", images=pictures(tmp_path))
    assert report.matched == report.tensors == len(encoder.inner.state_dict())
    assert report.largest_difference < 1e-5
    if sees == "edges":
        assert "Sobel's two maps" in str(report)
        assert "with zeros on a third channel" in report.takes
    else:
        assert "(L - 50) / 25 on each of three channels" in str(report)
        assert "CIE Lab" in report.takes
    scope: dict[str, torch.nn.Module] = {}
    exec(report.snippet, scope)
    images = torch.rand(2, 3, 32, 32)
    names = ["lightness", "colour"] if sees == "halves" else ["model"]
    assert report.missing == tuple(f"{n}.fc.{p}" if sees == "halves" else f"fc.{p}" for n in names for p in PARTS)
    with torch.no_grad():
        read = [values for _, values in encoder.inputs(images)]
        found = torch.cat([scope[name].eval()(x) for name, x in zip(names, read, strict=True)], 1)
        assert torch.allclose(found, encoder.eval().vector(images), atol=1e-5)
    assert load_encoder(tmp_path / "weights.safetensors").sees == sees


def test_built_in_encoders_are_loaded_by_selfsup(tmp_path: Path) -> None:
    """What timm does not have is exported too, says so, and is loaded from that one file."""
    run, file = tmp_path / "run", tmp_path / "small.safetensors"
    save_encoder(trained("small"), run)
    report = export(run, out=file, images=pictures(tmp_path))
    assert "timm has no small" in str(report)
    assert report.matched == report.tensors == len(load_file(file))
    assert report.largest_difference == 0
    scope: dict[str, torch.Tensor] = {}
    exec(report.snippet, scope)
    assert scope["vectors"].shape == (1, load_encoder(run).vector_width)


def test_images_of_the_run_are_used(tmp_path: Path) -> None:
    """Without images the run's own are compared on."""
    save_encoder(trained("small"), tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text(f"data: {pictures(tmp_path)}\nstore_size: 32\n")
    report = export(tmp_path / "run", out=tmp_path / "small.safetensors", cache=tmp_path / "cache")
    assert "pictures.npy" in report.source
    assert report.images == 20


def test_a_difference_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is of numbers, not of names: other weights under the same names differ."""
    save_encoder(trained("resnet18"), tmp_path / "run")
    other = load_file(tmp_path / "run" / "encoder.safetensors")
    other["layer1.0.bn1.running_mean"] += 0.5
    monkeypatch.setattr(sys.modules[export.__module__], "read_tensors", lambda _: (other, {}))
    report: ExportReport = export(tmp_path / "run", out=tmp_path / "weights.safetensors", images=pictures(tmp_path))
    assert report.largest_difference > 1e-4


def test_wrong_ending_and_missing_run_are_refused(tmp_path: Path) -> None:
    """A sentence says what would do."""
    with pytest.raises(InputError, match=r"try weights\.safetensors"):
        export(tmp_path, out=tmp_path / "weights.pt")
    with pytest.raises(InputError, match="no weights at"):
        export(tmp_path, out=tmp_path / "weights.safetensors")


def trained(name: str, sees: str = "colour") -> Encoder:
    """Give an encoder whose weights and statistics are none that timm would start with."""
    encoder = build_encoder(name, 32, seed=3, sees=sees)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
        for _ in range(3):
            encoder.vector(torch.rand(4, 3, 32, 32))
    return encoder


def pictures(folder: Path) -> Path:
    """Write a few images as one array."""
    file = folder / "pictures.npy"
    np.save(file, np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8))
    return file
