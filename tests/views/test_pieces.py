"""Working piece by piece changes nothing but the time it takes."""

import torch

from selfsup.views import color, crops, pieces


def test_pieces_give_what_the_whole_batch_gives(monkeypatch) -> None:
    """The last piece may be short, and rows may be worked on in any order."""
    x = torch.rand(11, 3, 8, 8)
    changes = color.random_changes(x, 0.4, 0.4, 0.4, 0.1)
    whole = color.adjust(x, *changes)
    monkeypatch.setattr(pieces, "CACHED", 3 * 3 * 8 * 8)
    values = 3 * 8 * 8
    torch.testing.assert_close(pieces.in_pieces(color.adjust, x, *changes, values=values), whole)
    order = torch.randperm(11)
    torch.testing.assert_close(pieces.in_pieces(color.adjust, x, *changes, values=values, order=order), whole)


def test_several_views_of_an_image_stand_together(monkeypatch) -> None:
    monkeypatch.setattr(pieces, "CACHED", 2 * 4)
    x = torch.arange(5.0)[:, None]
    added = torch.arange(15.0)[:, None]
    made = pieces.in_pieces(torch.add, x, added, values=1, order=torch.randperm(15))
    assert torch.equal(made, x.repeat_interleave(3, 0) + added)


def test_a_crop_of_two_views_takes_both_from_the_same_image() -> None:
    x = torch.arange(4.0)[:, None, None, None].expand(4, 3, 16, 16)
    boxes = crops.random_boxes(torch.empty(8, 0), 16, 16)
    flips = crops.random_flips(boxes)
    views = pieces.in_pieces(lambda *given: crops.crop_resize(*given, 16), x, boxes, flips, values=768)
    torch.testing.assert_close(views.mean((1, 2, 3)), torch.tensor([0.0, 0, 1, 1, 2, 2, 3, 3]))
