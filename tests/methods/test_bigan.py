"""BiGAN: pairs are judged, both labels are flipped, and all networks are stepped at once from one pass."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from selfsup import draws
from selfsup.errors import InputError
from selfsup.method import Batch, Objective
from selfsup.methods.bigan import BiGAN
from selfsup.networks import adversarial
from selfsup.networks.adversarial import discriminator_loss, generator_loss
from selfsup.networks.discriminators import Discriminator
from selfsup.networks.encoders import build_encoder
from selfsup.recipe import Recipe
from selfsup.training.loop import autocast_of, train
from selfsup.views import crops

SIZE = 32


def test_ranges_and_shapes() -> None:
    """E(x) and z lie in (-1, 1)^d, G(z) in [-1, 1], logits are one per pair, of either kind."""
    method = bigan(latent=9)
    images = torch.rand(6, 3, SIZE, SIZE)
    codes = method.encode(images)
    assert codes.shape == (6, 9)
    assert codes.abs().max() < 1
    drawn = draws.uniform(images, 9, low=-1.0, high=1.0)
    generated = method.generator(drawn)
    assert generated.shape == images.shape
    assert generated.abs().max() <= 1
    assert method.discriminator(2 * images - 1, codes).shape == (6,)
    assert method.discriminator(generated, drawn).shape == (6,)


@pytest.mark.parametrize(("loss", "value"), [("logistic", math.log(2)), ("hinge", 1.0)])
def test_a_blind_discriminator_has_known_losses(loss: str, value: float) -> None:
    """At zero logits both sides have ln 2 (logistic); hinge gives 1 and 0. Chance and accuracy are 1/2."""
    method = bigan(loss=loss, unary=0)
    method.discriminator.forward = lambda images, codes: 0 * codes.sum(1)  # type: ignore[method-assign]
    of_discriminator, of_pair = objectives(method, torch.rand(8, 3, SIZE, SIZE))
    assert of_discriminator.loss.item() == pytest.approx(value)
    assert of_pair.loss.item() == pytest.approx(value if loss == "logistic" else 0)
    assert of_pair.metrics["d_accuracy"].item() == 0.5
    assert of_pair.metrics["d_loss"].item() == pytest.approx(value)


def test_labels_are_flipped_for_both_terms() -> None:
    """L_EG of logits is L_D of their negatives: a real pair is to be called generated, a generated one real."""
    method = bigan(unary=0)
    logits = [torch.randn(8), torch.randn(8)]
    given = iter(logits)
    method.discriminator.forward = lambda images, codes: next(given) + 0 * codes.sum(1)  # type: ignore[method-assign]
    of_discriminator, of_pair = objectives(method, torch.rand(8, 3, SIZE, SIZE))
    real, fake = logits
    assert torch.allclose(of_discriminator.loss, discriminator_loss(real, fake, "logistic") / 2)
    assert torch.allclose(of_pair.loss, discriminator_loss(-real, -fake, "logistic") / 2)
    by_hand = sum(math.log1p(math.exp(r)) + math.log1p(math.exp(-f)) for r, f in zip(real.tolist(), fake.tolist()))  # noqa: B905
    assert of_pair.loss.item() == pytest.approx(by_hand / 16, rel=1e-5)


def test_images_are_judged_by_themselves_too() -> None:
    """The second discriminator sees the images of the pairs without codes; half its game is added, times the weight."""
    images, logits = torch.rand(8, 3, SIZE, SIZE), (torch.linspace(-1, 3, 8), torch.linspace(-3, 1, 8))
    of_discriminator, of_pair = discriminator_loss(*logits, "logistic") / 2, generator_loss(logits[1], "logistic") / 2
    losses = []
    for weight in (1.0, 3.0):
        method = bigan(unary=weight, augment="translation").eval()
        paired, alone, given = [], [], iter(logits)
        method.discriminator.register_forward_pre_hook(lambda _, seen, to=paired: to.append(seen[0]))
        assert method.image_discriminator is not None
        method.image_discriminator.register_forward_pre_hook(lambda _, seen, to=alone: to.append(seen[0]))
        method.image_discriminator.register_forward_hook(lambda _, seen, made, answers=given: next(answers) + 0 * made)
        torch.manual_seed(1)
        objectives_ = objectives(method, images)
        assert len(alone) == len(paired) == 2
        assert all(torch.equal(one, other) for one, other in zip(alone, paired, strict=True))
        assert objectives_[1].metrics["unary_accuracy"] == adversarial.accuracy(*logits)
        losses.append([objective.loss.item() for objective in objectives_])
    for once, thrice, term in zip(*losses, (of_discriminator, of_pair), strict=True):
        assert thrice - once == pytest.approx(2 * term.item(), rel=1e-4)


def test_the_paper_judges_pairs_alone() -> None:
    """With weight 0 there is no second discriminator, and nothing of it is logged or added."""
    method = bigan(unary=0)
    assert method.image_discriminator is None
    judged: list[Tensor] = []
    method.discriminator.register_forward_hook(lambda _, seen, made: judged.append(made))
    of_discriminator, of_pair = objectives(method, torch.rand(8, 3, SIZE, SIZE))
    assert "unary_accuracy" not in of_pair.metrics
    assert torch.allclose(of_discriminator.loss, discriminator_loss(*judged, "logistic") / 2)
    flipped = [-logits for logits in judged]
    assert torch.allclose(of_pair.loss, discriminator_loss(*flipped, "logistic") / 2)


def test_real_pairs_are_pairs() -> None:
    """An image goes with its own code: with another's, the discriminator's answer is another."""
    method = bigan(flip=False).eval()
    images = torch.rand(6, 3, SIZE, SIZE)
    seen: list[tuple[Tensor, Tensor]] = []
    judge = method.discriminator.forward
    method.discriminator.forward = lambda x, z: seen.append((x, z)) or judge(x, z)  # type: ignore[method-assign,func-returns-value]
    objectives(method, images)
    (real, codes), (generated, drawn) = seen
    assert torch.allclose(real, 2 * images - 1)
    assert torch.allclose(codes, method.encode(images), atol=1e-5)
    assert torch.allclose(generated, method.generator(drawn), atol=1e-5)
    assert not torch.allclose(judge(real, codes), judge(real, codes.roll(1, 0)))


def test_each_side_has_its_own_parameters() -> None:
    """Encoder, code and generator get a gradient from their loss, the discriminator from its own, and nobody else."""
    method = bigan()
    optimizers = method.optimizers(method.recipe)
    of_discriminator, of_pair = objectives(method, torch.rand(8, 3, SIZE, SIZE))
    players = {"discriminator": of_discriminator, "encoder": of_pair}
    own = {part: optimizer.param_groups[0]["params"] for part, optimizer in optimizers.items()}
    for part, objective in players.items():
        assert objective.part == part
        gradients = torch.autograd.grad(objective.loss, own[part], retain_graph=True)
        assert all(gradient.abs().max() > 0 for gradient in gradients)
    judges = (method.discriminator, method.image_discriminator)
    assert {id(p) for p in own["discriminator"]} == {id(p) for judge in judges if judge for p in judge.parameters()}
    assert {id(p) for p in method.encoder.parameters()} <= {id(p) for p in own["encoder"]}


def test_all_networks_are_stepped_from_the_same_parameters() -> None:
    """One step of plain gradient descent moves every network by the gradient at where all of them stood before."""
    method = bigan(norm="none").double()
    recipe = Recipe(optimizer="sgd", lr=0.1, momentum=0.0, weight_decay=0.0, schedule="constant", batch_size=8)
    images = torch.rand(8, 3, SIZE, SIZE, dtype=torch.float64)
    other = copy.deepcopy(method)
    before = {name: value.clone() for name, value in method.named_parameters()}
    for _ in train(
        method, [batch_of(images)], method.optimizers(recipe), recipe, 0, autocast_of(torch.device("cpu"), "float32")
    ):
        pass
    torch.manual_seed(draws.mix(0, 0, 0))
    pictures = crops.random_crop(images, SIZE, pad=0)
    drawn = draws.uniform(pictures, other.latent, low=-1.0, high=1.0).double()
    codes, generated = other.encode(pictures), other.generator(drawn)
    real_logits = other.discriminator(2 * pictures - 1, codes)
    fake_logits = other.discriminator(generated, drawn)
    assert other.image_discriminator is not None
    with parametrize.cached():
        alone = other.image_discriminator(2 * pictures - 1), other.image_discriminator(generated)
    d_loss = (discriminator_loss(real_logits, fake_logits, "logistic") + discriminator_loss(*alone, "logistic")) / 2
    eg_loss = generator_loss(fake_logits, "logistic") + generator_loss(-real_logits, "logistic")
    eg_loss = (eg_loss + generator_loss(alone[1], "logistic")) / 2
    for part, loss, rate in (("discriminator", d_loss, 0.4), ("", eg_loss, 0.1)):  # four times the rate for one side
        names = [
            n
            for n, p in other.named_parameters()
            if p.requires_grad and n.startswith(("discriminator", "image_discriminator")) == bool(part)
        ]
        parameters = dict(other.named_parameters())
        gradients = torch.autograd.grad(loss, [parameters[name] for name in names], retain_graph=True)
        for name, gradient in zip(names, gradients, strict=True):
            moved = method.get_parameter(name)
            assert torch.allclose(moved, before[name] - rate * gradient, rtol=1e-6, atol=1e-10), name


@pytest.mark.parametrize(("sign", "told"), [(1, False), (-1, True)])
def test_perfect_inverses_leave_nothing_to_tell(sign: int, told: bool) -> None:
    """Where E undoes G, a discriminator that has been trained is no better than a coin; where it does not, it wins."""
    torch.manual_seed(0)
    judge = Discriminator(8, width=8, norm="none", code_width=1)
    optimizer = torch.optim.Adam(judge.parameters(), lr=2e-3)

    def loss(count: int) -> torch.Tensor:
        mine, drawn = torch.rand(2, count, 1) * 2 - 1
        pictures = [codes[:, :, None, None].expand(-1, 3, 8, 8) for codes in (mine, drawn)]  # G: plain gray
        found = sign * pictures[0].mean((1, 2, 3))[:, None]
        return discriminator_loss(judge(pictures[0], found), judge(pictures[1], drawn), "logistic") / 2

    for _ in range(150):
        optimizer.zero_grad()
        loss(64).backward()
        optimizer.step()
    with torch.no_grad():
        assert (loss(4096).item() < 0.4) if told else (loss(4096).item() > math.log(2) - 0.005)


def test_training_inverts_the_generator() -> None:
    """On plain colours, E comes to find the codes that G drew from: |E(G(z)) - z| falls well below its start."""
    torch.manual_seed(1)
    method, steps = plain(), 1200
    recipe = Recipe(optimizer="adam", lr=2e-3, momentum=0.5, weight_decay=0.0, schedule="cosine", batch_size=64)
    codes = torch.rand(256, 1) * 2 - 1

    def error() -> float:
        with torch.no_grad():
            return (method.encode(method.generator(codes) / 2 + 0.5) - codes).abs().mean().item()

    start = error()
    images = torch.rand(steps, 64, 1, 1, 1).expand(-1, -1, 3, 8, 8)
    batches = (batch_of(images[k])._replace(step=k, progress=k / steps) for k in range(steps))
    plainly = autocast_of(torch.device("cpu"), "float32")
    for _ in train(method, batches, method.optimizers(recipe), recipe, 0, plainly):
        pass
    assert error() < 0.4 * start


def test_the_regressor_finds_drawn_codes() -> None:
    """Its error is that of E(G(z)) against z, it is added with its weight, and logged as explained variance."""
    images = torch.rand(8, 3, SIZE, SIZE)
    losses, explained = [], []
    for weight in (0.0, 1.0, 2.0):
        method = bigan(regressor=weight).eval()
        torch.manual_seed(1)
        of_pair = objectives(method, images)[1]
        losses.append(of_pair.loss.item())
        explained.append(of_pair.metrics["code_r2"].item())
    torch.manual_seed(1)
    crops.random_crop(images, SIZE, pad=0)
    drawn = draws.uniform(images, method.latent, low=-1.0, high=1.0)
    error = (method.encode(method.generator(drawn) / 2 + 0.5) - drawn).square().mean().item()
    assert losses[1] - losses[0] == pytest.approx(error, rel=1e-4)
    assert losses[2] - losses[0] == pytest.approx(2 * error, rel=1e-4)
    assert explained == pytest.approx([1 - 3 * error] * 3, abs=1e-5)


def test_training_pays_for_found_codes_only_where_they_are_asked_for() -> None:
    """Without the regressor generated images pass through the encoder on held-out images alone."""
    images = torch.rand(8, 3, SIZE, SIZE)
    for weight, passes in ((0.0, 1), (0.25, 2)):
        method, seen = bigan(regressor=weight), []
        method.code.register_forward_hook(lambda *_, to=seen: to.append(1))
        assert ("code_r2" in objectives(method, images)[1].metrics) == (weight > 0)
        assert len(seen) == passes


def test_generated_images_leave_no_trace_in_running_statistics() -> None:
    """Neither the encoder nor the code's batch norm counts them: kept codes are those of real images."""
    images, left = torch.rand(8, 3, SIZE, SIZE), []
    for weight in (0.0, 1.0):
        method = bigan(regressor=weight).train()
        torch.manual_seed(1)
        objectives(method, images)
        left.append({key: value for key, value in method.state_dict().items() if "running" in key})
    assert any(key.startswith("code.") for key in left[0])
    assert all(torch.equal(left[0][key], left[1][key]) for key in left[0])


