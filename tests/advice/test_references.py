"""Public weights: which files are taken, what architecture they are, and that they move nothing else."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from advice_fakes import FakeBench, exam, fast_probe, plan
from safetensors.torch import load_file, save_file

from selfsup.advice import controls, public_weights, trial
from selfsup.advice.carry_out import carry_out
from selfsup.advice.conclusion import conclude
from selfsup.advice.public_weights import open_weights
from selfsup.advice.references import Reference, open_references, planned_references
from selfsup.errors import InputError
from selfsup.networks.encoders import build_encoder, save_encoder, write_weights
from selfsup.progress import silent

QUALITY = {"rotation": 0.6, "dae": 0.6, "simclr": 1.6, "untrained": 0.4, "pixels": 0.3, "public.safetensors": 3.0}


def public(same: bool = False) -> Reference:
    architecture = "small" if same else "resnet50"
    return Reference("public.safetensors", "/weights/public.safetensors", None, "abc", architecture, same)


def advised(out: Path, *references: Reference, **words: Any) -> tuple[Any, dict[str, Any], FakeBench]:
    asked = exam()
    bench = FakeBench(asked.labels, asked.test, QUALITY)
    todo = plan(references=[weights.written() for weights in references], **words)
    verdict = conclude(carry_out(todo, bench, asked, out, lambda said: None), bench, out, [], silent)
    return verdict, json.loads((out / "results.json").read_text()), bench


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "probe", fast_probe)
    monkeypatch.setattr(controls, "probe", fast_probe)


def test_a_reference_moves_no_number_and_wins_nothing(fast: None, tmp_path: Path):
    """Far above every method, it changes neither the verdict nor any interval of another arm."""
    alone, numbers, _ = advised(tmp_path / "alone")
    beside, more, _ = advised(tmp_path / "beside", public())

    assert (beside.verdict, beside.best, beside.winner, beside.ties) == ("pretrain", "simclr", "simclr", [])
    assert beside.sentences[:-1] == alone.sentences
    assert beside.table[:-1] == alone.table
    for part in ("curves", "stages"):
        assert [row for row in more[part] if row["kind"] != "reference"] == numbers[part]
    assert {part: more[part] for part in ("budgets", "detectable_points", "cost")} == {
        part: numbers[part] for part in ("budgets", "detectable_points", "cost")
    }


def test_a_reference_is_shown_everywhere_and_marked(fast: None, tmp_path: Path):
    verdict, results, _ = advised(tmp_path, public())

    row = verdict.table[-1]
    assert (row["arm"], row["kind"], row["architecture"]) == ("public.safetensors", "reference", "resnet50")
    assert row["mean"] > max(other["mean"] for other in verdict.table[:-1])
    shown = [r["per_class"] for r in results["curves"] if (r["arm"], r["kind"]) == ("public.safetensors", "reference")]
    assert shown == [5, None]
    for part in ("stages", "neighbours"):
        assert "reference" in {r["kind"] for r in results[part]}


def test_only_the_same_architecture_is_compared(fast: None, tmp_path: Path):
    """With another one, no difference to the best is given, in words or in files."""
    other, _, _ = advised(tmp_path / "other", public())
    same, _, _ = advised(tmp_path / "same", public(same=True))

    assert "vs_best" not in other.table[-1]
    assert other.sentences[-1].startswith("For reference, outside the ranking: the weights in public.safetensors (res")
    assert "not of the architecture of the methods (small)" in other.sentences[-1]
    gain = same.table[-1]["vs_best"]
    assert gain["arm"] == "simclr"
    assert gain["mean"] == pytest.approx(same.table[-1]["mean"] - same.table[0 + 2]["mean"])
    assert gain["low"] < gain["mean"] < gain["high"]
    points = f"{100 * gain['mean']:.1f} points ({100 * gain['low']:.1f} to {100 * gain['high']:.1f}) above SimCLR"
    assert same.sentences[-1].endswith(f"{points}, with the same architecture.")


def test_a_worse_reference_is_said_to_be_below(fast: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(QUALITY, "public.safetensors", 0.5)

    verdict, _, _ = advised(tmp_path, public(same=True))

    assert verdict.table[-1]["vs_best"]["mean"] < 0
    assert f" {-100 * verdict.table[-1]['vs_best']['mean']:.1f} points (" in verdict.sentences[-1]
    assert "below SimCLR" in verdict.sentences[-1]


def test_a_reference_may_be_named_later_and_trains_nothing(fast: None, tmp_path: Path):
    """It is no part of what decides the other answers, and its own are kept."""
    advised(tmp_path)
    _, _, bench = advised(tmp_path, public())
    assert bench.trained == []

    before = (tmp_path / "verdict.json").read_text()
    FakeBench.reference, kept = None, FakeBench.reference  # type: ignore[assignment,method-assign]
    try:
        advised(tmp_path, public())
    finally:
        FakeBench.reference = kept  # type: ignore[method-assign]
    assert (tmp_path / "verdict.json").read_text() == before


def test_a_reference_that_fails_is_named_and_costs_nothing_else(fast: None, tmp_path: Path):
    verdict, _, _ = advised(tmp_path, replace(public(), name="gone.safetensors"))

    assert verdict.verdict == "pretrain"
    assert any(caveat.startswith("The trial of gone.safetensors failed (KeyError") for caveat in verdict.caveats)


def test_files_are_found_and_told_apart(tmp_path: Path):
    """A name of their own for two files called alike; a run folder stands for its encoder."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "encoder.safetensors").write_bytes(folder.encode())
    (tmp_path / "x=y.safetensors").write_bytes(b"x")

    found = open_references([
        tmp_path / "a", f"{tmp_path}/b/encoder.safetensors=resnet18", tmp_path / "x=y.safetensors",
        f"{tmp_path}/b/encoder.safetensors", tmp_path / "a",
    ])  # fmt: skip

    assert [(weights.name, weights.encoder) for weights in found] == [
        ("a/encoder.safetensors", None), ("b/encoder.safetensors", "resnet18"), ("x=y.safetensors", None),
        ("b/encoder.safetensors #2", None),
    ]  # fmt: skip
    assert found[0].content != found[1].content == found[3].content
    assert planned_references(json.loads(json.dumps([weights.written() for weights in found]))) == found
    assert [weights.given for weights in found[:2]] == [
        str(tmp_path / "a" / "encoder.safetensors"), f"{tmp_path}/b/encoder.safetensors=resnet18",
    ]  # fmt: skip


