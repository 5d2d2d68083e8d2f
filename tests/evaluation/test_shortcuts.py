"""Images without content hold what they are said to hold and nothing else."""

import torch

from selfsup.evaluation import shortcuts


def pictures(count: int = 16, side: int = 32) -> torch.Tensor:
    """Give smooth random colours."""
    return torch.nn.functional.interpolate(torch.rand(count, 3, 4, 4), (side, side), mode="bicubic").clamp(0, 1)


def correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    """Correlate two tensors of values."""
    return torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].item()


def test_flat_images_keep_their_mean_colour_only() -> None:
    """Every pixel is the image's mean."""
    images = pictures()
    flat = shortcuts.flat(images)
    assert flat.shape == images.shape
    assert torch.allclose(flat.std((2, 3)), torch.zeros(16, 3), atol=1e-6)
    assert torch.allclose(flat[:, :, 0, 0], images.mean((2, 3)), atol=1e-6)


def test_symmetric_images_look_the_same_after_a_turn() -> None:
    """All four turns are equal, and something of the image is left."""
    made = shortcuts.symmetric(pictures())
    for k in range(1, 4):
        assert torch.allclose(made.rot90(k, (2, 3)), made, atol=1e-6)
    assert made.std((2, 3)).min() > 0.005


def test_texture_is_alike_everywhere_and_forgets_within_four_pixels() -> None:
    """Neighbours resemble each other, pixels four apart do not; rows and columns alike, no place stands out."""
    torch.manual_seed(0)
    made = shortcuts.texture(torch.full((200, 3, 32, 32), 0.5)) - 0.5
    assert made.std().item() > 0.1
    for axis in (2, 3):
        size = made.shape[axis]
        near, far = (correlation(made.narrow(axis, 0, size - d), made.narrow(axis, d, size - d)) for d in (1, 4))
        assert near > 0.5
        assert abs(far) < 0.02
    assert made.mean(0).abs().max() < 0.06
    assert made.std(0).std().item() < 0.02


def test_lens_magnifies_red_and_shrinks_blue() -> None:
    """In the middle the channels agree; at the edge red has moved outwards and blue inwards."""
    torch.manual_seed(0)
    made = shortcuts.lens(torch.full((64, 3, 32, 32), 0.5), reach=1 / 16)
    red, green, blue = made.unbind(1)
    middle = slice(14, 18)
    assert correlation(red[:, middle, middle], green[:, middle, middle]) > 0.9
    # at the right edge a shift of 1/16 of 16 pixels is one pixel
    left, here = slice(28, 30), slice(29, 31)
    assert correlation(red[:, :, here], green[:, :, left]) > correlation(red[:, :, left], green[:, :, left]) + 0.1
    assert correlation(blue[:, :, left], green[:, :, here]) > correlation(blue[:, :, left], green[:, :, left]) + 0.1


def test_marks_keep_a_stamp_and_lose_the_sky() -> None:
    """What is sharp in the folder's mean is put on noise; what changes slowly is not, however large the images."""
    torch.manual_seed(0)
    for side in (32, 96):
        sky = torch.linspace(0.8, 0.2, side)[None, :, None].expand(3, side, side).clone()
        stamped, little = sky.clone(), side // 12
        stamped[:, -2 * little : -little, -2 * little : -little] = 1.0
        none = torch.zeros_like(sky)
        without, found = (shortcuts.marks_of(mean, none, 1000) for mean in (sky, stamped))
        assert without[:, 2:-2].abs().max() < 0.05
        assert found[:, -2 * little : -little, -2 * little : -little].min() > 0.5
        shown = shortcuts.marked(torch.full((300, 3, side, side), 0.5), found).mean(0)
        assert torch.allclose(shown, (0.5 + found).clamp(0, 1), atol=0.12)


def test_marks_are_thin() -> None:
    """A bar of a tenth of the side and a frame of a twentieth are marks; a bar of a third is content."""
    for side in (32, 96):
        plain = torch.full((3, side, side), 0.5)
        middle = side // 2
        bar, frame, broad = plain.clone(), plain.clone(), plain.clone()
        bar[..., middle : middle + side // 10] = 1.0
        frame[..., : side // 20] = 1.0
        broad[..., middle : middle + side // 3] = 1.0
        thin, edge, thick = (shortcuts.marks_of(mean, 0 * plain, 1000) for mean in (bar, frame, broad))
        assert thin[..., middle : middle + side // 10].min() > 0.4
        assert edge[..., : side // 20].min() > 0.4
        assert thick[..., middle + 2 : middle + side // 3 - 2].abs().max() < 0.01


def test_a_faint_stamp_on_many_images_is_a_mark() -> None:
    """A mean of a thousand images is good to a thirtieth of a pixel's deviation."""
    mean = torch.full((3, 32, 32), 0.5)
    mean[:, 27:30, 26:30] += 0.1
    found = shortcuts.marks_of(mean, torch.full_like(mean, 0.2), 1000)
    assert found[:, 27:30, 26:30].min() > 0.09


def test_few_images_have_no_marks() -> None:
    """What the mean of a small folder still shows of each image is not taken for a mark; a stamp still is."""
    torch.manual_seed(0)
    for count in (20, 500):
        images = pictures(count)
        for stamp in (False, True):
            if stamp:
                images[:, :, 27:30, 26:30] = 1.0
            found = shortcuts.marks_of(images.mean(0), images.std(0, correction=0), count)
            assert (found.abs().max() > 0.3) == stamp
            assert (found != 0).float().mean() < 0.03


def test_jpeg_leaves_blocks() -> None:
    """Steps between pixels are larger at the borders of eight by eight blocks."""
    torch.manual_seed(0)
    images = shortcuts.texture(torch.full((64, 3, 32, 32), 0.5))
    made = shortcuts.reencoded(images, quality=10)
    steps = (made[..., 1:] - made[..., :-1]).abs().mean((0, 1, 2))
    at_borders = steps[[7, 15, 23]].mean()
    assert at_borders > 1.3 * steps[[3, 11, 19, 27]].mean()
    assert (shortcuts.reencoded(images, 95) - images).abs().mean() < 0.7 * (made - images).abs().mean()


def test_channels_are_replaced_and_shifted() -> None:
    """One channel: all equal green. Shifted: red from below right, blue from above left."""
    images = pictures()
    gray = shortcuts.one_channel(images)
    assert all(torch.equal(gray[:, c], images[:, 1]) for c in range(3))
    made = shortcuts.shifted_channels(images)
    assert torch.equal(made[:, 1], images[:, 1])
    assert torch.equal(made[:, 0, :-1, :-1], images[:, 0, 1:, 1:])
    assert torch.equal(made[:, 2, 1:, 1:], images[:, 2, :-1, :-1])
