"""The command line, in process: flags become arguments, slips become sentences."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import selfsup
from selfsup import cli, signatures
from selfsup.cli import COMMANDS, place
from selfsup.errors import Interrupted, TrainingFailed
from selfsup.methods import METHODS
from selfsup.progress import Shown, silent


class Calls(list):
    """What a function was called with."""

    def __call__(self, *positional, **named):
        self.append((positional, named))
        return "done"


@pytest.fixture
def trained(monkeypatch):
    """Replace `pretrain`: the calls it would have got."""
    calls = Calls()
    monkeypatch.setitem(vars(selfsup), "pretrain", calls)
    monkeypatch.setattr("selfsup.results.show", lambda command, result: None)
    return calls


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder to name on the command line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def refused(capsys, *tokens: str) -> str:
    """Run a command that must fail with one sentence and exit code 2; give the sentence."""
    assert cli.run(list(tokens)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err.strip()


def test_overview_names_every_command(capsys):
    assert cli.run(["--help"]) == 0

    text = capsys.readouterr().out
    assert all(f"\n  {command} " in text for command in COMMANDS)


def test_methods_are_listed_with_what_they_do(capsys):
    assert cli.run(["methods"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(METHODS)
    assert "quarter turn" in lines[1]


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in ("methods", "pretrain")])
def test_help_shows_every_flag_of_the_function(command, capsys):
    """Flags, defaults and help come from the signature, with dashes."""
    assert cli.run([command, "--help"]) == 0

    text = capsys.readouterr().out
    for name in signatures.of_function(*place(command)).settings:
        assert f"--{name.replace('_', '-')}" in text


@pytest.mark.parametrize("method", METHODS)
def test_help_of_a_method_shows_its_own_settings_and_recipe(method, capsys, monkeypatch):
    """Function, constructor and recipe are joined, with the defaults of this method."""
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.run(["pretrain", method, "--help"]) == 0

    text = capsys.readouterr().out
    for name in [*signatures.of_method(method).settings, *signatures.of_recipe().settings, "encoder", "config"]:
        assert f"--{name.replace('_', '-')}" in text
    (batch,) = [line for line in text.splitlines() if "--batch-size" in line]
    assert f"[default: {signatures.recipe_of(method)['batch_size']}]" in batch


def test_only_what_was_given_is_passed_on_with_its_type(trained, photos):
    """Defaults stay the function's own: they are not written a second time."""
    words = (
        "pretrain rotation photos --out made --seed 3 --lr 0.5 --epochs 2 --no-flip --milestones 0.5,0.75 --clip none"
    )

    assert cli.run(words.split()) == 0

    ((positional, named),) = trained
    assert positional == ("rotation",)
    assert isinstance(named.pop("progress"), Shown)
    assert named == {
        "data": "photos", "out": Path("made"), "seed": 3, "lr": 0.5, "epochs": 2.0, "flip": False,
        "milestones": (0.5, 0.75), "clip": None,
    }  # fmt: skip


