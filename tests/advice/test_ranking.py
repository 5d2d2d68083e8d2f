import numpy as np
import pytest

from selfsup.advice import ranking
from selfsup.advice.arms import Arm, Kind
from selfsup.advice.resampling import Interval, Resampled, resample, resample_budgets
from selfsup.errors import InputError

GAPS = (0.08, 0.08, 0.0, 0.0)
IMAGE_SD, OWN_SD, SEED_SD, DRAW_SD, OWN_DRAW_SD = 0.25, 0.12, 0.02, 0.02, 0.01


def experiment(
    rng: np.random.Generator,
    gaps: tuple[float, ...] = GAPS,
    seeds: int = 3,
    draws: int = 3,
    images: int = 300,
    kinds: str = "mmmc",
) -> tuple[list[Arm], np.ndarray]:
    """Arms whose chance to be right varies by image, seed and draw; one draw: all labels, a fixed set."""
    classes = rng.integers(5, size=images)
    by_draw = 0.0 if draws == 1 else 1.0
    common = 0.6 + rng.normal(0, IMAGE_SD, images) + by_draw * rng.normal(0, DRAW_SD, (draws, 1))
    arms = []
    for number, (gap, kind) in enumerate(zip(gaps, kinds, strict=True)):
        of_draws = by_draw * rng.normal(0, OWN_DRAW_SD, (draws, 1))
        own = rng.normal(0, OWN_SD, images) + rng.normal(0, SEED_SD, (seeds, 1, 1)) + of_draws
        right = rng.random((seeds, draws, images)) < common + gap + own
        arms.append(Arm(f"a{number}", {"m": "method", "f": "finetuned", "c": "control"}[kind], right))  # type: ignore[arg-type]
    return arms, classes


def true_accuracy(gap: float) -> float:
    """What `experiment` would give with endless images, seeds and draws."""
    sd = np.sqrt(IMAGE_SD**2 + OWN_SD**2 + SEED_SD**2 + DRAW_SD**2 + OWN_DRAW_SD**2)
    return float(np.clip(0.6 + gap + np.random.default_rng(1).normal(0, sd, 400_000), 0, 1).mean())


def constant(name: str, right: np.ndarray, kind: Kind = "method") -> Arm:
    return Arm(name, kind, np.broadcast_to(right, (3, 1, len(right))))


@pytest.mark.parametrize(("seeds", "draws", "images"), [(3, 3, 300), (3, 1, 1500)])
def test_an_interval_holds_the_truth_nineteen_times_in_twenty(seeds: int, draws: int, images: int):
    """Over 250 simulated advices, means and differences are covered as often as they should be."""
    rng = np.random.default_rng(0)
    truth = [true_accuracy(gap) for gap in GAPS]
    means, differences, families = [], [], []

    for _ in range(250):
        resampled = resample(*experiment(rng, seeds=seeds, draws=draws, images=images), resamples=400)
        intervals = [resampled.interval(f"a{number}") for number in range(4)]
        means += [i.low <= t <= i.high for i, t in zip(intervals, truth, strict=True)]
        pairs = [("a0", "a1"), ("a0", "a2"), ("a1", "a2")]
        expected = [truth[int(a[1])] - truth[int(b[1])] for a, b in pairs]
        alone = resampled.difference("a0", "a2")
        differences.append(alone.low <= expected[1] <= alone.high)
        together = resampled.differences(pairs).values()
        families.append(all(i.low <= e <= i.high for i, e in zip(together, expected, strict=True)))

    # two standard errors of a share of 250 are 2.8 points; a little too wide is allowed, too narrow is not
    assert 0.925 <= np.mean(means) <= 0.995
    assert 0.92 <= np.mean(differences) <= 0.995
    assert 0.92 <= np.mean(families) <= 0.995


def test_the_same_images_seed_and_answers_give_the_same_numbers():
    arms, classes = experiment(np.random.default_rng(0))

    one, two = resample(arms, classes), resample(arms, classes)

    assert np.array_equal(one.deviations, two.deviations)


def test_balanced_accuracy_counts_classes_alike():
    """90 images of a class that is always right and 10 of one that never is: one half."""
    right = np.repeat([True, False], [90, 10])

    resampled = resample([constant("a", right)], np.repeat([0, 1], [90, 10]))

    assert resampled.mean("a") == pytest.approx(0.5)


