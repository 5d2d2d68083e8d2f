"""Views of a batch made a few images at a time, so that they never leave the processor's cache."""

from collections.abc import Callable

import torch
from torch import Tensor

CACHED = 1 << 20
"""Values of the result worked on at a time by each thread of a CPU; fewer cost more in calls than they save."""


def in_pieces(
    view: Callable[..., Tensor], images: Tensor, *decisions: Tensor, values: int, order: Tensor | None = None
) -> Tensor:
    """Apply a view piece by piece on a CPU, at once elsewhere.

    On a CPU this is several times faster: temporaries of a whole batch come as fresh pages from the
    operating system, while those of a piece are still in the cache.

    Args:
        view: gives a row for each row of a piece of images and decisions.
        images: [B, ...].
        decisions: what was drawn for each image, [B, ...]; or [k*B, ...] for k views of each image,
            which stand together in the result.
        values: numbers in one row of the result.
        order: [k*B], in which rows of the result are worked on, so that like stands beside like.
            None: as they come.
    """
    total = len(decisions[0])
    views = total // len(images)
    most = max(1, CACHED * torch.get_num_threads() // values) if images.device.type == "cpu" else total
    pieces = -(-total // most)
    if order is None:
        order = torch.arange(total, device=images.device)
    result: Tensor | None = None
    for rows in order.tensor_split(pieces):
        chosen = (decision.index_select(0, rows) for decision in decisions)
        made = view(images.index_select(0, rows if views == 1 else rows // views), *chosen)
        if result is None:
            result = made.new_empty(total, *made.shape[1:])
        result.index_copy_(0, rows, made)
    assert result is not None, "a batch holds at least one image"
    return result