def test_quiet_is_silent(trained, photos):
    assert cli.run(["pretrain", "rotation", "photos", "--quiet"]) == 0

    assert trained[0][1] == {"data": "photos", "progress": silent}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("pretrian rotation photos", "There is no command 'pretrian'; did you mean pretrain?"),
        ("pretrain rotaton photos", "There is no method 'rotaton'; did you mean rotation?"),
        ("pretrain", "Name the method first"),
        ("pretrain --seed 1 rotation photos", "Name the method first"),
        ("pretrain rotation", "pretrain rotation needs DATA: folder of images"),
        ("pretrain rotation photos --sed 1", "Unknown option: --sed. Did you mean --seed?"),
        ("pretrain rotation photos --zzzz 1", "Unknown option: --zzzz. See --help."),
        ("pretrain rotation photos more", "What is 'more' for?"),
        ("pretrain rotation photos --seed", "--seed requires an argument"),
        ("pretrain rotation photos --seed 3.5", "Invalid value for --seed: '3.5' is not a whole number."),
        ("pretrain rotation photos --steps 3.5", "'3.5' is not a whole number or none."),
        ("pretrain rotation photos --optimizer sdg", "'sdg' is not known; did you mean sgd?"),
        ("pretrain rotation photos --flip=maybe", "--flip"),
        ("pretrain rotation photos --lr -1", "lr must be 0 or above"),
        ("pretrain rotation photos --budget soon", "such as 90s, 10m or 2h, got 'soon'"),
        ("pretrain rotation photos --steps 3 --epochs 2", "one length, got --steps and --epochs"),
        ("pretrain rotation photo", "There is nothing at 'photo'; did you mean 'photos'?"),
        ("pretrain rotation elsewhere/x", "There is nothing at 'elsewhere/x'; check the path."),
        ("pretrain rotation photos --init gone.safetensors", "There is nothing at 'gone.safetensors'"),
        ("pretrain rotation photos --encoder resnet8", "There is no encoder 'resnet8'; did you mean resnet18"),
        ("pretrain rotation photos --config gone.yaml", "There is no file 'gone.yaml'"),
        ("advise photos --methods rotation,simclear", "There is no method 'simclear'; did you mean simclr?"),
        ("advise photos --label-budgets 5,2.5", "'2.5' is not a whole number"),
        ("evaluate gone --labels photos", "There is nothing at 'gone'"),
        ("export photos", "export needs --out: the file"),
        ("methods rotation", "selfsup methods takes nothing more"),
    ],
)
def test_a_slip_is_one_sentence_and_exit_code_2(words, says, trained, photos, capsys):
    assert says in refused(capsys, *words.split())
    assert trained == []


def test_names_cannot_harm_the_terminal(trained, photos, capsys):
    """Escape codes in a file name are shown, whichever way they come into a sentence."""
    assert "\\x1b[2J" in refused(capsys, "pretrain", "rotation", "\x1b[2J")
    assert "\\x1b[2J" in refused(capsys, "pretrain", "rotation", "photos", "--\x1b[2J")
    assert "\\n" in refused(capsys, "pretrain", "rotation", "two\nlines")


def test_ctrl_c_says_how_to_go_on(photos, monkeypatch, capsys):
    def stop(*positional, **named):
        raise Interrupted("Interrupted at step 3 of 9; the same command resumes it.")

    monkeypatch.setitem(vars(selfsup), "pretrain", stop)

    assert cli.run(["pretrain", "rotation", "photos", "--quiet"]) == 130
    assert capsys.readouterr().err == "Interrupted at step 3 of 9; the same command resumes it.\n"


def test_failed_training_is_told_and_a_bug_keeps_its_traceback(photos, monkeypatch, capsys):
    errors = iter([TrainingFailed("The loss is not a number."), KeyError("a bug")])

    def fail(*positional, **named):
        raise next(errors)

    monkeypatch.setitem(vars(selfsup), "pretrain", fail)

    assert cli.run(["pretrain", "rotation", "photos", "--quiet"]) == 1
    assert capsys.readouterr().err == "The loss is not a number.\n"
    with pytest.raises(KeyError, match="a bug"):
        cli.run(["pretrain", "rotation", "photos", "--quiet"])


def config(folder: Path, **settings) -> str:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return str(file)