def test_a_group_moves_as_one():
    """Ten copies of every image are ten times the images, but no more evidence."""
    rng = np.random.default_rng(0)
    right = rng.random(60) < 0.6
    classes = np.arange(60) % 2
    once = resample([constant("a", right)], classes).interval("a")

    copied = resample([constant("a", np.repeat(right, 10))], np.repeat(classes, 10), np.repeat(np.arange(60), 10))
    naive = resample([constant("a", np.repeat(right, 10))], np.repeat(classes, 10))

    assert copied.interval("a").half_width == pytest.approx(once.half_width, rel=0.1)
    assert naive.interval("a").half_width < 0.5 * once.half_width


def test_comparisons_are_paired_by_image():
    """Two arms that err on the same images differ less uncertainly than each is itself."""
    rng = np.random.default_rng(0)
    hard = rng.random(400) < 0.5
    better = hard | (rng.random(400) < 0.05)
    resampled = resample([constant("a", hard), constant("b", better)], np.arange(400) % 4)

    assert resampled.difference("b", "a").half_width < 0.4 * resampled.interval("a").half_width


def test_comparisons_are_paired_by_label_draw():
    """What a lucky draw does to all arms alike widens their means, not their difference."""
    rng = np.random.default_rng(0)
    luck = np.array([-0.15, 0.0, 0.15])[:, None]
    arms = [Arm(n, "method", rng.random((3, 3, 3000)) < 0.5 + luck) for n in "ab"]

    resampled = resample(arms, np.arange(3000) % 4)

    assert resampled.interval("a").half_width > 0.15
    assert resampled.difference("a", "b").half_width < 0.05


def test_seeds_that_scatter_widen_the_interval():
    rng = np.random.default_rng(0)
    scatter = np.array([-0.1, 0.0, 0.1])[:, None, None]
    steady, wild = (Arm("a", "method", rng.random((3, 1, 3000)) < 0.5 + s) for s in (0 * scatter, scatter))
    classes = np.arange(3000) % 4

    assert resample([wild], classes).interval("a").half_width > 4 * resample([steady], classes).interval("a").half_width


def test_raw_pixels_have_no_seeds_to_scatter():
    """An arm without seeds takes no spread from the others."""
    rng = np.random.default_rng(0)
    wild = Arm("a", "method", rng.random((3, 1, 3000)) < 0.5 + np.array([-0.1, 0.0, 0.1])[:, None, None])
    pixels = Arm("pixels", "control", rng.random((1, 1, 3000)) < 0.5, seeded=False)

    resampled = resample([wild, pixels], np.arange(3000) % 4)

    assert resampled.interval("pixels").half_width < 0.03


def test_simultaneous_intervals_are_wider_than_one_alone():
    arms, classes = experiment(np.random.default_rng(0))
    resampled = resample(arms, classes)
    pairs = [("a0", "a1"), ("a0", "a2"), ("a1", "a2")]

    together = resampled.differences(pairs)

    assert all(together[pair].half_width > 1.05 * resampled.difference(*pair).half_width for pair in pairs)


def test_a_planted_winner_is_found():
    decision = ranking.decide(resample(*experiment(np.random.default_rng(0), (0.2, 0.05, 0.0, 0.0), images=1000)))

    assert (decision.verdict, decision.winner, decision.ties) == ("pretrain", "a0", [])


def test_a_planted_tie_is_called_a_tie():
    """Two methods of equal worth, a weaker one, and a control far below."""
    decision = ranking.decide(resample(*experiment(np.random.default_rng(2), (0.2, 0.2, 0.05, -0.2), images=1000)))

    assert decision.verdict == "tie"
    assert decision.winner is None
    assert decision.ties[0] == decision.best
    assert sorted(decision.ties) == ["a0", "a1"]


def test_no_is_said_unless_a_method_is_a_point_above_every_control():
    """Shown to be half a point better is not enough; nor is beating one control of two."""
    # no chance at all in these: 4000 images, seeds alike, one arm right on exactly so many more
    base = np.arange(4000) < 2000
    half_a_point, three_points = np.arange(4000) < 2020, np.arange(4000) < 2120
    classes = np.zeros(4000, dtype=np.int64)
    low, high = constant("untrained", base, "control"), constant("scratch", three_points, "control")

    small = ranking.decide(resample([constant("a", half_a_point), low], classes))
    large = ranking.decide(resample([constant("a", three_points), low], classes))
    beaten = ranking.decide(resample([constant("a", three_points), low, high], classes))

    assert small.gains["a"].gain.low > 0
    assert (small.verdict, large.verdict, beaten.verdict) == ("do_not_pretrain", "pretrain", "do_not_pretrain")
    assert beaten.gains["a"].control == "scratch"


