"""The page as a whole: what stands where, what happens with odd names and missing pieces."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report import fixtures
from report.fixtures import ODD, write_json
from report.pages import Page

from selfsup.errors import InputError
from selfsup.report import write_report

SECTIONS = "verdict curves stages controls cost tasks neighbours health findings commands honesty".split()


@pytest.fixture(scope="module")
def advice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fixtures.write_advice(tmp_path_factory.mktemp("reports") / "advice")


@pytest.fixture(scope="module")
def page(advice: Path) -> Page:
    return Page(write_report(advice))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """An advice of one seed, to be spoilt."""
    return fixtures.write_advice(tmp_path / "advice", seeds=(0,))


def rewrite(file: Path, **changes: object) -> None:
    write_json(file, {**json.loads(file.read_text()), **changes})


def test_verdict_stands_first_and_the_rest_in_order(page: Page):
    """A reader sees the verdict, the next command, then what they rest on, from curves to honesty."""
    found = [e.attributes["id"] for e in page.elements if e.tag in ("header", "section") and "id" in e.attributes]
    assert found == SECTIONS
    assert (
        page.source.index("70.5 ± 1.5 %")
        < page.source.index("What to do next")
        < page.source.index('<section id="curves">')
    )
    assert "selfsup pretrain simclr photos/ --encoder small" in page.text
    assert page.unmatched == []


def test_tables_hold_the_numbers_of_the_files(page: Page):
    """Means are percent with their intervals, differences have signs, the best of a row is marked."""
    for expected in ("70.5 % 69.0 to 71.9", "+20.0 +17.9 to +22.1", "3 min 21 s 65.6 TFLOP 734 MB 2,400 1,525"):
        assert expected in page.text
    stages = page.source[page.source.index('id="stages"') : page.source.index('id="controls"')]
    row = re.search(r"<tr>(?:(?!</tr>).)*SimCLR(?:(?!</tr>).)*</tr>", stages)
    assert row is not None
    assert [cell.count("highest") for cell in row[0].split("<td")[1:]] == [0, 0, 2, 0]
    assert stages[: stages.index("<details")].count("<table") == 2  # raw pixels have a stage of their own


def test_page_needs_nothing_from_outside(page: Page):
    """No script, no address but data and places on the page, and a policy that forbids the rest."""
    assert page.all("script") == []
    addresses = [
        e.attributes[name] for e in page.elements for name in ("src", "href", "xlink:href") if name in e.attributes
    ]
    assert len(addresses) > 10
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"url\(|@import", page.source)
    policy = [e.attributes["content"] for e in page.all("meta") if e.attributes.get("http-equiv")]
    assert policy[0].startswith("default-src 'none'; img-src data:;")


def test_names_from_disk_are_escaped_everywhere(small: Path):
    """An arm, a stage, a file, a figure and a folder may be called anything; nothing of it becomes markup."""
    results = json.loads((small / "results.json").read_text())
    for row in (*results["curves"], *results["stages"], *results["cost"]):
        row["arm"] = row["arm"].replace("dae", ODD)
        row["stage"] = ODD if row.get("stage") == "stage4" else row.get("stage")
    write_json(small / "results.json", results)
    rewrite(small / "verdict.json", sentences=[ODD], command=ODD, caveats=[ODD], next=ODD, stage=ODD)
    figures = small / "trials" / "rotation-seed0" / "figures"
    next(figures.iterdir()).rename(figures / f"{ODD.replace('/', '')}.png")

    page = Page(write_report(small))

    assert page.all("script") == []
    assert page.unmatched == []
    assert page.text.count(ODD) >= 8
    assert "<script" not in page.source.lower()
    assert not [name for e in page.elements for name in e.attributes if name.startswith("on") or "alert" in name]
    assert any("alert(" in e.attributes["alt"] for e in page.all("img"))


def with_reference(folder: Path, name: str, **about: object) -> Page:
    """Add public weights that are better than everything, and write the report."""
    row = {"arm": name, "kind": "reference", "mean": 0.93, "low": 0.92, "high": 0.94}
    results = json.loads((folder / "results.json").read_text())
    results["curves"] += [{**row, "per_class": n, "labels": labels} for n, labels in fixtures.BUDGETS]
    results["stages"] += [{**row, "per_class": None, "stage": stage} for stage in ("layer1", "layer4")]
    results["neighbours"].append({**row, "per_class": None, "probe": "knn10"})
    write_json(folder / "results.json", results)
    verdict = json.loads((folder / "verdict.json").read_text())
    rewrite(folder / "verdict.json", table=[*verdict["table"], {**row, "stage": "layer4", **about}])
    return Page(write_report(folder))


def test_references_are_marked_and_stand_outside_the_ranking(small: Path):
    """However good: last in the table, never the highest, no control to clear, its stages apart."""
    page = with_reference(small, "resnet50.safetensors", architecture="resnet50", same_architecture=False)
    text = page.text
    section = page.source[page.source.index('<section id="controls">') : page.source.index('<section id="cost">')]
    rows = re.findall(r"<tr>(?:(?!</tr>).)*</tr>", section, re.S)
    table = rows[1 : 1 + len(fixtures.REACHED) + 1]
    assert "ref. resnet50" in table[-1]
    assert "reference" in table[-1]
    assert "best" in table[0]
    assert "The dashed line is the strongest control, from scratch" in text
    assert "resnet50.safetensors: resnet50, not the architecture of the tasks' encoder" in text
    assert "named ref., are references: public weights from a file" in text
    assert "best first, references last" in text
    assert "may have seen the test images" in text
    assert "At the largest budget SimCLR fine-tuned is highest" in page.source
    curves = page.source[page.source.index('<section id="curves">') : page.source.index('<section id="stages">')]
    found = re.findall(r"<tr>(?:(?!</tr>).)*</tr>", curves, re.S)
    reference, simclr = (next(row for row in found if name in row) for name in ("ref. resnet50", "SimCLR<"))
    assert (reference.count("highest") > 0, simclr.count("highest") > 0) == (False, True)
    stages = page.source[page.source.index('<section id="stages">') : page.source.index('<section id="controls">')]
    assert stages.index("References, outside the ranking") < stages.index("layer\N{NO-BREAK SPACE}1")


def test_a_reference_of_the_same_architecture_is_compared(small: Path):
    gain = {"arm": "simclr", "mean": 0.045, "low": 0.021, "high": 0.069}
    page = with_reference(small, ODD, architecture="small", same_architecture=True, vs_best=gain)
    assert (
        f"{ODD}: small, the architecture of the tasks' encoder; +4.5 points (+2.1 to +6.9) against SimCLR" in page.text
    )
    assert page.all("script") == []
    assert page.unmatched == []


def test_the_cost_of_scratch_is_explained(small: Path):
    assert "Beside them training from scratch" not in Page(write_report(small)).text
    results = json.loads((small / "results.json").read_text())
    row = {"arm": "scratch", "kind": "control", "seconds": 62.0, "trunk_gflops": 4100.0, "steps": 1400.0}
    rewrite(small / "results.json", cost=[*results["cost"], row])
    text = Page(write_report(small)).text
    assert "Beside them training from scratch" in text
    assert "from scratch 1 min 2 s 4.1 TFLOP – 1,400 –" in text


def test_what_a_generator_took_is_in_the_cost_and_said(small: Path):
    """As the results have it, and from the plan and finished runs as long as there are none."""
    results = json.loads((small / "results.json").read_text())
    row = {"arm": "aetgan", "kind": "method", "seconds": 1320.0, "trunk_gflops": 9000.0}
    row["generator"] = {"seconds": 720.0, "trunk_gflops": 5000.0}
    rewrite(small / "results.json", cost=[*results["cost"], row])
    text = Page(write_report(small)).text
    assert "of which 12 min and 5 TFLOP for the generator, which was trained once" in text
    assert "22 min 9 TFLOP" in text

    (small / "results.json").unlink()
    rewrite(small / "plan.json", generator_run={"seconds": 720.0, "trunk_gflops": None})
    (small / "trials" / "rotation-seed0").rename(small / "trials" / "aetgan-seed0")
    text = Page(write_report(small)).text
    assert "of which 12 min for the generator, which was trained once" in text


def test_names_that_hide_or_are_no_text_are_shown_as_codes(tmp_path: Path):
    """Line breaks, direction overrides and bytes that are not UTF-8 are visible, and cost no report."""
    run = fixtures.write_run(tmp_path / "run")
    not_text = os.fsdecode(b"caf\xe9.jpg")
    fixtures.write_skipped(
        run, [("one\ntwo.jpg", "broken"), ("gpj.\N{RIGHT-TO-LEFT OVERRIDE}exe", "broken"), (not_text, "broken")]
    )
    text = Page(write_report(run)).text
    assert r"one\ntwo.jpg" in text
    assert r"gpj.\u202eexe" in text
    assert r"caf\udce9.jpg" in text


def test_arm_whose_name_is_no_text_costs_no_report(small: Path):
    """JSON can hold half of a character pair; the page is written all the same."""
    results = json.loads((small / "results.json").read_text())
    results["runs"][0]["arm"] = results["curves"][0]["arm"] = "caf\udce9"
    write_json(small / "results.json", results)
    assert r"caf\udce9" in Page(write_report(small)).text


def test_without_labels_it_says_what_cannot_be_known(tmp_path: Path):
    """No curves, no stages, no controls: a sentence instead, and the tasks beside a blind guess."""
    page = Page(write_report(fixtures.write_unlabelled(tmp_path / "advice")))
    assert "Cannot be known yet" in page.text
    assert "Without labels it cannot be known how useful these features are" in page.text
    assert "Accuracy on 500 held-out images: 71.0 %; a blind guess has 25.0 %." in page.text.replace(
        "\N{NO-BREAK SPACE}", " "
    )
    assert "losses and ranks of different tasks cannot be compared with each other" in page.text
    assert [e for e in page.elements if e.attributes.get("id") in ("stages", "controls")] == []
    assert len([e for e in page.all("img") if e.attributes["alt"] == "rotation"]) == 1


def test_one_seed_says_that_the_training_spread_is_unknown(small: Path):
    text = Page(write_report(small)).text
    assert "the spread of training is unknown, and no winner is declared" in text


@pytest.mark.parametrize("transductive", [True, False])
def test_transductive_or_not_is_said(small: Path, transductive: bool):
    rewrite(small / "results.json", transductive=transductive)
    rewrite(small / "verdict.json", transductive=transductive)
    text = Page(write_report(small)).text
    assert ("hold for this folder, not for new images" in text) == transductive
    assert ("were kept out of pretraining" in text) != transductive


def test_failed_and_excluded_tasks_are_named_once(small: Path):
    """A failure that the verdict has told already is not told again."""
    text = Page(write_report(small)).text
    assert f"rotation, seed 3, failed and is missing here: no space left for {ODD}" in text
    assert "jigsaw was left out: it needs at least 48 pixels" in text
    rewrite(small / "verdict.json", caveats=["jigsaw: it needs at least 48 pixels, and the images have 40."])
    assert "jigsaw was left out" not in Page(write_report(small)).text


def test_advice_that_is_still_going_says_how_far_it_is(small: Path):
    """Without results and verdict the finished runs are shown, and the unfinished one with its step."""
    (small / "verdict.json").unlink()
    (small / "results.json").unlink()
    run = fixtures.write_run(small / "trials" / "simclr-seed0", "simclr", finished=False)
    (run / "summary.json").unlink()
    text = Page(write_report(small)).text
    assert "There is no verdict yet: 2 of 3 runs finished." in text
    assert "simclr, seed 0 is at step 960 (40 % done)." in text
    assert "3 min 21 s" in text


def test_empty_advice_and_empty_run_make_a_page(tmp_path: Path):
    """A plan and nothing else; a config and nothing else."""
    write_json(tmp_path / "advice" / "plan.json", {"methods": ["rotation"], "seeds": [0]})
    assert "0 of 1 run finished" in Page(write_report(tmp_path / "advice")).text
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("method: rotation\n")
    assert "has not made a step yet" in Page(write_report(tmp_path / "run")).text


@pytest.mark.parametrize(
    "content", ["{", "[1, 2]", "null", '{"curves": 3, "stages": {"a": 1}, "cost": [1], "runs": "x"}']
)
def test_broken_files_cost_their_section_and_no_more(small: Path, content: str):
    (small / "results.json").write_text(content)
    (small / "trials" / "dae-seed0" / "summary.json").write_text("")
    (small / "trials" / "rotation-seed0" / "config.yaml").write_text("a: [")
    figures = small / "trials" / "rotation-seed0" / "figures"
    (figures / "cut.png").write_bytes(next(figures.iterdir()).read_bytes()[:200])
    page = Page(write_report(small))
    assert "70.5 ± 1.5 %" in page.text
    assert "The picture cut.png could not be read." in page.text
    assert "config.yaml is not valid YAML" in page.text
    assert page.unmatched == []


def test_metrics_cut_in_the_last_line_or_not_finite_are_read(tmp_path: Path):
    """A row that is being written is no problem; a row in the middle that cannot be read is counted."""
    run = fixtures.write_run(tmp_path / "run")
    file = run / "metrics.jsonl"
    lines = file.read_text().splitlines()
    lines[3] = lines[3].replace('"loss": ', '"loss": NaN, "was": ')
    file.write_text("\n".join([*lines, '{"step": 24']))
    assert "could not be read" not in Page(write_report(run)).text
    file.write_text("\n".join(["{", *lines]))
    assert f"1 of {len(lines) + 1} lines of metrics.jsonl could not be read." in Page(write_report(run)).text


def test_pictures_of_any_size_keep_the_page_small(tmp_path: Path):
    """A picture of 4 MB that no PNG can hold smaller is written again in at most 300 KB."""
    run = fixtures.write_run(tmp_path / "run")
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1300, 3), dtype=np.uint8)
    file = run / "figures" / "noise.png"
    Image.fromarray(noise).save(file)
    assert file.stat().st_size > 3_000_000
    page = Page(write_report(run))
    (shown,) = [e for e in page.all("img") if e.attributes["alt"] == "noise"]
    assert shown.attributes["src"].startswith("data:image/jpeg;base64,")
    assert len(shown.attributes["src"]) < 300_000 * 4 / 3 + 100
    assert len(page.source) < 600_000


def test_long_lists_of_skipped_files_are_folded(tmp_path: Path):
    """Reasons are counted in the open, names stand in a fold."""
    run = fixtures.write_run(tmp_path / "run")
    fixtures.write_skipped(run, [(f"{n}.jpg", "truncated: half of it" if n % 3 else "zero bytes") for n in range(3000)])
    page = Page(write_report(run))
    assert "3,000 files could not be used and were left out." in page.text
    assert "2,000 × truncated" in page.text
    assert "1,000 more are named in skipped.csv." in page.text
    fold = page.source.index("<details><summary>Their names")
    assert fold < page.source.index("17.jpg") < page.source.index("</details>", fold)


def test_run_with_an_evaluation_shows_its_probes(tmp_path: Path):
    """The headline is what the features are worth, beside the untrained network."""
    page = Page(write_report(fixtures.write_evaluation(fixtures.write_run(tmp_path / "run"))))
    text = page.text
    assert (
        "66.0 % balanced accuracy with all labels at stage 3, +15.5 points against the same network untrained." in text
    )
    assert "selfsup predict" in text
    assert "labelled/a/broken.png" in text
    assert "not over trainings" in text
    assert [e.attributes["id"] for e in page.all("section")][:3] == ["curves", "stages", "controls"]


def test_losses_of_other_chance_are_not_drawn_together(tmp_path: Path):
    """With 10 held-out images SimCLR's blind guess is ln 19 there and ln 255 in training: two charts, two lines."""
    run = fixtures.write_run(tmp_path / "run", "simclr")
    assert "Loss on held-out images" not in Page(write_report(run)).text
    summary = json.loads((run / "summary.json").read_text())
    rewrite(run / "summary.json", headline={**summary["headline"], "chance": 1 / 19})
    page = Page(write_report(run))
    assert "Loss in training" in page.text
    assert "Loss on held-out images" in page.text
    health = page.source[page.source.index('<section id="health">') :]
    assert health.count(">blind guess<") == 2
    assert "2.94" in page.text  # ln 19, in the table


