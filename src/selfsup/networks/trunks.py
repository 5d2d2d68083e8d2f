"""One surface over built-in networks and timm's: maps of the stages, the last map, the pooled vector."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from selfsup.networks import fitting
from selfsup.networks.built_in import Stack
from selfsup.networks.fixed import Fixed

Ours = Stack | Fixed


def stages_of(network: nn.Module) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Give the names of a network's stages and, for timm's networks, the numbers timm asks for them by."""
    if isinstance(network, Fixed):
        return network.stage_names, ()
    if isinstance(network, Stack):
        return tuple(name for name, _ in network.named_children()), ()
    return fitting.stages_of(network)


def maps(network: nn.Module, values: Tensor, picked: Sequence[int]) -> list[Tensor]:
    """Give the maps of the picked stages, first to last; of a built-in network all."""
    if isinstance(network, Ours):
        return list(network.maps(values).values())
    found: list[Tensor] = network.forward_intermediates(  # type: ignore[operator]
        values, indices=list(picked), output_fmt="NCHW", intermediates_only=True
    )
    return found


def last_map(network: nn.Module, values: Tensor, picked: Sequence[int]) -> Tensor:
    """Give the map of the last stage."""
    if isinstance(network, Ours):
        return network(values)  # type: ignore[no-any-return]
    return maps(network, values, picked[-1:])[-1]


def vector(network: nn.Module, values: Tensor) -> Float[Tensor, "B D"]:
    """Give the pooled vector in front of the classifier."""
    if isinstance(network, Ours):
        return _pooled(network, network(values))
    return _head(network, network.forward_features(values))  # type: ignore[operator]


def map_and_vector(network: nn.Module, values: Tensor, picked: Sequence[int]) -> tuple[Tensor, Float[Tensor, "B D"]]:
    """Give what `last_map` and `vector` give, in one pass."""
    if isinstance(network, Ours):
        last: Tensor = network(values)
        return last, _pooled(network, last)
    features, found = network.forward_intermediates(  # type: ignore[operator]
        values, indices=list(picked[-1:]), output_fmt="NCHW"
    )
    return found[-1], _head(network, features)


def maps_and_vector(
    network: nn.Module, values: Tensor, picked: Sequence[int]
) -> tuple[list[Tensor], Float[Tensor, "B D"]]:
    """Give what `maps` and `vector` give, in one pass."""
    if isinstance(network, Ours):
        found = maps(network, values, picked)
        return found, _pooled(network, found[-1])
    features, found = network.forward_intermediates(  # type: ignore[operator]
        values, indices=list(picked), output_fmt="NCHW"
    )
    return found, _head(network, features)


def _head(network: Any, features: Tensor) -> Tensor:
    pooled: Tensor = network.forward_head(features, pre_logits=True)
    return pooled.flatten(1)


def _pooled(network: Ours, last_map: Tensor) -> Tensor:
    """Average over all places of a map, unless the network has a way of its own."""
    return network.pooled(last_map) if isinstance(network, Fixed) else last_map.mean(tuple(range(2, last_map.ndim)))
