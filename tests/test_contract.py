"""What every method must keep to, whatever its task: one test over the whole table."""

import inspect
from pathlib import Path

import moving
import pytest
import rendered
import torch
from needs import needed
from torch import Tensor

from selfsup import methods
from selfsup.draws import mix
from selfsup.method import Batch, DataFacts, Method
from selfsup.networks.encoders import build_encoder
from selfsup.training import checkpoint
from selfsup.training.loop import as_list, autocast_of, train
from selfsup.training.optimizers import parameters_of

SIZE, BATCH = 32, 16
ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.parametrize("name", list(methods.METHODS))


def test_losses_are_finite_means_of_known_parts(name: str) -> None:
    """Each loss is a finite scalar, belongs to an optimizer, and does not grow with the batch."""
    method = started(name)
    parts = set(method.optimizers(method.recipe))
    totals = []
    for size in (BATCH, 2 * BATCH):
        objectives = all_objectives(method, given(method, size))
        assert objectives
        for objective in objectives:
            assert objective.part in parts
            assert objective.loss.ndim == 0
            assert torch.isfinite(objective.loss)
            assert all(value.ndim == 0 for value in objective.metrics.values())
        totals.append(sum(objective.loss.item() for objective in objectives))
    assert 0.5 < totals[1] / totals[0] < 1.6


def test_headline_is_among_the_metrics(name: str) -> None:
    """The metric that a method is judged by is one that it reports."""
    method = started(name)
    metrics = {key for objective in all_objectives(method, given(method, BATCH)) for key in objective.metrics}
    assert method.headline in metrics


def test_every_parameter_has_one_optimizer(name: str) -> None:
    """No trainable parameter is forgotten, none is stepped twice."""
    method = started(name)
    stepped = [id(p) for optimizer in method.optimizers(method.recipe).values() for p in parameters_of(optimizer)]
    assert sorted(stepped) == sorted(id(p) for p in method.parameters() if p.requires_grad)


def test_encoder_moves(name: str) -> None:
    """Three steps change the weights of every stage of the encoder."""
    method = started(name)
    before = copies(method.encoder)
    run_steps(method, 3)
    moved = {key for key, value in method.encoder.named_parameters() if not torch.equal(value, before[key])}
    assert moved == set(before)


def test_step_moves_only_its_own_part(name: str) -> None:
    """What belongs to another part's optimizer stays as it is until that part's turn; what belongs to none stays."""
    method = started(name)
    optimizers = method.optimizers(method.recipe)
    owner = {id(p): part for part, optimizer in optimizers.items() for p in parameters_of(optimizer)}
    before = copies(method)
    losses = method.losses(given(method, BATCH))
    stepped = set()
    while objectives := as_list(next(losses, [])):
        for objective in objectives:
            inputs = parameters_of(optimizers[objective.part])
            objective.loss.backward(inputs=inputs, retain_graph=True)
        for objective in objectives:
            optimizers[objective.part].step()
            stepped.add(objective.part)
        for key, value in method.named_parameters():
            if owner.get(id(value)) not in stepped:
                assert torch.equal(value, before[key]), key


def test_modes_are_left_as_they_were(name: str) -> None:
    """Grad mode and autocast at every yield are what they were before."""
    method = started(name)
    losses = method.losses(given(method, BATCH))
    while True:
        with autocast_of(torch.device("cpu"), "bfloat16")():
            if not as_list(next(losses, [])):
                break
            assert torch.is_autocast_enabled("cpu")
        assert torch.is_grad_enabled()
        assert not torch.is_autocast_enabled("cpu")
    assert method.training


def test_same_seed_and_step_give_the_same_loss(name: str) -> None:
    """Nothing but the seed, the step and the weights decides a loss, not what was drawn before."""
    method = started(name)
    first = losses_at(method, seed=3)
    torch.rand(17)
    assert losses_at(method, seed=3) == first
    if any(draws_at_random(method)):
        assert losses_at(method, seed=4) != first


def test_state_round_trip_is_exact(name: str, tmp_path: Path) -> None:
    """Training that goes through a checkpoint equals training that does not, to the bit."""
    straight = started(name)
    optimizers = straight.optimizers(straight.recipe)
    run_steps(straight, 2, optimizers=optimizers)
    checkpoint.save(tmp_path, 2, straight, optimizers, None)
    run_steps(straight, 2, first=2, optimizers=optimizers)

    resumed = started(name, seed=9)
    again = resumed.optimizers(resumed.recipe)
    file = checkpoint.newest(tmp_path)
    assert file is not None
    checkpoint.load(file, resumed, again)
    run_steps(resumed, 2, first=2, optimizers=again)

    expected = straight.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in resumed.state_dict().items())


def test_eval_mode_does_not_depend_on_the_batch(name: str) -> None:
    """In eval mode the encoder treats each image alone, and looking changes nothing."""
    method = started(name).eval()
    images = pictures(BATCH).images[:, :, :SIZE, :SIZE]
    before = copies(method)
    with torch.no_grad():
        together, alone = method.encoder.vector(images), method.encoder.vector(images[:2])
        all_objectives(method, given(method, BATCH))
    assert torch.allclose(together[:2], alone, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in method.named_parameters())