def test_remarks_stand_beside_the_health_of_the_runs(tmp_path: Path):
    """What is to be known of a task is no warning, and is said once for all seeds of an arm."""
    advice = fixtures.write_advice(tmp_path / "advice")
    remark = {"level": "note", "text": "Two whole networks are trained"}
    for file in advice.rglob("rotation*/summary.json"):
        rewrite(file, health=[remark, {"level": "ok", "text": "Nothing unusual was seen."}])
    text = Page(write_report(advice)).text
    assert text.count("Two whole networks are trained") == 1
    assert "To be known of the tasks" in text


def test_task_pictures_are_no_sheets_of_neighbours(page: Page, tmp_path: Path):
    """SimCLR's own picture speaks of the nearest view; it explains the task all the same."""
    task, sheets = (page.source.index(f'<section id="{name}">') for name in ("tasks", "neighbours"))
    assert task < page.source.index('alt="a view, its partner, and the nearest view"') < sheets
    assert [page.source.index(f'alt="{name}"') > sheets for name in ("rotation", "denoising", "SimCLR")] == [True] * 3
    alone = Page(write_report(fixtures.write_run(tmp_path / "run", "simclr")))
    assert "No nearest-neighbour sheets were drawn." in alone.text


def test_run_without_an_evaluation_says_how_to_measure_it(tmp_path: Path):
    text = Page(write_report(fixtures.write_run(tmp_path / "my run"))).text
    assert re.search(r"selfsup evaluate '.*/my run' --labels LABELS", text)
    assert "blind guess" in text


