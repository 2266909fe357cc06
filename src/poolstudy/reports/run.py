"""One run in the terminal: what it was, what it reached, how it went, and where its files are."""

import json
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from poolstudy.errors import printable
from poolstudy.spec.load import load_tracking
from poolstudy.spec.records import EpochRecord, best_epoch
from poolstudy.system.formats import clock
from poolstudy.terminal.console import encodable
from poolstudy.terminal.display import TERMINAL_COLOURS
from poolstudy.tracking import StoredRun, find_run, reading_mlflow, resolved_uri, run_link
from poolstudy.tracking.dashboard import LOCAL_SERVER

_STATES = {"complete": "green", "pruned": "yellow", "failed": "red", "lost": "red"}
_ONCE = ("best_epoch", "best_val_loss", "best_val_accuracy", "parameter_count", "train_seconds", "images_per_second")
_DIGESTS = ("spec", "data", "weights", "untrained")
_WIDE = 72  # columns from which the tables have their long form
_EIGHTHS = " ▏▎▍▌▋▊▉"

Block = RenderableType
"""What is printed: a plain `str` is a line that is never broken, to be copied whole (an ID, a path, a link)."""


def show_run(text: str, root: Path, console: Console) -> None:
    """Prints the run that a text means: a run's ID, its first digits, or "best".

    Args:
        root: the project's folder.

    Raises:
        RunNotFound: no run is meant, or several are.
        StoreError: there is no store, or it cannot be read.
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
    yield _indented(Text(", ".join(run.files) or "none yet"))
    yield f"  {_folder(run.artifacts)}"
    if server == LOCAL_SERVER:
        yield _indented(Text("and, once `make ui` runs:"))
    yield f"  {run_link(server, run)}"


def _heading(run: StoredRun) -> Iterator[Block]:
    state = Text(run.standing, style=_STATES.get(run.standing, "cyan"))
    what = f"study {run.name}" if run.kind == "study" else f"{run.name} of study {run.study}"
    kind = "" if run.kind in ("study", "trial") else f" ({run.kind})"
    yield Text.assemble((what + kind, "bold"), ": ", state)
    if reason := run.tags.get("poolstudy.reason"):
        yield Text(f"because {reason}")
    yield Text(_when(run))
    yield f"run {run.run_id}"


def _when(run: StoredRun) -> str:
    began = f"began {run.start.astimezone():%Y-%m-%d %H:%M:%S}"
    if run.kind == "study":  # which may have been stopped for a while, and gone on under another process
        return f"{began}, ended {run.end.astimezone():%Y-%m-%d %H:%M:%S}" if run.end else began
    if run.end:
        return f"{began}, took {clock((run.end - run.start).total_seconds())}"
    return f"{began}, under process {run.tags.get('poolstudy.process', 'unknown')}"


# A study's own run


def _study(run: StoredRun) -> Iterator[Block]:
    yield from _section("Settings", _pairs(run.params.items()))
    trials = run.trials()
    counts = Counter(trial.standing for trial in trials)
    runs = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    rows = [("trials", f"{counts['complete'] + counts['pruned']} done"), ("runs", runs or "none yet")]
    if best := run.best():
        metric = run.objective()
        reached = f", {metric} {best.metrics[metric]:.4f}" if metric in best.metrics else ""
        rows.append(("best", f"{best.name}{reached}"))
    yield from _section("Trials", _pairs(rows))
    if best:
        yield f"  {best.run_id}"


# A trial's run


def _trial(run: StoredRun, console: Console) -> Iterator[Block]:
    yield from _section("Spec", _pairs(_spec(run), run.params.get("pooling")))
    once = [(name, _number(name, run.metrics[name])) for name in _ONCE if name in run.metrics]
    if once:
        once.append(("stopped by", run.tags.get("poolstudy.stop_reason", "unknown")))
    history = run.history() or run.logged_epochs()
    nothing = Text("nothing yet" if run.state is None else "nothing: it did not end in good order")
    yield from _section("TrialOutcome", _pairs(once) if once else nothing)
    yield from _section("EpochRunner", _curve(history, console) if history else Text("none ended"))
    if layers := run.table("layers.csv"):
        yield from _section("Layers", _layers(layers, console))
    yield from _section("Attempts at this slot")
    for one in run.attempts():
        yield _indented(Text(f"{one.name}  {one.standing:<11}  {one.run_id}", "bold" if one == run else ""))
    reproductions = run.reproductions()
    if reproductions:
        yield from _section("Reproductions")
    for one in reproductions:
        verdict = one.tags.get("poolstudy.verdict", one.standing)
        yield _indented(Text(f"{verdict:<11}  {one.start.astimezone():%Y-%m-%d %H:%M}  {one.run_id}"))
    yield from _section("SHA-256")
    tags = {name: run.tags.get(f"poolstudy.{name}_digest") for name in _DIGESTS}
    yield from (f"  {name:<9}  {digest}" for name, digest in tags.items() if digest)
    if original := run.tags.get("poolstudy.reproduces"):
        yield f"  reproduces run {original}: {run.tags.get('poolstudy.verdict', 'no verdict')}"
    if text := run.text("environment.json"):
        yield from _section("Computed with", _pairs(_environment(text)))


def _environment(text: str) -> list[tuple[str, str]]:
    """The main points of an environment.json."""
    try:
        return list(_computed_with(json.loads(text)))
    except (ValueError, TypeError, KeyError, AttributeError):  # no JSON, or not what a trial writes
        return [("environment.json", "damaged")]


def _computed_with(found: Any) -> Iterator[tuple[str, str]]:
    code, packages = found.get("code", {}), found.get("packages", {})
    commit = f"commit {code['commit'][:12]}{', changed' if code.get('dirty') else ''}, " if code.get("commit") else ""
    yield "code", f"{commit}source {code.get('source_digest', 'unknown')[:16]}"
    yield "packages", ", ".join(f"{name} {packages.get(name, 'none')}" for name in ("tensorflow", "keras", "numpy"))
    yield "device", f"{found.get('device')}, {found.get('threads')} thread(s), {found.get('processor')}"


def _spec(run: StoredRun) -> Iterator[tuple[str, str]]:
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


def _curve(history: Sequence[EpochRecord], console: Console) -> Block:
    wide = console.width >= _WIDE
    long, short = tuple(EpochRecord.model_fields), ("ep.", "loss", "acc.", "val\nloss", "val\nacc.", "s")
    table = Table(box=None, padding=(0, 1 if wide else 0, 0, 1), pad_edge=False, caption_justify="left")
    for heading in long if wide else short:
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("val_loss" if wide else "", overflow="crop", no_wrap=True)
    highest = max(record.val_loss for record in history) or 1.0
    best = best_epoch(tuple(history))
    for record in history:
        values = (record.loss, record.accuracy, record.val_loss, record.val_accuracy)
        mark = "*" if record.epoch == best else " "
        bar = _bar(record.val_loss / highest, 16 if wide else 2, console)
        seconds = f"{record.seconds:.{1 if wide or record.seconds < 10 else 0}f}"
        cells = (f"{mark}{record.epoch}", *map(_short, values), seconds, bar)
        table.add_row(*cells, style="bold" if record.epoch == best else "")
    table.caption = "* the best: the first of least val_loss"
    return table


def _bar(share: float, width: int, console: Console) -> str:
    """A horizontal bar of that share of the width, in eighths of a character."""
    whole, eighth = divmod(round(share * width * 8), 8)
    return encodable(console, "█" * whole + _EIGHTHS[eighth].strip(), "#" * round(share * width))


def _layers(rows: Sequence[Mapping[str, str]], console: Console) -> Block:
    try:
        told = [_layer(row, console) for row in rows]
    except (KeyError, TypeError, ValueError):  # it lacks a column, a cell, or a number in one
        return Text("layers.csv is damaged")
    wide = console.width >= _WIDE
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("weight", "shape", "untrained", "trained") if wide else ("weight", "untrained,\nthen trained"):
        table.add_column(heading, overflow="fold")
    for weight, shape, before, after in told:
        table.add_row(*((weight, shape, before, after) if wide else (f"{weight}\n  {shape}", f"{before}\n{after}")))
    return table


def _layer(row: Mapping[str, str], console: Console) -> tuple[str, str, str, str]:
    """A weight's name, its shape, and how its values spread before and after the training."""
    name, shape = printable(f"{row['layer']}/{row['weight']}"), printable(row["shape"])
    before, after = (_spread(row, when, console) for when in ("untrained", "trained"))
    return name, shape.strip("(),").replace(", ", "x"), before, after


def _spread(row: Mapping[str, str], when: str, console: Console) -> str:
    mean, deviation = float(row[f"{when}_mean"]), float(row[f"{when}_std"])
    return f"{mean:+.4f} {encodable(console, '±', '+-')} {deviation:.4f}"


# Pieces


def _section(title: str, *content: Block) -> Iterator[Block]:
    yield ""
    yield Text(title, style="bold")
    yield from map(_indented, content)


def _indented(content: Block) -> Block:
    return Padding(content, (0, 0, 0, 2), expand=False)


def _pairs(rows: Iterable[tuple[str, str]], pooling: str | None = None) -> Block:
    """Names and values; the network's in its pooling's colour."""
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


def _number(name: str, value: float) -> str:
    """12345.0 as 12,345; 0.67222 as 0.6722; seconds as 3.6."""
    if name.endswith("seconds"):
        return f"{value:,.1f}"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else _short(value)


def _short(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.5g}"


def _folder(uri: str) -> str:
    """A folder of this machine as a path, any other as its URI."""
    parts = urllib.parse.urlsplit(uri)
    return urllib.request.url2pathname(parts.path) if parts.scheme == "file" else uri
