"""Two domains of features: a discriminator that tells from which one a map is, and what it remembers of each."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from selfsup import draws, processes

WIDEST = 512
SLOPE = 0.2
"""Of the leaky ReLU below zero."""


class DomainDiscriminator(nn.Module):
    """Judge patches of a map: a 3x3 convolution with stride 2, two 1x1 convolutions, a logit for each patch.

    Batch norm without running statistics stands behind the first two: show the two domains in passes of their own.

    Args:
        width: channels of the map; the inner layers have twice as many, at most 512.

    Source: jason718/game-feature-learning, the discriminator of conv5 (256 channels, then 512 and 512).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = min(WIDEST, 2 * width)
        self.layers = nn.Sequential(
            nn.Conv2d(width, inner, 3, stride=2, padding=1),
            *_norm(inner),
            nn.Conv2d(inner, inner, 1),
            *_norm(inner),
            nn.Conv2d(inner, 1, 1),
        )

    def forward(self, maps: Float[Tensor, "B C h w"]) -> Float[Tensor, " P"]:
        """Give the logits of all patches of all maps; positive says real."""
        logits: Tensor = self.layers(maps)
        return logits.flatten()


class ReplayPool(nn.Module):
    """Mix maps of earlier steps into a batch, so that a discriminator does not forget what it was shown.

    Until it is full it keeps maps and gives back what it is given. From then on each map is, with probability 1/2,
    exchanged for one that is kept. In eval mode nothing is kept or exchanged. With several processes the pool is that
    of the whole batch, the same in each.

    Args:
        size: maps that are kept; 0 for none.
        shape: of a map.

    Source: Shrivastava et al., 2017, https://arxiv.org/abs/1612.07828, as coded in game-feature-learning.
    """

    maps: Tensor
    held: Tensor

    def __init__(self, size: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("maps", torch.zeros(size, *shape))
        self.register_buffer("held", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, maps: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Give a map for each one given, without a gradient, in the kept ones' precision."""
        mine = maps.detach().to(self.maps.dtype)
        if not self.training or self.size == 0:
            return mine
        new = processes.in_rank_order([mine])  # [G, C, h, w]
        each = -(-self.size // len(new))
        drawn = processes.in_rank_order([draws.uniform(mine, 1 + each)])  # [G, 1 + each]
        held = int(self.held)
        if held < self.size:
            taken = min(len(new), self.size - held)
            self.maps[held : held + taken] = new[:taken]
            self.held += taken
            return mine
        asked = drawn[:, 0] < 0.5
        rank = asked.cumsum(0) - 1
        row = (asked & (rank < self.size)).nonzero().squeeze(1)
        place = drawn[:, 1:].flatten()[: self.size].argsort()[rank[row]]  # each kept map once at most
        given = new.clone()
        given[row] = self.maps[place]
        self.maps[place] = new[row]
        return given[processes.rows(len(given))]


def _norm(width: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(width, track_running_stats=False), nn.LeakyReLU(SLOPE, inplace=True)]