@pytest.mark.parametrize(
    "arguments",
    [
        {"loss": "hinge"},
        {"norm": "batch"},
        {"norm": "none", "r1": 1.0},
        {"augment": "color,translation,cutout"},
        {"regressor": 0.25, "ema": 0.0},
        {"discriminator_rate": 0.5},
        {"unary": 0},
        {"unary": 2.0, "norm": "spectral"},
    ],
)
def test_every_way_of_steadying_the_game_trains(arguments: dict[str, Any]) -> None:
    """Three steps in bfloat16 leave finite losses and move both sides; the rate of each is its own."""
    method = bigan(**arguments)
    optimizers = method.optimizers(method.recipe)
    before = {name: value.clone() for name, value in method.named_parameters() if value.requires_grad}
    batches = (batch_of(torch.rand(8, 3, SIZE, SIZE)) for _ in range(3))
    for step in train(method, batches, optimizers, method.recipe, 0, autocast_of(torch.device("cpu"), "bfloat16")):
        assert all(torch.isfinite(objective.loss) for objective in step.objectives)
    still = [name for name, value in before.items() if torch.equal(value, method.get_parameter(name))]
    # inside the margins of hinge, real and generated pairs pull the last biases by equal amounts
    last = ["discriminator.logit.bias", "image_discriminator.logit.bias"]
    assert still == (last if arguments.get("loss") == "hinge" else [])
    rates = {part: optimizer.param_groups[0]["lr"] for part, optimizer in optimizers.items()}
    assert rates["discriminator"] == pytest.approx(arguments.get("discriminator_rate", 4.0) * rates["encoder"])


