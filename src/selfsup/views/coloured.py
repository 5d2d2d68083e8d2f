"""Crops whose colours are changed, each on its own: the views of contrastive tasks."""

from functools import partial

from jaxtyping import Bool, Float, Int
from torch import Tensor

from selfsup import draws
from selfsup.views import color, crops
from selfsup.views.pieces import in_pieces


def coloured_crops(
    images: Float[Tensor, "B 3 S S"],
    boxes: Float[Tensor, "V 4"],
    flips: Bool[Tensor, " V"],
    size: int,
    *,
    strength: float,
    grayscale: float,
    blur: float = 0.0,
) -> Float[Tensor, "V 3 {size} {size}"]:
    """Cut boxes out of images, resize them, and jitter, gray and blur each as drawn for it alone.

    Args:
        images: in [0, 1].
        boxes: top, left, height, width in pixels; as many for each image, which stand together.
        flips: which crops are mirrored.
        size: side of the result.
        strength: of the jitter of four crops in five: brightness, contrast and saturation change by up to 0.8 times,
            hue by up to 0.2 times this.
        grayscale: share of crops made gray.
        blur: share of crops that are blurred, by a Gaussian of 0.1 to 2 pixels.

    Source: Chen, Kornblith, Norouzi and Hinton, 2020, appendix A, https://arxiv.org/abs/2002.05709
    """
    like = images.new_empty(len(boxes), 0)
    by = 0.8 * strength
    changes = color.random_changes(like, by, by, by, 0.2 * strength)
    decisions = [boxes, flips, *changes, draws.happens(like, grayscale)]
    if blur > 0:
        decisions += [draws.happens(like, blur), draws.uniform(like, low=0.1, high=2.0)]
    view = partial(_view, size=size)
    return in_pieces(view, images, *decisions, values=3 * size * size, order=color.by_hue(changes))


def _view(
    images: Float[Tensor, "B 3 S S"],
    boxes: Float[Tensor, "B 4"],
    flips: Bool[Tensor, " B"],
    amounts: Float[Tensor, "B 4"],
    order: Int[Tensor, "B 4"],
    changed: Bool[Tensor, " B"],
    grays: Bool[Tensor, " B"],
    blurred: Bool[Tensor, " B"] | None = None,
    sigmas: Float[Tensor, " B"] | None = None,
    *,
    size: int,
) -> Float[Tensor, "B 3 s s"]:
    made = crops.crop_resize(images, boxes, flips, size)
    made = color.adjust(made, amounts, order, changed)
    made = color.gray_chosen(made, grays)
    if blurred is not None and sigmas is not None:
        made = color.blur_chosen(made, sigmas, blurred, color.kernel_for(size))
    return made.clamp_(0, 1)
