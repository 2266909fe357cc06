"""Printing of a reproduction: both outcomes epoch by epoch, the differences, the verdict."""

import itertools

from rich.console import Console
from rich.table import Table
from rich.text import Text

from poolstudy.errors import printable
from poolstudy.reproduce.record import TrialOutcome
from poolstudy.reproduce.verdict import Reproduction, same_metrics

_MEANINGS = {
    "identical": "bit for bit: every metric of every epoch, and the weights",
    "equivalent": "within the tolerances, with other hardware, another library or nondeterministic operations",
    "different": "not the same",
}
_STYLES = {"identical": "bold green", "equivalent": "bold yellow", "different": "bold red"}
_MAX_LINES = 12  # per section; comparison.json has them all


def print_outcome(outcome: Reproduction, console: Console) -> None:
    """Print the epochs of both runs, the differences, and the verdict."""
    then, now, verdict = outcome.original.reached, outcome.reached, outcome.verdict
    if then.history or now.history:
        console.print(_epochs(then, now))
    sections = (
        ("The results differ in:", verdict.reasons),
        ("Changed since the original:", tuple(map(str, verdict.differences))),
        ("Not deterministic without training.deterministic=true:", verdict.not_deterministic),
    )
    for title, lines in sections:
        if lines:
            console.print(title)
            for line in lines[:_MAX_LINES]:
                console.print(f"  {printable(line)}", soft_wrap=True, markup=False)
            if len(lines) > _MAX_LINES:
                console.print(f"  and {len(lines) - _MAX_LINES} more, in comparison.json")
    text = Text.assemble((verdict.word, _STYLES[verdict.word]), f": {_MEANINGS[verdict.word]}")
    console.print(text, soft_wrap=True)


def _epochs(then: TrialOutcome, now: TrialOutcome) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("epoch", "val_loss then", "now", "val_accuracy then", "now", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for number, (old, new) in enumerate(itertools.zip_longest(then.history, now.history), start=1):
        loss = [f"{record.val_loss:.8f}" if record else "-" for record in (old, new)]
        accuracy = [f"{record.val_accuracy:.6f}" if record else "-" for record in (old, new)]
        mark = "=" if old and new and same_metrics(old, new) else "differs"
        table.add_row(f"{'*' if then.best_epoch == number else ' '}{number}", *loss, *accuracy, mark)
    table.caption = "* the best epoch; = every metric bit for bit"
    table.caption_justify = "left"
    return table