def test_a_link_keeps_its_name(tmp_path: Path):
    """Caches of downloads link readable names to files that are called by their hash."""
    (tmp_path / "0a1b2c").write_bytes(b"x")
    (tmp_path / "w.safetensors").symlink_to(tmp_path / "0a1b2c")

    (found,) = open_references([tmp_path / "w.safetensors"])

    assert (found.name, open_references([found.given])) == ("w.safetensors", [found])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("w.pth", "ends in .safetensors, got '.*w.pth'; pickled weights are not read"),
        ("none.safetensors", "There is no file"),
        ("w.safetensors=resnet81", "did you mean resnet18"),
        ("x=none.safetensors", "There is no file '.*x=none.safetensors'"),
        ("a,b/w.safetensors", "has a comma in its path, .* rename"),
        (f"{'w' * 300}.safetensors", r"w\.safetensors' cannot be read \(File name too long\); give"),
    ],
)
def test_other_files_are_refused_in_a_sentence(tmp_path: Path, given: str, says: str):
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_bytes(b"x")

    with pytest.raises(InputError, match=says):
        open_references([tmp_path / given])


def test_what_cannot_be_opened_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The home of nobody, a file of somebody else, and a folder whose comma is seen from outside only."""
    with pytest.raises(InputError, match=r"'~nobody-at-all/w\.safetensors' cannot be read"):
        open_references(["~nobody-at-all/w.safetensors"])
    (tmp_path / "w.safetensors").write_bytes(b"x")

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refused)
        with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
            open_references([tmp_path / "w.safetensors"])
    with monkeypatch.context() as patched:
        patched.setattr(public_weights, "read_tensors", refused)
        with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
            open_weights(tmp_path / "w.safetensors", None, "small", 32)
    (tmp_path / "a,b").mkdir()
    (tmp_path / "a,b" / "w.safetensors").write_bytes(b"x")
    monkeypatch.chdir(tmp_path / "a,b")
    with pytest.raises(InputError, match="has a comma in its path"):
        open_references(["w.safetensors"])


def test_weights_that_selfsup_wrote_say_what_they_are(tmp_path: Path):
    """Name and colours come from the file; the size becomes that of the comparison."""
    written = build_encoder("small", 48, seed=3, mean=(0.1, 0.2, 0.3))
    save_encoder(written, tmp_path)

    opened = open_weights(tmp_path / "encoder.safetensors", None, "small", 32)
    elsewhere = open_weights(tmp_path / "encoder.safetensors", None, "nin", 32)

    assert (opened.architecture, opened.same, elsewhere.same) == ("small, trained at 48 pixels", True, False)
    assert (opened.encoder.image_size, opened.encoder.colours["mean"]) == (32, [0.1, 0.2, 0.3])
    assert all(torch.equal(t, opened.encoder.inner.state_dict()[k]) for k, t in written.inner.state_dict().items())


def test_timm_weights_keep_the_stem_they_were_trained_with(tmp_path: Path):
    """At 32 pixels the methods' resnet18 has a 3x3 stem: 7x7 weights are another architecture, none left random."""
    import timm

    network = timm.create_model("resnet18", pretrained=False)  # with its classifier, as it is given away
    file = tmp_path / "resnet18.safetensors"
    save_file(network.state_dict(), file)

    opened = open_weights(file, "resnet18", "resnet18", 32)
    named = open_weights(file, None, "resnet18", 96)

    assert (opened.architecture, opened.same) == ("resnet18 with its own stem", False)
    assert (named.architecture, named.same) == ("resnet18", True)
    loaded = opened.encoder.inner.state_dict()
    assert loaded["conv1.weight"].shape[-1] == 7
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in loaded.items())


