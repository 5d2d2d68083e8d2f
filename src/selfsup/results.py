"""What a command prints when it is done."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from selfsup.progress import clock
from selfsup.run import Run
from selfsup.terminal import say, table

SKIPPED_SHOWN = 20


def show(command: str, result: Any) -> None:
    """Print the result of a command for a person."""
    SHOW.get(command, _show_text)(result)


def show_forecast(method: str, given: Mapping[str, Any]) -> None:
    """Print what a run would take and the settings it would use, without starting it."""
    from selfsup.training.prepare import forecast, prepare
    from selfsup.training.pretrain import default_folder

    asked = {name: value for name, value in given.items() if name not in ("data", "out", "checkpoint_every", "track")}
    out = given.get("out")
    folder = Path(out) if out is not None else default_folder(method, given["data"])
    found = forecast(prepare(method, given["data"], folder=folder, **asked))
    memory = f", {found['memory_mb']:,.0f} MB of memory" if found.get("memory_mb") else ""
    say(f"{method} would take about {clock(60 * found['minutes'])}, {found['disk_mb']:,.0f} MB on disk{memory}.")
    say(f"It would write to {str(folder)!r}, with these settings:")
    for name, value in found["settings"].items():
        say(f"  {name}: {value}")


def _show_run(run: Run) -> None:
    summary = run.summary
    headline = summary.get("headline") or {}
    if headline.get("value") is not None:
        chance = f" (chance {headline['chance']:.3g})" if headline.get("chance") is not None else ""
        held_out, things = headline.get("held_out_images"), headline.get("things", "images")
        where = f"on {held_out} held-out {things}" if held_out else "in training"
        say(f"{summary['method']}: {headline['name']} {headline['value']:.3g}{chance} {where}.")
    rounds = f", {summary['round_share']:.0%} of it for {summary['rounds']:,} rounds" if "rounds" in summary else ""
    pace = f"{summary['images_per_second']:,.0f} images/s"
    say(f"{summary['steps']:,} steps in {clock(summary['seconds'])}{rounds}, {pace}.")
    for finding in summary.get("health", []):
        if finding["level"] == "warning":
            say(f"Warning: {finding['text']}")
    _show_skipped(run.skipped())
    _show_next(run)


def _show_baseline(run: Run) -> None:
    summary = run.summary
    parameters = f"{summary['parameters']:,} parameters, none trained" if summary["parameters"] else "no parameters"
    speed = f"{summary['images_per_second']:,.0f} images/s"
    say(f"{summary['baseline']}: made in {clock(summary['seconds'])}, {parameters}, {speed}.")
    _show_skipped(run.skipped())
    _show_next(run)


def _show_next(run: Run) -> None:
    say(f"Encoder: {run.folder / 'encoder.safetensors'}")
    say(f"Next: selfsup evaluate {run.folder} --labels FOLDER, or selfsup report {run.folder}")


def _show_skipped(skipped: list[tuple[str, str]]) -> None:
    if skipped:
        say(f"{len(skipped):,} {'file' if len(skipped) == 1 else 'files'} could not be used:")
        for line in table(("", ""), skipped[:SKIPPED_SHOWN], left=2)[1:]:
            say(f"  {line}")
        if len(skipped) > SKIPPED_SHOWN:
            say(f"  and {len(skipped) - SKIPPED_SHOWN:,} more, all named in skipped.csv of the run")


def _show_evaluation(result: dict[str, Any]) -> None:
    from selfsup.evaluation.evaluate import table as rows_of

    labels = result["labels"]
    sizes = f"{labels['pool']:,} {labels['things']} for probes, {labels['test']:,} for the test"
    say(f"{labels['source']}: {len(labels['classes'])} classes, {sizes}.")
    for note in labels["notes"]:
        say(note)
    head, *rows = rows_of(result)
    for line in table(head, rows):
        say(line)


def _show_verdict(verdict: Any) -> None:
    _show_text(verdict)
    say(f"Report: {verdict.folder / 'report.html'}")


def _show_predictions(found: Any) -> None:
    for line in table(("class", found.things), found.of_class.items()):
        say(line)
    say(f"{found.images:,} {found.things} in {found.file}")


def _show_audit(result: dict[str, Any]) -> None:
    measure, chance = result["measure"], result["chance"] or 0.0
    of = f"{result['method']}, step {result['step']:,}"
    say(f"{of}: {measure} {_mean(result['real'])} on real images, chance {chance:.3g}.")
    rows = [(check["images"], _mean(check), _judgement(check)) for check in result["checks"]]
    for line in table(("images without content", measure, "verdict"), rows):
        say(line)
    for line in table(
        ("real images, changed", f"change of {measure}"), [(c["change"], _mean(c)) for c in result["changes"]]
    ):
        say(line)
    touching = result["texture_if_tiles_touched"]
    if touching is not None:
        verdict = "it would read edges, and the gaps keep it from that" if touching["leak"] else "at chance"
        say(f"Texture if its tiles touched: {_mean(touching)}: {verdict}.")
    found = result["leaks"]
    say(f"Shortcuts found: {', '.join(found)}." if found else "No shortcut found among those looked for.")


def _judgement(check: dict[str, Any]) -> str:
    if check["leak"]:
        return f"LEAK: uses {check['would_use']}"
    return "above chance, not more than that" if check["above_chance"] else "at chance"


def _mean(found: dict[str, Any]) -> str:
    return f"{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def _show_text(result: Any) -> None:
    for line in str(result).splitlines():
        say(line)


SHOW: dict[str, Callable[[Any], None]] = {
    "pretrain": _show_run,
    "baseline": _show_baseline,
    "evaluate": _show_evaluation,
    "advise": _show_verdict,
    "demo": _show_verdict,
    "predict": _show_predictions,
    "audit": _show_audit,
}
