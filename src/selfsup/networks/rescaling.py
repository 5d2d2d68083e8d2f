"""Make all layers of a chain learn equally fast, without changing what it computes."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from selfsup.networks.encoders import Encoder

IMAGES = 32
"""Over which gradients are taken."""
ROUNDS = 10
"""At most, as in the released code; with the same random gradients in each, two are usual."""
CLOSE = 0.01
"""Spread of the logarithms of the rates at which they count as equal (released code: within 1 %)."""

_HOMOGENEOUS = (
    nn.Conv2d, nn.Conv1d, nn.Linear, nn.ReLU, nn.LeakyReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d, nn.Identity, nn.Dropout, nn.Flatten,
)  # fmt: skip
"""Modules that scale what they give as they scale what they get, biases aside."""


def rescale(encoder: Encoder, images: Float[Tensor, "n c *S"], seed: int) -> bool:
    """Scale the layers of a chain in place so that their weights change at equal rates; say whether it was one.

    The rate of a layer is the root of mean squared gradient over mean squared weight, for random gradients at the
    vector. Layer l is multiplied by f_l, its bias by f_1 ... f_l, and all f together are 1, so that the vector stays
    what it was. That holds for chains of convolutions, rectifiers and poolings: with norms the scale of a layer means
    nothing, and in branches it would change the function. Such networks are left as they are.

    Args:
        encoder: with initial weights.
        images: of the training set.
        seed: of the random gradients; torch's generator stays as it was.

    Source: Krähenbühl et al., 2016, section 3.2, https://arxiv.org/abs/1511.06856
    """
    if not all(type(leaf) in _HOMOGENEOUS for leaf in encoder.inner.modules() if not list(leaf.children())):
        return False
    images = images[:IMAGES]
    layers = _in_order(encoder, images[:1])
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with torch.no_grad():
        wanted = encoder.vector(images)
    noise = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(seed)).to(wanted)
    for _ in range(ROUNDS):
        logarithms = rates(encoder, layers, images, noise).log()
        if logarithms.std(correction=0) < CLOSE:
            break
        _scale(layers, ((logarithms - logarithms.mean()) / 2).exp())
    with torch.no_grad():
        same = torch.allclose(encoder.vector(images), wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item())
    if not same:  # there are branches, which modules do not show
        encoder.load_state_dict(before)
    return same


def rates(
    encoder: Encoder, layers: list[nn.Module], images: Float[Tensor, "n c *S"], noise: Float[Tensor, "n D"]
) -> Float[Tensor, " L"]:
    """Give the rate at which each layer's weights change for these gradients at the vector."""
    weights = [layer.weight for layer in layers]
    with torch.enable_grad():
        gradients = torch.autograd.grad(encoder.vector(images), weights, noise)  # type: ignore[arg-type]
    pairs = zip(gradients, weights, strict=True)
    return torch.stack([(g.square().mean() / w.detach().square().mean()).sqrt() for g, w in pairs])  # type: ignore[operator]


@torch.no_grad()
def _scale(layers: list[nn.Module], factors: Float[Tensor, " L"]) -> None:
    for layer, own, all_before in zip(layers, factors, factors.cumprod(0), strict=True):
        layer.weight.mul_(own)  # type: ignore[operator]
        if isinstance(layer.bias, Tensor):
            layer.bias.mul_(all_before)


def _in_order(encoder: Encoder, images: Tensor) -> list[nn.Module]:
    """Give the layers with weights in the order in which they are passed."""
    found: list[nn.Module] = []
    layers = [m for m in encoder.inner.modules() if isinstance(m, nn.Conv2d | nn.Conv1d | nn.Linear)]
    hooks = [layer.register_forward_pre_hook(lambda own, _: found.append(own)) for layer in layers]
    with torch.no_grad():
        encoder.vector(images)
    for hook in hooks:
        hook.remove()
    return list(dict.fromkeys(found))
