"""Context: pairs lie where their label says, and nothing but content tells it."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from selfsup.errors import InputError
from selfsup.method import Batch
from selfsup.methods.context import DIRECTIONS, Context, Pairs
from selfsup.networks.encoders import build_encoder

SIZES = [(32, "pairs", 12, 6, 1), (64, "grid", 16, 5, 1), (96, "grid", 24, 8, 2), (224, "grid", 56, 18, 4)]


def context(size: int = 32, **settings: object) -> Context:
    """Give a method in training mode."""
    torch.manual_seed(0)
    return Context(build_encoder("small", size, seed=0), **settings)  # type: ignore[arg-type]


def batch(images: torch.Tensor) -> Batch:
    """Give a batch of these images."""
    return Batch(images, torch.arange(len(images)), 0, 0.0)


def places(side: int, count: int = 1) -> torch.Tensor:
    """Give images whose pixels hold their own row and column."""
    row, column = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    return torch.stack([row, column, row * 0]).expand(count, -1, -1, -1)


def corners(cut: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
    """Read where the patches of each pair were cut, [B, K, 2] each."""
    corner = cut.patches[:, :, :2, 0, 0]
    return tuple(corner.gather(1, n[:, :, None].expand(-1, -1, 2)) for n in (cut.first, cut.second))  # type: ignore[return-value]


@pytest.mark.parametrize(("size", "form", "patch", "gap", "jitter"), SIZES)
def test_geometry_follows_the_size(size: int, form: str, patch: int, gap: int, jitter: int) -> None:
    """A grid of nine where there is room, two patches at 32 pixels; the gap is above twice the jitter."""
    method = context(size)
    assert (method.form, method.patch, method.gap, method.jitter) == (form, patch, gap, jitter)


@pytest.mark.parametrize("size", [32, 64, 96])
def test_second_patch_lies_where_the_label_says(size: int) -> None:
    """Corners are a pitch apart in the named direction, give or take both jitters; swapping turns y into 7 - y."""
    method = context(size, flip=False, grayscale=0.0)
    cut = method.cut(places(size, 200))
    first, second = corners(cut)
    directions = torch.tensor(DIRECTIONS)
    off = second - first - directions[cut.label] * (method.patch + method.gap)
    assert off.abs().max() == 2 * method.jitter
    assert torch.equal(directions[7 - cut.label], -directions[cut.label])
    distance = (second - first).abs().amax(2)
    assert distance.min() >= method.patch + method.gap - 2 * method.jitter > method.patch


@pytest.mark.parametrize("form", ["grid", "pairs"])
def test_without_jitter_the_offset_is_exact(form: str) -> None:
    """Jitter 0: the corners are exactly pitch times direction apart, for every label, on real pixels."""
    method = context(64, form=form, jitter=0, flip=False, grayscale=0.0)
    cut = method.cut(places(64, 100))
    first, second = corners(cut)
    assert torch.equal(second - first, torch.tensor(DIRECTIONS)[cut.label] * float(method.patch + method.gap))
    inside = cut.patches[:, :, :2]
    assert inside.min() >= 0
    assert inside.max() <= 63
    extent = inside.amax((3, 4)) - inside.amin((3, 4))
    assert extent.eq(method.patch - 1).all()


@pytest.mark.parametrize("size", [32, 64])
def test_jitter_is_never_cut_off_at_the_edge(size: int) -> None:
    """Offsets are spread evenly about the pitch for every label, also where patches lie at the image's edge."""
    method = context(size, flip=False, grayscale=0.0)
    torch.manual_seed(0)
    cut = method.cut(places(size, 4000))
    first, second = corners(cut)
    off = second - first - torch.tensor(DIRECTIONS)[cut.label] * (method.patch + method.gap)
    for label in range(8):
        mean = off[cut.label == label].mean(0)
        assert mean.abs().max() < 0.08
    assert torch.corrcoef(off.flatten(0, 1).T)[0, 1].abs() < 0.05  # down and across on their own


def test_grid_lies_anywhere_in_the_image() -> None:
    """The middle patch's corner takes every place that leaves room for its neighbours."""
    method = context(64, flip=False, grayscale=0.0, jitter=0)
    first, _ = corners(method.cut(places(80, 2000)))
    free = 80 - method.needed
    assert first[:, 0].amax(0).sub(first[:, 0].amin(0)).tolist() == [free, free]
    assert len(first[:, 0, 0].unique()) == free + 1
    assert torch.corrcoef(first[:, 0].T)[0, 1].abs() < 0.1  # not on the image's diagonal


