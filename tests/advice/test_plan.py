from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from advice_fakes import exam, measured, plan

from selfsup.advice import facts
from selfsup.advice.facts import FolderFacts, choose_methods, fits, folder_facts
from selfsup.advice.plan import (
    fix_steps,
    make_plan,
    read_plan,
    refuse_changes,
)
from selfsup.advice.supervision import plan_supervised, read_supervised, supervised_seconds
from selfsup.data.images import open_images
from selfsup.data.rounds import Rounds
from selfsup.errors import InputError

COLOURFUL = FolderFacts(1000, 64, gray=False)
ASKED: dict[str, Any] = {
    "encoder": "small", "budget": "10s", "seeds": [0, 1, 2], "finalists": 3, "label_budgets": [5, None], "draws": 2,
    "transductive": False, "pattern": None, "group": None,
}  # fmt: skip
DESCRIBED: dict[str, Any] = {
    "data": "photos", "images": "abc", "labelled": "def", "labels": "labelled", "image_size": 32, "store_size": 36,
    "count": 500, "pool": 240, "test": 160, "store_mb": 2.0,
}  # fmt: skip


def store(gray: bool) -> Any:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 3, 16, 16)).astype(np.uint8)
    if gray:
        # what JPEG leaves of a gray image
        pixels = np.clip(pixels[:, :1].astype(int) + np.random.default_rng(1).integers(-2, 3, pixels.shape), 0, 255)
    return open_images(pixels.astype(np.uint8), 16)


@pytest.mark.parametrize("gray", [True, False])
def test_gray_folders_are_recognized(gray: bool):
    assert folder_facts(store(gray), 16) == FolderFacts(40, 16, gray=gray)


def test_a_few_coloured_images_make_a_folder_coloured():
    pixels = np.repeat(np.random.default_rng(0).integers(0, 256, (40, 1, 16, 16)), 3, axis=1).astype(np.uint8)
    pixels[::4, 0] = 0

    assert not folder_facts(open_images(pixels, 16), 16).gray


def test_images_from_all_over_the_folder_are_looked_at():
    pixels = np.repeat(np.random.default_rng(0).integers(0, 256, (40, 1, 16, 16)), 3, axis=1).astype(np.uint8)
    pixels[30:, 0] = 0

    assert not folder_facts(open_images(pixels, 16), 16, looked_at=8).gray


def test_what_cannot_work_is_left_out_with_a_reason():
    assert fits("colorization", COLOURFUL) is None
    assert (
        fits("colorization", FolderFacts(1000, 64, gray=True))
        == "the images are gray, and there is no colour to predict"
    )
    assert "at least 48 pixels, and the images have 32" in str(
        facts.needs_pixels(48)(FolderFacts(1000, 32, gray=False))
    )
    assert facts.needs_pixels(48)(FolderFacts(1000, 48, gray=False)) is None
    assert "at least 32 images, and there are 20" in str(fits("simclr", FolderFacts(20, 64, gray=False)))
    assert fits("simclr", FolderFacts(32, 64, gray=False)) is None
    assert "all clips are of one" in str(fits("tracking", FolderFacts(100, 64, gray=False, clips=5, videos=1)))
    assert fits("tracking", FolderFacts(100, 64, gray=False, clips=5, videos=2)) is None
    assert "single images" in str(fits("tracking", FolderFacts(100, 64, gray=False)))
    assert fits("a method without rules", FolderFacts(20, 8, gray=True)) is None


def test_methods_are_kept_or_excluded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(facts, "RULES", {"dae": [facts.needs_colour]})

    kept, excluded = choose_methods(None, FolderFacts(1000, 64, gray=True))

    assert "rotation" in kept
    assert list(excluded) == ["dae"]


def test_what_needs_colour_or_a_generator_is_left_out():
    """Gray images have no colour to predict; a generator is there only if one is named."""
    gray, colourful = (choose_methods(None, FolderFacts(1000, 64, gray=gray, clips=50))[1] for gray in (True, False))

    assert set(gray) == {"colorization", "splitbrain", "aetgan"}
    assert set(colourful) == {"aetgan"}
    assert "finished bigan run; name one with --generator" in colourful["aetgan"]
    assert "aetgan" in choose_methods(None, replace(COLOURFUL, generator=True))[0]


def test_no_method_left_is_a_sentence(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match=r"No method is left to try \(simclr: it needs at least 32 images"):
        choose_methods(["simclr"], FolderFacts(20, 64, gray=False))


def test_a_misspelled_method_is_a_sentence():
    with pytest.raises(InputError, match="did you mean rotation"):
        choose_methods(["rotatoin"], COLOURFUL)


def test_a_budget_buys_steps():
    assert fix_steps("10s", {"rotation": 0.04, "simclr": 60.0}) == {"rotation": 250, "simclr": 1}