def test_figures_are_pictures(name: str) -> None:
    """Every method draws its task: [3, H, W] pictures in [0, 1]."""
    method = started(name).eval()
    with torch.no_grad():
        drawn = method.figures(given(method, BATCH))
    assert drawn
    for picture in drawn.values():
        assert picture.ndim == 3
        assert picture.shape[0] == 3
        assert 0 <= picture.min() <= picture.max() <= 1


def test_images_are_mirrored_where_asked(name: str) -> None:
    """The same draws give another loss where nothing is mirrored."""
    method = started(name)
    if hasattr(method, "flip"):
        mirrored = losses_at(method, seed=3)
        method.flip = False
        assert losses_at(method, seed=3) != mirrored


def test_arguments_are_keywords_with_values(name: str) -> None:
    """The constructor takes the encoder and keyword arguments with types and defaults, so flags can be built."""
    first, *others = list(inspect.signature(methods.load(name)).parameters.values())
    assert first.name == "encoder"
    for parameter in others:
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert parameter.default is not parameter.empty
        assert parameter.annotation is not parameter.empty


def test_page_test_and_recipe_exist(name: str) -> None:
    """A method comes with a docs page that numbers its deviations, a test file and a recipe."""
    page = (ROOT / "docs" / "methods" / f"{name}.md").read_text(encoding="utf-8")
    assert "eviations" in page
    assert (ROOT / "tests" / "methods" / f"test_{name}.py").is_file()
    assert list((ROOT / "recipes").glob(f"{name}-*.yaml"))


def started(name: str, seed: int = 0) -> Method:
    """Give a method on the smallest encoder, ready to train."""
    encoder = build_encoder("small", SIZE, seed=seed, sees=methods.sees(name))
    torch.manual_seed(mix(seed, 1))
    method = methods.load(name)(encoder, **needed(name))
    method.start(facts_of(method))
    method.start_epoch(clean_features)
    return method


@torch.no_grad()
def clean_features(module: torch.nn.Module) -> Tensor:
    """Give the features of the training images, as a method that clusters asks for them."""
    features = module.eval()(pictures(64).images[:, :, :SIZE, :SIZE])
    module.train()
    return features


def facts_of(method: Method) -> DataFacts:
    """Say what a method may know of its data: pictures, or the frames of clips."""
    if "clips" in method.reads:
        return moving.facts(moving.squares(), SIZE)
    return DataFacts(64, SIZE, lambda count: pictures(count).images)


def given(method: Method, count: int, step: int = 0) -> Batch:
    """Give what a method reads: pictures, scenes beside them if it wants any, or frames of clips that it asked for."""
    if "clips" in method.reads:
        return moving.batch(method, moving.squares(), count, step, step / 100)
    batch = pictures(count, step)
    return batch._replace(extra=rendered.extra(count, 36, step)) if "scenes" in method.reads else batch


def pictures(count: int, step: int = 0) -> Batch:
    """Give smooth random images, larger than the encoder sees."""
    generator = torch.Generator().manual_seed(step)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=36, mode="bilinear").clamp(0, 1)
    return Batch(images, torch.arange(count), step, step / 100)


def all_objectives(method: Method, batch: Batch) -> list:
    """List all that a batch yields, without stepping."""
    torch.manual_seed(0)
    return [objective for yielded in method.losses(batch) for objective in as_list(yielded)]


def run_steps(method: Method, steps: int, first: int = 0, optimizers: dict | None = None) -> None:
    """Train on a few batches."""
    optimizers = optimizers or method.optimizers(method.recipe)
    batches = (given(method, BATCH, first + k)._replace(progress=0.5) for k in range(steps))
    batches = (batch._replace(step=first + k) for k, batch in enumerate(batches))
    for _ in train(method, batches, optimizers, method.recipe, 0, autocast_of(torch.device("cpu"), "float32")):
        pass


def losses_at(method: Method, seed: int) -> list[float]:
    """Give the losses of one batch under a seed, in eval mode so that nothing moves."""
    method.eval()
    torch.manual_seed(mix(seed, 5))
    with torch.no_grad():
        found = [o.loss.item() for y in method.losses(given(method, BATCH)) for o in as_list(y)]
    method.train()
    return found


def draws_at_random(method: Method) -> list[bool]:
    """Say whether a batch uses random numbers at all."""
    state = torch.get_rng_state()
    losses_at(method, 0)
    torch.manual_seed(mix(0, 5))
    fresh = torch.get_rng_state()
    losses_at(method, 0)
    used = not torch.equal(fresh, torch.get_rng_state())
    torch.set_rng_state(state)
    return [used]


def copies(module: torch.nn.Module) -> dict[str, Tensor]:
    """Copy all parameters."""
    return {key: value.detach().clone() for key, value in module.named_parameters()}
