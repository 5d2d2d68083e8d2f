"""The section of commands: what to type to get all this again, the settings of the runs, and the versions."""

import shlex
from collections.abc import Sequence

import yaml

from selfsup.report.blocks import Block, Code, Fold, Listing, Section
from selfsup.report.folders import AdviceFiles, RunFiles, by_arm
from selfsup.report.values import mapping
from selfsup.report.words import listed, visible

TITLE = "Commands and versions"


def advice_commands(found: AdviceFiles, runs: Sequence[RunFiles]) -> Section:
    """Show how to repeat an advice, and the settings of the runs that are reported."""
    blocks: list[Block] = []
    command = found.plan.get("command") or found.results.get("command")
    if command:
        blocks.append(Code("This advice", visible(command)))
    if found.plan:
        again = f"selfsup advise --plan {_quoted(found.folder / 'plan.json')} --out AGAIN"
        blocks.append(Code("The same plan again, step for step", again))
    for name, own in by_arm([run for run in runs if run.config]).items():
        blocks.append(Fold(f"Settings of {visible(name)}", [Code(_shared_by(own), settings(own[0]))]))
    blocks += versions(runs)
    return Section("commands", TITLE, [] if blocks else ["Nothing was recorded yet."], blocks)


def run_commands(run: RunFiles) -> Section:
    """Show how to repeat a run, its settings and versions."""
    command = "baseline" if run.is_baseline else "pretrain"
    again = f"selfsup {command} {_quoted(run.arm)} --config {_quoted(run.folder / 'config.yaml')} --out AGAIN"
    blocks: list[Block] = [Code("This run again", again)]
    if run.config:
        blocks.append(Fold("Settings of the run", [Code("config.yaml", settings(run))]))
    return Section("commands", TITLE, [], blocks + versions([run]))


def evaluate_command(run: RunFiles) -> str:
    """Write the command that measures a run with labels."""
    return f"selfsup evaluate {_quoted(run.folder)} --labels LABELS"


def predict_command(run: RunFiles) -> str:
    """Write the command that sorts a folder with the best probe of a run."""
    return f"selfsup predict {_quoted(run.folder)} IMAGES"


def _quoted(name: object) -> str:
    return shlex.quote(visible(name))


def _shared_by(runs: Sequence[RunFiles]) -> str:
    """Say of which run the settings are, and in which of them the runs of other seeds differ."""
    first, others = runs[0], runs[1:]
    label = "config.yaml" if first.seed is None else f"config.yaml of seed {first.seed}"
    pairs = [(first.config, run.config) for run in others]
    differing = sorted({str(key) for one, other in pairs for key in {*one, *other} if one.get(key) != other.get(key)})
    return f"{label}; other seeds differ in {visible(listed(differing))}" if differing else label


def settings(run: RunFiles) -> str:
    """Write a run's settings as the YAML that --config takes."""
    text: str = yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True, width=100)
    return "\n".join(visible(line) for line in text.splitlines())


def versions(runs: Sequence[RunFiles]) -> list[Block]:
    """List machine and versions, once for all runs that agree."""
    seen: dict[str, list[str]] = {}
    for run in runs:
        parts = [f"{name} {value}" for name, value in mapping(run.summary.get("versions")).items()]
        found = [(name, run.summary.get(name)) for name in ("device", "precision", "threads")]
        parts += [f"{name} {value}" for name, value in found if value is not None]
        if parts:
            seen.setdefault(", ".join(parts), []).append(run.name)
    items = list(seen) if len(seen) == 1 else [f"{listed(names)}: {text}" for text, names in seen.items()]
    return [Listing([visible(item) for item in items], heading="Versions and machine")] if items else []