def test_config_gives_what_the_flags_do_not(trained, photos):
    """Method and data too; a given flag wins, and a given length replaces all lengths."""
    file = config(
        photos, method="rotation", data="photos", seed=3, lr=0.5, flip=False, milestones=[0.5, 0.7], clip=None,
        steps=100, budget=None, epochs=100.0, encoder="small", resolved={"threads": 2},
    )  # fmt: skip

    assert cli.run(["pretrain", "--config", file, "--seed", "4", "--epochs", "2", "--quiet"]) == 0
    assert cli.run(["pretrain", "rotation", f"--config={file}", "--flip", "--quiet"]) == 0

    (_, one), (_, other) = trained
    assert one == {
        "data": "photos", "seed": 4, "lr": 0.5, "flip": False, "milestones": (0.5, 0.7), "clip": None,
        "epochs": 2.0, "encoder": "small", "progress": silent,
    }  # fmt: skip
    assert other["steps"] == 100
    assert other["flip"] is True
    assert "epochs" not in other


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("seed: [1", "is not valid YAML in line 1"),
        ("- seed", "must hold 'name: value' lines"),
        ("sede: 1", "has 'sede', which pretrain rotation does not take; did you mean seed?"),
        ("seed: {a: 1}", "has a block under 'seed'"),
        ("seed: 3.5", "'3.5' is not a whole number"),
        ("method: dae", "is of 'dae', but 'rotation' was asked for"),
        ("config: other.yaml", "has 'config', which pretrain rotation does not take"),
    ],
)
def test_a_bad_config_is_one_sentence(content, says, trained, photos, capsys):
    (photos / "bad.yaml").write_text(content, encoding="utf-8")

    assert says in refused(capsys, "pretrain", "rotation", "photos", "--config", str(photos / "bad.yaml"))
    assert trained == []


def test_a_run_from_end_to_end(photos, capsys):
    """Train, resume, repeat from its own config.yaml to the same bytes, refuse a change, report: on 16 images."""
    name = "[red]\x1b[2J"
    (photos / name).mkdir()
    draw = np.random.default_rng(0)
    for number in range(16):
        Image.fromarray(draw.integers(0, 255, (40, 48, 3), np.uint8)).save(photos / name / f"{number}.png")
    (photos / name / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    words = "--steps 2 --image-size 32 --precision float32 --layout contiguous --cache kept --quiet".split()

    assert cli.run(["pretrain", "rotation", "photos", "--out", "one", *words]) == 0
    told = capsys.readouterr().out
    assert cli.run(["pretrain", "rotation", "photos", "--out", "one", *words]) == 0
    assert cli.run(["pretrain", "--config", "one/config.yaml", "--out", "two", "--cache", "kept", "--quiet"]) == 0
    capsys.readouterr()

    assert "1 file could not be used" in told
    assert "[red]\\x1b[2J" in told
    assert "\x1b[2J" not in told
    one, two = (yaml.safe_load(Path(run, "config.yaml").read_text(encoding="utf-8")) for run in ("one", "two"))
    assert one == two
    assert Path("one/encoder.safetensors").read_bytes() == Path("two/encoder.safetensors").read_bytes()
    change = ["pretrain", "--config", "one/config.yaml", "--out", "two", "--cache", "kept", "--lr", "0.2", "--quiet"]
    assert "was started with lr 0.1, now 0.2 was given" in refused(capsys, *change)
    assert cli.run(["report", "one"]) == 0
    assert capsys.readouterr().out.strip() == "one/report.html"
    assert cli.run(["pretrain", "rotation", "photos", "--out", "three", *words, "--dry-run"]) == 0
    assert "would take about" in capsys.readouterr().out
    assert not Path("three").exists()


def test_nothing_heavy_is_imported_before_the_words_are_checked(tmp_path):
    """Torch takes two seconds to import: neither help nor a slip should wait for it."""
    fine = ["--help", "--version", "methods", *(f"{command} --help" for command in COMMANDS)]
    fine += [f"pretrain {method} --help" for method in METHODS]
    slips = [
        "pretrain rotaton x", "pretrain rotation . --sed 1", "pretrain rotation gone", "pretrain rotation . --seed 1.5",
        "pretrain rotation . --encoder resnet8", "pretrain rotation . --lr -1", "evaluate gone --labels .",
        "advise . --methods rotaton", "report gone",
    ]  # fmt: skip
    code = (
        "import sys\nfrom selfsup import cli\n"
        f"for words in {fine + slips!r}:\n"
        "    code = cli.run(words.split())\n"
        "    print('RAN', code, [m for m in ('torch', 'torchvision', 'timm', 'sklearn') if m in sys.modules], words)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip

    ran = [line for line in done.stdout.splitlines() if line.startswith("RAN")]
    assert ran == [f"RAN 0 [] {words}" for words in fine] + [f"RAN 2 [] {words}" for words in slips], done.stderr
