"""One run in the terminal: its spec, result, epochs, layers and files."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from poolstudy.errors import printable
from poolstudy.reports.html.numbers import number
from poolstudy.spec.load import load_tracking
from poolstudy.spec.records import TRIAL_METRICS, EpochRecord, best_epoch
from poolstudy.system.formats import clock
from poolstudy.terminal.console import encodable
from poolstudy.terminal.display import TERMINAL_COLOURS
from poolstudy.tracking import StoredRun, find_run, local_path, reading_mlflow, resolved_uri, run_link
from poolstudy.tracking.dashboard import LOCAL_SERVER

_STATES = {"complete": "green", "pruned": "yellow", "failed": "red", "lost": "red"}
_WIDE = 72  # columns of the terminal that the long form of the tables needs
_EIGHTHS = " ▏▎▍▌▋▊▉"

Block = RenderableType
"""Plain `str`s are lines that are never broken, so that they can be copied (an ID, a path, a link)."""


def show_run(text: str, root: Path, console: Console) -> None:
    """Print the run that `text` names: a run ID, its first digits, or "best".

    Raises:
        RunNotFound: no run matches, or several do.
        StoreError: there is no MLflow store, or it cannot be read.
    """
    uri = resolved_uri(load_tracking(root).uri, root)
    run = find_run(uri, text)
    server = uri if uri.startswith(("http://", "https://")) else LOCAL_SERVER
    with reading_mlflow(uri):
        blocks = list(_page(run, server, console))
    for block in blocks:
        if isinstance(block, str):
            console.print(printable(block), soft_wrap=True)
        else:
            console.print(block)


def _page(run: StoredRun, server: str, console: Console) -> Iterator[Block]:
    yield from _heading(run)
    yield from _study(run) if run.kind == "study" else _trial(run, console)
    yield from _section("Files")
    yield Padding.indent(Text(", ".join(run.files) or "none yet"), 2)
    yield f"  {local_path(run.artifacts)}"
    if server == LOCAL_SERVER:
        yield Padding.indent(Text("and, once `make ui` runs:"), 2)
    yield f"  {run_link(server, run)}"


def _heading(run: StoredRun) -> Iterator[Block]:
    state = Text(run.standing, style=_STATES.get(run.standing, "cyan"))
    title = f"study {run.name}" if run.kind == "study" else f"{run.name} of study {run.study}"
    kind = "" if run.kind in ("study", "trial") else f" ({run.kind})"
    yield Text.assemble((title + kind, "bold"), ": ", state)
    if reason := run.tags.get("poolstudy.reason"):
        yield Text(f"because {reason}")
    yield Text(_when(run))
    yield f"run {run.run_id}"


def _when(run: StoredRun) -> str:
    began = f"began {run.start.astimezone():%Y-%m-%d %H:%M:%S}"
    if run.kind == "study":  # may have been stopped and resumed by another process
        return f"{began}, ended {run.end.astimezone():%Y-%m-%d %H:%M:%S}" if run.end else began
    if run.end:
        return f"{began}, took {clock((run.end - run.start).total_seconds())}"
    return f"{began}, in process {run.tags.get('poolstudy.process', 'unknown')}"


def _study(run: StoredRun) -> Iterator[Block]:
    yield from _section("Settings", _pairs(run.params.items()))
    trials = run.trials()
    counts = Counter(trial.standing for trial in trials)
    runs = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    rows = [("trials", f"{counts['complete'] + counts['pruned']} done"), ("runs", runs or "none yet")]
    if best := run.best():
        metric = run.objective()
        value = f", {metric} {number(best.metrics[metric], metric)}" if metric in best.metrics else ""
        rows.append(("best", best.name + value))
    yield from _section("Trials", _pairs(rows))
    if best:
        yield f"  {best.run_id}"


def _trial(run: StoredRun, console: Console) -> Iterator[Block]:
    yield from _section("Spec", _pairs(_spec_rows(run), run.params.get("pooling")))
    result = [(name, number(run.metrics[name], name)) for name in TRIAL_METRICS if name in run.metrics]
    if result:
        result.append(("stopped by", run.tags.get("poolstudy.stop_reason", "unknown")))
    history = run.history() or run.logged_epochs()
    nothing = Text("nothing yet" if run.state is None else "nothing: the run ended without a result")
    yield from _section("Result", _pairs(result) if result else nothing)
    yield from _section("Epochs", _epoch_table(history, console) if history else Text("none finished"))
    if layers := run.table("layers.csv"):
        yield from _section("Layers", _layer_table(layers, console))
    attempts = [
        Text(f"{attempt.name}  {attempt.standing:<11}  {attempt.run_id}", "bold" if attempt == run else "")
        for attempt in run.attempts()
    ]
    yield from _section("Attempts at this slot", *attempts)
    if reproductions := [Text(_reproduction(reproduction)) for reproduction in run.reproductions()]:
        yield from _section("Reproductions", *reproductions)
    yield from _section("SHA-256")
    tags = {name: run.tags.get(f"poolstudy.{name}_digest") for name in ("spec", "data", "weights", "untrained")}
    yield from (f"  {name:<9}  {digest}" for name, digest in tags.items() if digest)
    if original := run.tags.get("poolstudy.reproduces"):
        yield f"  reproduces run {original}: {run.tags.get('poolstudy.verdict', 'no verdict')}"
    if text := run.text("environment.json"):
        try:
            rows = list(_environment(json.loads(text)))
        except (ValueError, TypeError, KeyError, AttributeError):  # no JSON, or not of a trial
            rows = [("environment.json", "damaged")]
        yield from _section("Environment", _pairs(rows))


def _reproduction(run: StoredRun) -> str:
    verdict = run.tags.get("poolstudy.verdict", run.standing)
    return f"{verdict:<11}  {run.start.astimezone():%Y-%m-%d %H:%M}  {run.run_id}"


def _environment(content: Any) -> Iterator[tuple[str, str]]:
    code, packages = content.get("code", {}), content.get("packages", {})
    commit = f"commit {code['commit'][:12]}{', changed' if code.get('dirty') else ''}, " if code.get("commit") else ""
    yield "code", f"{commit}source {code.get('source_digest', 'unknown')[:16]}"
    yield "packages", ", ".join(f"{name} {packages.get(name, 'none')}" for name in ("tensorflow", "keras", "numpy"))
    yield "device", f"{content.get('device')}, {content.get('threads')} thread(s), {content.get('processor')}"


def _spec_rows(run: StoredRun) -> Iterator[tuple[str, str]]:
    spec = run.spec()
    if spec is None:
        yield "params", _listed(run.params)
        return
    data = spec.data
    shape = "x".join(map(str, data.image_shape))
    images = f"{data.train_images:,} training and {data.validation_images:,} validation images, {shape}"
    yield "network", _listed(spec.hyperparameters.flat())
    yield "training", _listed(spec.training.model_dump())
    yield "seed", str(spec.seed)
    yield "data", f"{data.name} ({data.digest[:12]}): {images}, {len(data.class_names)} classes"


def _epoch_table(history: Sequence[EpochRecord], console: Console) -> Block:
    wide = console.width >= _WIDE
    long, short = tuple(EpochRecord.model_fields), ("ep.", "loss", "acc.", "val\nloss", "val\nacc.", "s")
    table = Table(box=None, padding=(0, 1 if wide else 0, 0, 1), pad_edge=False, caption_justify="left")
    for heading in long if wide else short:
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("val_loss" if wide else "", overflow="crop", no_wrap=True)
    highest = max(record.val_loss for record in history) or 1.0
    best = best_epoch(tuple(history))
    for record in history:
        values = (number(getattr(record, name), name) for name in ("loss", "accuracy", "val_loss", "val_accuracy"))
        mark, style = ("*", "bold") if record.epoch == best else (" ", "")
        bar = _bar(record.val_loss / highest, 16 if wide else 2, console)
        seconds = f"{record.seconds:.{1 if wide or record.seconds < 10 else 0}f}"
        table.add_row(f"{mark}{record.epoch}", *values, seconds, bar, style=style)
    table.caption = "* best epoch: the first with the lowest val_loss"
    return table


def _bar(share: float, width: int, console: Console) -> str:
    """Return a horizontal bar over this share of the width, in eighths of a character."""
    whole, eighth = divmod(round(share * width * 8), 8)
    return encodable(console, "█" * whole + _EIGHTHS[eighth].strip(), "#" * round(share * width))


def _layer_table(rows: Sequence[Mapping[str, str]], console: Console) -> Block:
    try:
        layers = [_layer(row, console) for row in rows]
    except (KeyError, TypeError, ValueError):  # a column, a cell or a number is missing
        return Text("layers.csv is damaged")
    wide = console.width >= _WIDE
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("weight", "shape", "untrained", "trained") if wide else ("weight", "untrained,\nthen trained"):
        table.add_column(heading, overflow="fold")
    for weight, shape, before, after in layers:
        table.add_row(*((weight, shape, before, after) if wide else (f"{weight}\n  {shape}", f"{before}\n{after}")))
    return table


def _layer(row: Mapping[str, str], console: Console) -> tuple[str, str, str, str]:
    """Return a weight's name and shape, and the mean and deviation of its values before and after training."""
    name, shape = printable(f"{row['layer']}/{row['weight']}"), printable(row["shape"])
    sign = encodable(console, "±", "+-")
    spreads = ((float(row[f"{state}_mean"]), float(row[f"{state}_std"])) for state in ("untrained", "trained"))
    before, after = (f"{mean:+.4f} {sign} {deviation:.4f}" for mean, deviation in spreads)
    return name, shape.strip("(),").replace(", ", "x"), before, after


def _section(title: str, *content: Block) -> Iterator[Block]:
    yield ""
    yield Text(title, style="bold")
    yield from (Padding.indent(block, 2) for block in content)


def _pairs(rows: Iterable[tuple[str, str]], pooling: str | None = None) -> Block:
    """Return a table of names and values, the network's in its pooling's colour."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    colours = {str(kind): colour for kind, colour in TERMINAL_COLOURS.items()}
    for name, value in rows:
        style = colours.get(pooling or "", "") if name in ("network", "params") else ""
        table.add_row(name, Text(printable(value), style))
    return table


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