def test_half_of_the_images_are_mirrored() -> None:
    """A whole image is mirrored before it is cut, or not at all; labels say what is seen then."""
    method = context(32, jitter=0, gap=4, grayscale=0.0)
    cut = method.cut(places(32, 400))
    rises = cut.patches[:, :, 1, 0, -1] > cut.patches[:, :, 1, 0, 0]
    assert (rises.all(1) | ~rises.any(1)).all()
    assert rises[:, 0].float().mean().item() == pytest.approx(0.5, abs=0.08)
    first, second = corners(cut)
    seen = (second - first)[..., 1] * torch.where(rises[:, :1], 1, -1)
    assert torch.equal(seen.sign(), torch.tensor(DIRECTIONS)[cut.label][..., 1].float())


def test_gray_images_are_gray_in_all_patches() -> None:
    """Gray is decided per image, before it is cut."""
    patches = context(grayscale=0.5).cut(torch.rand(300, 3, 32, 32)).patches
    gray = (patches - patches[:, :, :1]).abs().flatten(2).amax(2) < 1e-5
    assert (gray.all(1) | ~gray.any(1)).all()
    assert gray[:, 0].float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_shares_of_blunted_and_dropped_patches_are_obeyed() -> None:
    """None is treated at 0; at 1 all are smoother, or have one telling channel."""
    given = torch.rand(40, 8, 3, 12, 12)

    def seen(**settings: float) -> torch.Tensor:
        method = context(**{"blunted": 0.0, "dropped": 0.0} | settings)
        return method.encoder.normalize(method.disguise(given).flatten(0, 1))

    steps = [(x[..., 1:] - x[..., :-1]).abs().mean() for x in (seen(), seen(blunted=1 / 3), seen(blunted=1.0))]
    assert steps[2] < 0.8 * steps[0]
    assert steps[2] < 0.9 * steps[1] < 0.9 * 0.95 * steps[0]
    assert seen(dropped=1.0).std((2, 3)).amin(1).max() < 0.1
    assert seen().std((2, 3)).amin() > 0.5


@pytest.mark.parametrize(("encoder", "size"), [("alexnet", 96), ("vit_tiny_patch16_224", 32)])
def test_patches_too_small_for_an_encoder_are_enlarged(encoder: str, size: int) -> None:
    """Where an encoder takes no patch, it is given patches of the whole image's side."""
    torch.manual_seed(0)
    method = Context(build_encoder(encoder, size, seed=0))
    assert method.side == size
    (objective,) = method.losses(batch(torch.rand(4, 3, size, size)))
    assert torch.isfinite(objective.loss)


def test_labels_read_row_by_row() -> None:
    """The table: 0 is up left, 1 up, 4 right, 6 down."""
    assert DIRECTIONS == ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


def test_grid_asks_each_direction_once() -> None:
    """Eight pairs per image, one of each label, all from the middle patch; nine patches are encoded."""
    method = context(64)
    cut = method.cut(torch.rand(5, 3, 64, 64))
    assert cut.patches.shape == (5, 9, 3, 16, 16)
    assert (cut.label == torch.arange(8)).all()
    assert (cut.first == 4).all()
    assert cut.second[0].tolist() == [0, 1, 2, 3, 5, 6, 7, 8]


def test_pairs_draw_all_directions_and_places() -> None:
    """Labels are even, and patches reach every part of the image."""
    method = context(32, pairs=4, flip=False)
    cut = method.cut(places(32, 1000))
    assert (cut.label.flatten().bincount(minlength=8) / cut.label.numel() - 0.125).abs().max() < 0.02
    assert (cut.label[:, 0] == cut.label[:, 1]).float().mean().item() == pytest.approx(1 / 8, abs=0.04)
    first, second = corners(cut)
    assert first.min() == second.min() == 0
    assert first.max() == second.max() == 32 - method.patch


def test_patches_come_to_the_encoder_without_mean_and_scale() -> None:
    """Each channel of a patch has mean 0, the patch a root mean square of 1, in the encoder's units."""
    method = context(colours="keep", blunted=0.0)
    seen = method.encoder.normalize(method.disguise(torch.rand(4, 8, 3, 12, 12) * 0.3).flatten(0, 1))
    assert seen.mean((2, 3)).abs().max() < 1e-3
    assert (seen.square().mean((1, 2, 3)) - 1).abs().max() < 1e-2