def test_headline_knows_its_ends() -> None:
    """1 where every image is nearest its own reconstruction, 1/2 where all reconstructions are alike, 0 reversed."""
    method = bigan()
    images = torch.rand(8, 3, SIZE, SIZE)
    codes = torch.zeros(8, method.latent)
    for drawn, expected in (
        (images, 1.0), (images[:1].expand_as(images), 0.5), (torch.stack([1 - image for image in images]), 0.0)
    ):  # fmt: skip
        method._drawn = lambda given, drawn=drawn: drawn  # type: ignore[method-assign]
        assert method._own_nearer(images, codes).item() == pytest.approx(expected)


def test_latent_size_follows_the_image_size() -> None:
    """The paper's 200 from 64 pixels on, its 50 for small images."""
    assert bigan().latent == 50
    assert BiGAN(build_encoder("small", 64, seed=0), width=4).latent == 200


def test_any_backbone_can_be_the_encoder() -> None:
    """A network with layers behind its last map is inverted through its vector: all of it learns."""
    method = BiGAN(build_encoder("efficientnet_b0", SIZE, seed=0), width=4, latent=8)
    _, of_pair = objectives(method, torch.rand(4, 3, SIZE, SIZE))
    of_pair.loss.backward()
    assert all(parameter.grad is not None for parameter in method.encoder.parameters())


