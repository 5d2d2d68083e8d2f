"""Batch norm: statistics of the whole batch over all processes, and statistics fit to be kept."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selfsup import processes


class SyncBatchNorm(_BatchNorm):
    """Normalize by the mean and variance of all processes' rows; in one process, plain batch norm to the bit.

    Statistics are gathered differentiably, so gradients too are those of the whole batch. Works on the
    CPU, where torch's own refuses to. Every process must have as many rows as the others.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        """Take over the parameters and buffers of `norm`, the same objects under the same names."""
        super().__init__(norm.num_features, norm.eps, norm.momentum, affine=False, track_running_stats=False)
        self.affine, self.track_running_stats = norm.affine, norm.track_running_stats
        for name in ("weight", "bias"):
            self.register_parameter(name, getattr(norm, name))
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))
        for name, module in norm.named_children():  # timm's batch norms bring dropout and activation along
            self.add_module(name, module)
        self.training = norm.training

    def forward(self, values: Float[Tensor, "B C ..."]) -> Float[Tensor, "B C ..."]:
        """Normalize each channel."""
        shared = processes.count() > 1 and (self.training or self.running_mean is None)
        normalized: Tensor = self._by_all_processes(values) if shared else super().forward(values)
        for module in self.children():
            normalized = module(normalized)
        return normalized

    def _check_input_dim(self, values: Tensor) -> None:  # called by torch's forward
        if values.dim() < 2:
            raise ValueError(f"Batch norm needs rows of channels, got {values.dim()} dimensions.")

    def _by_all_processes(self, given: Tensor) -> Tensor:
        values = given.float() if given.dtype in (torch.bfloat16, torch.float16) else given
        mean, variance = self._statistics(values)
        if self.training and self.track_running_stats:
            self._track(mean.detach(), variance.detach(), values.numel() // values.shape[1] * processes.count())
        scale = (variance + self.eps).rsqrt()
        scale = scale if self.weight is None else scale * self.weight
        shift = -mean * scale if self.bias is None else self.bias - mean * scale
        shape = (1, -1, *[1] * (values.dim() - 2))
        return (values * scale.view(shape) + shift.view(shape)).to(given.dtype)

    def _statistics(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean and biased variance of each channel over all processes."""
        dims = [dim for dim in range(values.dim()) if dim != 1]
        variance, mean = torch.var_mean(values, dims, correction=0)
        variances, means = processes.gather_with_gradient(torch.stack([variance, mean])[None]).unbind(1)  # [P, C] each
        mean = means.mean(0)
        # the spread of the processes' means belongs to the variance; no difference of large numbers
        return mean, (variances + (means - mean).square()).mean(0)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1 / int(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_((variance * (count / max(1, count - 1))).to(self.running_var.dtype), share)


def synchronize(module: nn.Module) -> nn.Module:
    """Replace every batch norm in `module` by a synchronized one, in place; give the module (or its replacement)."""
    if isinstance(module, _BatchNorm) and not isinstance(module, SyncBatchNorm):
        return SyncBatchNorm(module)
    for name, child in module.named_children():
        replacement = synchronize(child)
        if replacement is not child:
            module.add_module(name, replacement)
    return module


@contextmanager
def by_batch(module: nn.Module) -> Iterator[None]:
    """Let batch norms go by the batch at hand, in eval mode too, and leave their running statistics as they are."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    modes = [norm.training for norm in norms]
    try:
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, mode in zip(norms, modes, strict=True):
            norm.training, norm.track_running_stats = mode, True


@torch.no_grad()
def reestimate_norms(encoder: nn.Module, batches: Iterable[Float[Tensor, "_ _ ..."]]) -> None:
    """Replace running statistics of batch norms by their plain average over clean batches.

    Everything but the batch norms stays in eval mode meanwhile; modes are as before afterwards. With
    several processes each gives its share of a batch. No batches: nothing changes.
    """
    norms = [m for m in encoder.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    modes = {module: module.training for module in encoder.modules()}
    momenta = [norm.momentum for norm in norms]
    vector: Callable[[Tensor], Tensor] = getattr(encoder, "vector", encoder)
    encoder.eval()
    try:
        for number, batch in enumerate(batches if norms else ()):
            for norm in norms:
                if number == 0:
                    norm.reset_running_stats()
                norm.momentum = None  # a cumulative average
                norm.training = True
            vector(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
