"""Optimizers do what their names say, and only what belongs to their part."""

import pytest
import torch
from torch import nn

from selfsup.errors import InputError
from selfsup.recipe import Recipe, seconds
from selfsup.training.optimizers import LARS, parameters_of, set_lr


def test_first_lars_step_has_the_stated_length() -> None:
    """A decayed tensor first moves by lr * 0.001 * its own norm, whatever the size of the gradient."""
    weight = nn.Parameter(torch.randn(5, 4))
    before = weight.detach().clone()
    weight.grad = torch.randn(5, 4) * 37
    LARS([{"params": [weight], "weight_decay": 1e-4}], lr=2.0).step()
    assert (weight - before).norm().item() == pytest.approx(2.0 * 0.001 * before.norm().item(), rel=1e-5)


def test_lars_follows_the_written_rule() -> None:
    """Two steps by hand: decay into the gradient, trust ratio, momentum on the scaled gradient."""
    weight = nn.Parameter(torch.tensor([[3.0, 4.0]]))
    optimizer = LARS([{"params": [weight], "weight_decay": 0.1}], lr=1.0, momentum=0.9)
    w, v = torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)
    for gradient in (torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, -2.0]])):
        weight.grad = gradient.clone()
        optimizer.step()
        g = gradient + 0.1 * w
        v = 0.9 * v + 0.001 * w.norm() / g.norm() * g
        w = w - v
        assert torch.allclose(weight.detach(), w, atol=1e-6)


@pytest.mark.parametrize("name", ["lars", "adamw"])
def test_biases_and_norms_are_not_decayed(name: str) -> None:
    """Vectors carry no weight decay and no trust scaling."""
    layer = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    optimizer = Recipe(optimizer=name, weight_decay=0.1).build(layer.parameters())  # type: ignore[arg-type]
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert (group["weight_decay"] == 0) == (parameter.ndim == 1)
            if name == "lars":
                assert group["adapt"] == (parameter.ndim > 1)
    assert len(parameters_of(optimizer)) == 4


def test_schedules_at_their_corners() -> None:
    """Cosine with warm-up: 0 at first, the peak after the warm-up, 0 at the end; steps: the stated factors."""
    cosine = Recipe(schedule="cosine", warmup=0.1)
    assert cosine.lr_factor(0.0) == 0
    assert cosine.lr_factor(0.1) == pytest.approx(1)
    assert cosine.lr_factor(1.0) == pytest.approx(0, abs=1e-12)
    steps = Recipe(schedule="steps", milestones=(0.3, 0.6), decay=0.2)
    assert [steps.lr_factor(p) for p in (0.0, 0.3, 0.6)] == pytest.approx([1, 0.2, 0.04])
    assert Recipe(schedule="constant").lr_factor(0.99) == 1


def test_rate_grows_with_the_batch_where_the_recipe_says_so() -> None:
    """`lr_per` is the batch that the rate was meant for."""
    assert Recipe(lr=0.3, lr_per=256, batch_size=512).peak_lr() == pytest.approx(0.6)
    assert Recipe(lr=0.3, batch_size=512).peak_lr() == pytest.approx(0.3)


def test_rate_is_set_in_all_groups() -> None:
    """Schedules reach every group."""
    optimizer = Recipe(optimizer="adamw").build(nn.Linear(2, 2).parameters())
    set_lr(optimizer, 0.7)
    assert [group["lr"] for group in optimizer.param_groups] == [0.7, 0.7]


def test_times_are_read() -> None:
    """Seconds, minutes, hours, or a plain number."""
    assert [seconds(text) for text in ("90s", "10m", "1.5h", "30")] == [90, 600, 5400, 30]


@pytest.mark.parametrize("text", ["", "m", "ten", "-3m", "0", "infm", "nan"])
def test_odd_times_get_a_sentence(text: str) -> None:
    """A time that is none is refused, with an example of one."""
    with pytest.raises(InputError, match="10m"):
        Recipe(budget=text)


@pytest.mark.parametrize(
    "wrong", [{"lr": -1.0}, {"momentum": 1.0}, {"warmup": 1.0}, {"clip": 0.0}, {"batch_size": 0}, {"steps": 0}]
)
def test_impossible_recipes_get_a_sentence(wrong: dict) -> None:
    """The sentence names the setting and what was given."""
    with pytest.raises(InputError, match=next(iter(wrong))):
        Recipe(**wrong)


def test_one_length_only() -> None:
    """Steps and a time budget together are refused."""
    with pytest.raises(InputError, match="one length"):
        Recipe(steps=3, budget="1m")