@pytest.mark.parametrize("colours", ["drop", "project", "keep"])
def test_colours_are_treated_as_asked(colours: str) -> None:
    """Dropping leaves one telling channel in all patches, projecting removes green against magenta."""
    method = context(colours=colours, dropped=1.0, blunted=0.0)
    seen = method.encoder.normalize(method.disguise(torch.rand(50, 8, 3, 12, 12)).flatten(0, 1))
    strength = seen.std((2, 3)).sort(1).values
    magenta = (seen * seen.new_tensor([-1.0, 2.0, -1.0]).view(3, 1, 1)).sum(1).abs().amax()
    assert (strength[:, 1].max() < 0.1 * strength[:, 2].min()) == (colours == "drop")
    assert (magenta < 1e-3) == (colours == "project")


def test_loss_equals_a_loop_over_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each patch is encoded alone, each pair concatenated first before second, log-probabilities averaged."""
    method = context(64, hidden=16).double().eval()
    cut = method.cut(torch.rand(3, 3, 64, 64, dtype=torch.float64))
    monkeypatch.setattr(method, "cut", lambda _: cut)
    monkeypatch.setattr(method, "disguise", lambda patches: patches)
    (objective,) = method.losses(batch(torch.rand(3, 3, 64, 64)))
    total = 0.0
    for image in range(3):
        for one, other, label in zip(*(n[image].tolist() for n in cut[1:]), strict=True):
            both = [method.encoder.vector(cut.patches[image, n][None]) for n in (one, other)]
            total -= F.log_softmax(method.head(torch.cat(both, 1)), 1)[0, label].item()
    assert objective.loss.item() == pytest.approx(total / 24, rel=1e-9)


def test_untrained_head_guesses_at_chance() -> None:
    """A zero layer gives ln 8."""
    method = context()
    nn.init.zeros_(method.head[-1].weight)
    nn.init.zeros_(method.head[-1].bias)
    (objective,) = method.losses(batch(torch.rand(8, 3, 32, 32)))
    assert objective.loss.item() == pytest.approx(math.log(8), rel=1e-5)
    assert objective.chance == math.log(8)


def test_patches_are_encoded_on_their_own_and_order_counts() -> None:
    """In eval mode a partner changes nothing of a patch's features; swapping the two changes the answer."""
    method = context().eval()
    seen = torch.rand(2, 8, 3, 12, 12)
    other = torch.cat([seen[:, :1], torch.rand(2, 7, 3, 12, 12)], 1)
    features = method.features(seen)
    assert torch.allclose(features[:, 0], method.features(other)[:, 0], atol=1e-6)
    one, two = torch.zeros(2, 1, dtype=torch.long), torch.ones(2, 1, dtype=torch.long)
    forth = method.compare(features, Pairs(seen, one, two, one))
    back = method.compare(features, Pairs(seen, two, one, one))
    assert not torch.allclose(forth, back, atol=1e-6)


def test_picture_puts_the_second_patch_where_it_was_thought_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left: the truth; below: the answer."""
    method = context(64, flip=False, grayscale=0.0)
    cut = method.cut(torch.rand(2, 3, 64, 64))
    monkeypatch.setattr(method, "cut", lambda _: cut)
    monkeypatch.setattr(method, "compare", lambda *_: torch.eye(8)[torch.full((16,), 7)])
    (picture,) = method.figures(batch(torch.rand(2, 3, 64, 64))).values()
    side = 3 * 16 + 2
    truth, answer = picture[:, :side, :side], picture[:, side + 2 :, :side]
    assert torch.allclose(truth[:, :16, :16], cut.patches[0, 0])
    assert torch.allclose(answer[:, 34:50, 34:50], cut.patches[0, 0])
    assert torch.allclose(truth[:, 17:33, 17:33], cut.patches[0, 4])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"form": "grid", "gap": 5},
            "3 patches of 8 pixels, gaps of 5 and jitter 1 take 36 pixels, the images have 32",
        ),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"patch": 0}, "a patch has at least 8"),
        ({"patch": 14}, "2 patches of 14 pixels"),
        ({"gap": 2, "jitter": 1}, "the gap must be above twice the jitter"),
        ({"pairs": 0}, "pairs must be at least 1"),
        ({"dropped": 2.0}, "dropped is a share"),
    ],
)
def test_bad_settings_get_one_sentence(settings: dict[str, object], words: str) -> None:
    """What is wrong, what was given, what would do."""
    with pytest.raises(InputError, match=words):
        context(**settings)
