"""The section about the data: what was noticed, and every file that was skipped."""

from collections import Counter
from collections.abc import Sequence

from selfsup.report.blocks import Block, Cell, Fold, Listing, Section, Table
from selfsup.report.words import count, plural, sentence, visible

OPEN = 12
"""Skipped files that are shown without a fold."""
MOST = 2000
"""Skipped files that are named at all."""


def findings_section(
    skipped: Sequence[tuple[str, str]], notes: Sequence[str] = (), problems: Sequence[str] = ()
) -> Section:
    """Show what was noticed about the data, and the skipped files with the reasons.

    Args:
        skipped: name and reason, as often as runs list them.
        notes: sentences about images and labels.
        problems: parts of the folder that could not be read.
    """
    skipped = list(dict.fromkeys(skipped))
    said = [sentence(visible(note)) for note in dict.fromkeys(notes)]
    blocks: list[Block] = []
    if problems:
        blocks.append(Listing([visible(one) for one in problems], "warning", "What could not be read"))
    if not skipped:
        return Section("findings", "The data", [*said, "No file was skipped."], blocks)
    said.append(
        f"{plural(len(skipped), 'file')} could not be used and {'was' if len(skipped) == 1 else 'were'} left out."
    )
    names = _names(skipped)
    if len(skipped) <= OPEN:
        return Section("findings", "The data", said, [*blocks, *names])
    reasons = Counter(reason.split(":")[0].split("(")[0].strip() for _, reason in skipped)
    blocks.append(Listing([f"{count(times)} × {visible(reason)}" for reason, times in reasons.most_common(8)]))
    return Section("findings", "The data", said, [*blocks, Fold("Their names", names)])


def _names(skipped: Sequence[tuple[str, str]]) -> list[Block]:
    body = [
        [Cell(visible(name), numeric=False), Cell(visible(reason), numeric=False)] for name, reason in skipped[:MOST]
    ]
    table = Table("Skipped files", ["file", "reason"], body)
    more = len(skipped) - MOST
    return [table, Listing([f"{count(more)} more are named in skipped.csv."])] if more > 0 else [table]