def test_figure_has_a_row_each_for_real_reconstructed_and_sampled() -> None:
    """Three rows of eight tiles."""
    (picture,) = bigan().eval().figures(batch_of(torch.rand(10, 3, 36, 36))).values()
    assert picture.shape == (3, 3 * SIZE + 2 * 2, 8 * SIZE + 7 * 2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"latent": 0}, "1 to 100,000"),
        ({"regressor": -1.0}, "0 or above"),
        ({"unary": -1.0}, "unary is 0 or above"),
        ({"r1": math.inf}, "0 or above"),
        ({"augment": "blur"}, "color,translation"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], says: str) -> None:
    """A sentence says what is wrong and what would do."""
    with pytest.raises(InputError, match=says):
        bigan(**arguments)


class Gray(nn.Module):
    """Stands in for an encoder: a small network on the mean gray of an image."""

    image_size, vector_width = 8, 32

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())

    def vector(self, images: Tensor) -> Tensor:
        return self.layers(images.mean((1, 2, 3))[:, None] - 0.5)


def test_codes_can_say_where_things_are() -> None:
    """The same patch in another corner gives another code: codes are read off the map, not off its mean."""
    method = bigan(latent=5).eval()
    places = torch.zeros(2, method.encoder.width, 4, 4)
    places[0, :, 0, 0] = places[1, :, 3, 3] = 1
    method.encoder.forward = lambda images: places  # type: ignore[method-assign]
    first, second = method.code(method.encoder, torch.zeros(2, 3, SIZE, SIZE))
    assert (first - second).abs().max() > 0.01