@pytest.mark.parametrize("prefix", ["", "model.", "student.backbone.", "module."])
def test_names_may_have_something_in_front(tmp_path: Path, prefix: str):
    """What is counted as fitting is what is loaded, and timm's own stem is tried whatever the first way says."""
    import timm

    network = timm.create_model("resnet18", pretrained=False)
    file = tmp_path / "weights.safetensors"
    save_file({f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}, file)

    opened = open_weights(file, "resnet18", "small", 32)

    assert opened.architecture == "resnet18 with its own stem"
    assert torch.equal(opened.encoder.inner.state_dict()["conv1.weight"], network.conv1.weight)


def test_an_unknown_front_fits_nothing(tmp_path: Path):
    """The count is that of the tensors that could be loaded."""
    encoder = build_encoder("small", 32, seed=0)
    save_file({f"strange.{k}": v for k, v in encoder.inner.state_dict().items()}, tmp_path / "w.safetensors")

    with pytest.raises(InputError, match=r"fits small at 32 pixels in 0 of \d+ tensors, and a reference"):
        open_weights(tmp_path / "w.safetensors", None, "small", 32)


def test_a_text_beside_the_weights_may_be_anything(tmp_path: Path):
    """Not UTF-8, not JSON: it does not say what they are, and they are taken for the methods' own."""
    write_weights(build_encoder("small", 32, seed=0), tmp_path / "w.safetensors")
    save_file(load_file(tmp_path / "w.safetensors"), tmp_path / "w.safetensors")  # without what it carries along
    (tmp_path / "w.json").write_bytes(b"\xff\xfe{")

    assert open_weights(tmp_path / "w.safetensors", None, "small", 32).same


def test_colours_are_those_that_timm_trained_with(tmp_path: Path):
    import timm

    file = tmp_path / "weights.safetensors"
    save_file(timm.create_model("mobilevit_xxs", pretrained=False).state_dict(), file)

    opened = open_weights(file, "mobilevit_xxs", "small", 96)

    assert opened.encoder.colours == {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}


def test_weights_that_do_not_fit_are_refused_with_a_count(tmp_path: Path):
    """One tensor too few is too few: a reference with a random layer would be none."""
    encoder = build_encoder("small", 32, seed=0)
    write_weights(encoder, tmp_path / "whole.safetensors")
    tensors = load_file(tmp_path / "whole.safetensors")
    wanted = sum(not key.endswith("num_batches_tracked") for key in tensors)
    del tensors[next(key for key in tensors if key.endswith("weight"))]
    save_file(tensors, tmp_path / "less.safetensors")

    with pytest.raises(InputError, match=f"in {wanted - 1} of {wanted} tensors, and .* less.safetensors=NAME"):
        open_weights(tmp_path / "less.safetensors", None, "small", 32)
    with pytest.raises(InputError, match=r"fits nin at 32 pixels in 0 of \d+ tensors, .* trained under"):
        open_weights(tmp_path / "less.safetensors", "nin", "small", 32)


def test_pickled_weights_are_never_read(tmp_path: Path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.safetensors")

    with pytest.raises(InputError, match="not a safetensors file"):
        open_weights(tmp_path / "w.safetensors", None, "small", 32)