def test_screening_runs_are_not_counted_as_results(small: Path):
    """The run that only screened a finalist is neither drawn nor counted as a seed."""
    fixtures.write_run(small / "trials" / "rotation-seed1000", "rotation", 1000)
    rewrite(small / "plan.json", screening_seed=1000)
    text = Page(write_report(small)).text
    assert "seed 1000" not in text
    assert "was trained from one seed" in text


def test_report_goes_where_it_is_sent(tmp_path: Path):
    """Into the folder, to a file, or into another folder; nothing half-written stays behind."""
    run = fixtures.write_run(tmp_path / "run")
    (tmp_path / "other").mkdir()
    assert write_report(run) == run / "report.html"
    assert write_report(run, tmp_path / "new" / "page.html") == tmp_path / "new" / "page.html"
    assert write_report(run, tmp_path / "other") == tmp_path / "other" / "report.html"
    assert sorted(path.name for path in tmp_path.rglob("*.part")) == []
    assert (run / "report.html").read_text() == (tmp_path / "other" / "report.html").read_text()


def test_other_folders_are_refused_in_a_sentence(tmp_path: Path):
    with pytest.raises(InputError, match="There is no folder"):
        write_report(tmp_path / "nothing")
    with pytest.raises(InputError, match="neither a run nor an advice"):
        write_report(tmp_path)


def test_report_never_loads_torch():
    """Reports are read on machines that have no time for it."""
    code = "import selfsup.report, sys; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'matplotlib')))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_templates_are_part_of_the_package():
    """What a wheel carries is named in pyproject.toml; the templates must be among it."""
    import tomllib

    root = Path(__file__).parents[2]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["selfsup"]
    package = root / "src" / "selfsup"
    carried = {path for pattern in patterns for path in package.glob(pattern)}
    assert set((package / "report").glob("*.j2")) <= carried
    assert len(carried) >= 3