def test_no_is_said_where_nothing_differs():
    decision = ranking.decide(resample(*experiment(np.random.default_rng(0), (0.0, 0.0, 0.0, 0.0))))

    assert (decision.verdict, decision.winner) == ("do_not_pretrain", None)


def test_fine_tuning_can_be_what_makes_pretraining_worth_it():
    """A frozen encoder below scratch, but fine-tuned far above it: pretrain."""
    arms, classes = experiment(np.random.default_rng(0), (-0.1, 0.25, 0.0), kinds="mfc", images=1000)
    named = [Arm(name, arm.kind, arm.correct) for name, arm in zip(("a", "a fine-tuned", "scratch"), arms, strict=True)]

    decision = ranking.decide(resample(named, classes))

    assert (decision.verdict, decision.best) == ("pretrain", "a")


def test_the_best_is_one_that_beats_the_controls():
    """The highest frozen mean does not win where only another method is worth pretraining."""
    arms, classes = experiment(np.random.default_rng(0), (-0.1, -0.08, 0.25, 0.0), kinds="mmfc", images=1000)
    names = ("a", "b", "a fine-tuned", "scratch")
    named = [Arm(name, arm.kind, arm.correct) for name, arm in zip(names, arms, strict=True)]

    decision = ranking.decide(resample(named, classes))

    assert decision.best == "a"
    assert decision.verdict in ("pretrain", "tie")


def test_one_seed_declares_no_winner():
    """However large the gap: how much training varies is not known."""
    gaps = (0.3, 0.0, -0.1, -0.3)
    decision = ranking.decide(resample(*experiment(np.random.default_rng(0), gaps, seeds=1, images=1000)))

    assert (decision.verdict, decision.winner, decision.spread_known) == ("unknown", None, False)


def test_fewer_test_images_see_less():
    few, many = (
        resample(*experiment(np.random.default_rng(0), images=n)).detectable(["a0", "a1"]) for n in (200, 3200)
    )

    assert few / many == pytest.approx(4, rel=0.25)


def test_what_cannot_be_seen_is_what_a_paired_comparison_cannot_show():
    """10 of 400 images differ each way: the half width is 1.96 sqrt(20) / 400."""
    one, other = np.zeros(400, dtype=bool), np.zeros(400, dtype=bool)
    one[:10] = other[10:20] = True

    resampled = resample([constant("a", one), constant("b", other)], np.zeros(400, dtype=np.int64))

    assert resampled.detectable() == pytest.approx(1.96 * np.sqrt(20) / 400, rel=0.1)


def test_all_budgets_are_asked_on_the_same_resampled_images():
    """Otherwise a curve over labels would wobble for no reason."""
    right = np.random.default_rng(0).random(200) < 0.6
    arms = {budget: [constant("a", right)] for budget in (5, 10)}

    resampled = resample_budgets(arms, np.arange(200) % 4)

    assert np.array_equal(resampled[5].from_images, resampled[10].from_images)


def test_answers_of_another_test_set_are_refused():
    with pytest.raises(InputError, match="answered 5 test images, there are 6"):
        resample([constant("a", np.ones(5, dtype=bool))], np.zeros(6, dtype=np.int64))


def test_arms_with_other_label_draws_are_refused():
    arms = [Arm("a", "method", np.ones((1, 2, 5), dtype=bool)), Arm("b", "control", np.ones((1, 3, 5), dtype=bool))]

    with pytest.raises(InputError, match="same label draws"):
        resample(arms, np.zeros(5, dtype=np.int64))


def test_ten_thousand_test_images_are_resampled_in_a_second_or_two():
    import time

    arms, classes = experiment(np.random.default_rng(0), images=10_000)
    began = time.process_time()

    resampled = resample(arms, classes, resamples=2000)

    assert isinstance(resampled, Resampled)
    assert isinstance(resampled.interval("a0"), Interval)
    assert time.process_time() - began < 5