def test_a_batch_of_one_is_refused() -> None:
    """Batch norm cannot spread a single code."""
    with pytest.raises(InputError, match="got a batch of 1; use --batch-size"):
        objectives(bigan(), torch.rand(1, 3, 32, 32))


def plain() -> BiGAN:
    """Give the method for plain gray images and codes of one number, with networks of a few units."""
    method = BiGAN(build_encoder("small", SIZE, seed=0), latent=1, width=4, ema=0.0, loss="logistic", unary=0)
    method.encoder, method.code = Gray(), Read()  # type: ignore[assignment]
    generator = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 1), nn.Tanh())
    judge = nn.Sequential(nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    method.generator = Spread(generator)  # type: ignore[assignment]
    method.average.average = copy.deepcopy(method.generator).requires_grad_(False)
    method.discriminator = Pairs(judge)  # type: ignore[assignment]
    return method


class Read(nn.Linear):
    """Reads a code off a vector."""

    def __init__(self) -> None:
        super().__init__(Gray.vector_width, 1, bias=False)

    def forward(self, encoder: Gray, images: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(encoder.vector(images))


class Spread(nn.Module):
    """One gray value all over an image."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, codes: Tensor) -> Tensor:
        return self.layers(codes)[:, :, None, None].expand(-1, 3, 8, 8)


class Pairs(nn.Module):
    """Judges the mean gray of an image together with its code."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, images: Tensor, codes: Tensor) -> Tensor:
        return self.layers(torch.cat([images.mean((1, 2, 3))[:, None], codes], dim=1))[:, 0]


def bigan(**arguments: Any) -> BiGAN:
    """Give the method on a small encoder, with small opponents."""
    torch.manual_seed(0)
    return BiGAN(build_encoder("small", SIZE, seed=0), **{"width": 4, "loss": "logistic", **arguments})


def objectives(method: BiGAN, images: Tensor) -> list[Objective]:
    """Give the two objectives of a batch, which are yielded together."""
    (yielded,) = method.losses(batch_of(images))
    return yielded


def batch_of(images: Tensor) -> Batch:
    """Give images as a batch."""
    return Batch(images, torch.arange(len(images)), 0, 0.0)