def test_what_rounds_take_is_forecast():
    """Half of the budget goes into what comes before the first step: half as many steps, and the same time."""
    plain = measured(("rotation",))
    dear = plain._replace(rounds={"rotation": Rounds(100, before=5.0)})

    made, other = (make_plan(ASKED, DESCRIBED, ["rotation"], {}, one, exam()) for one in (plain, dear))

    assert (made.steps, other.steps) == ({"rotation": 100}, {"rotation": 50})
    assert made.forecast["pretraining_minutes"] == other.forecast["pretraining_minutes"] == 0.5


def test_a_plan_is_read_as_it_was_written(tmp_path: Path):
    asked = exam()
    made = make_plan(ASKED, DESCRIBED, ["rotation", "dae"], {"simclr": "why"}, measured(("rotation", "dae")), asked)
    made.write(tmp_path / "plan.json")

    again = read_plan(tmp_path / "plan.json")

    assert again == made
    assert read_supervised(again.supervised) == read_supervised(made.supervised)
    assert len(made.trials) == 6


def test_more_methods_than_finalists_are_screened_by_another_seed():
    many = make_plan(
        {**ASKED, "finalists": 1}, DESCRIBED, ["rotation", "dae"], {}, measured(("rotation", "dae")), exam()
    )
    few = make_plan(ASKED, DESCRIBED, ["rotation", "dae"], {}, measured(("rotation", "dae")), exam())

    assert few.screening_seed is None
    assert many.screening_seed is not None
    assert many.screening_seed not in many.seeds


@pytest.mark.parametrize(("each", "taken"), [(0.02, True), (0.03, False)])
def test_scattering_is_a_control_where_it_takes_no_longer_than_a_run(each: float, taken: bool):
    """400 labelled images and runs of 10 s; the forecast has it, and the fingerprint of what is trained has not."""
    without = measured(("rotation",))._replace(scattering_seconds=0.0)
    made = make_plan(ASKED, DESCRIBED, ["rotation"], {}, without._replace(scattering_seconds=each), exam())
    free = make_plan(ASKED, DESCRIBED, ["rotation"], {}, without, exam())

    assert made.scattering is taken
    assert made.fixed == ["pixels", "scattering"][: 1 + taken]
    assert made.forecast["minutes"] - free.forecast["minutes"] == pytest.approx(taken * 400 * each / 60, abs=0.02)
    assert made.fingerprint() == free.fingerprint()
    assert plan().fixed == ["pixels"]  # a plan older than this control


def test_without_labels_every_method_runs_once():
    made = make_plan(ASKED, {**DESCRIBED, "labels": None}, ["rotation"], {}, measured(("rotation",)), None)

    assert made.trials == [{"arm": "rotation", "seed": made.screening_seed}]
    assert made.supervised == {}


@pytest.mark.parametrize("content", ["", "[1]", '{"methods": ["rotation"]}', "\x00"])
def test_a_broken_plan_is_a_sentence(tmp_path: Path, content: str):
    (tmp_path / "plan.json").write_text(content)

    with pytest.raises(InputError, match="is not a plan"):
        read_plan(tmp_path / "plan.json")


def test_a_missing_plan_is_a_sentence(tmp_path: Path):
    with pytest.raises(InputError, match="There is no plan"):
        read_plan(tmp_path / "plan.json")


def test_a_changed_setting_is_named():
    with pytest.raises(InputError, match="was started with image-size 32, now 64 was given"):
        refuse_changes(plan(), {"encoder": "small", "image_size": 64}, None, Path("advice"))
    with pytest.raises(InputError, match="with methods dae,rotation,simclr, now dae was given"):
        refuse_changes(plan(), {}, ["dae"], Path("advice"))
    with pytest.raises(InputError, match="The labelled images are not those"):
        refuse_changes(plan(), {"labelled": "other"}, None, Path("advice"))


def test_all_training_on_labels_is_done_where_the_budget_allows():
    supervised = plan_supervised(plan(), 0.001, {5: 20, None: 240}, {5: 2, None: 1})

    assert supervised.scratch == {None: 3, 5: 1}
    assert (supervised.tuned_methods, supervised.tuned_repeats) == (3, 3)
    assert supervised.left_out == ["Fine-tuning was tried at the largest label budget only."]


def test_training_on_labels_keeps_to_its_share_and_says_what_was_left_out():
    """Scratch at the largest budget is always done; the rest as far as half of the pretraining time goes."""
    for seconds in (0.002, 0.01, 0.03, 0.1):
        supervised = plan_supervised(plan(), seconds, {5: 20, None: 240}, {5: 2, None: 1})
        spent = supervised_seconds(supervised, {5: 2, None: 1}, seconds)
        alone = seconds * supervised.steps[None] * 4

        assert supervised.scratch[None] == 3
        assert spent <= max(0.5 * 90, alone) * 1.001
        assert (supervised.tuned_methods < 3 or 5 not in supervised.scratch) == any(
            "left out" in sentence or "were fine-tuned" in sentence for sentence in supervised.left_out
        )


def test_one_training_on_labels_takes_no_longer_than_one_pretraining():
    supervised = plan_supervised(plan(), 0.5, {5: 20, None: 240}, {5: 2, None: 1})

    assert supervised.steps[None] == 20
    assert any("was cut at 20 steps (11 passes)" in sentence for sentence in supervised.left_out)
