"""Table, plot and JSON file of the measured runs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from pydantic import TypeAdapter

from benchmarks.cases import DENSE_UNITS, Job, TrialDone
from benchmarks.ceiling import step_flops
from benchmarks.contenders import CONTENDERS
from benchmarks.measure import Taken
from poolstudy.spec.layers import layers
from poolstudy.system.files import replacing

_REFERENCE = "plain"  # its time is 100 %


@dataclass(frozen=True)
class Run:
    """One run of a contender; `code` is the digest of the code that ran (`code_digest`)."""

    contender: str
    taken: Taken
    trials: tuple[TrialDone, ...]
    when: str
    versions: dict[str, str]
    code: str = ""


@dataclass(frozen=True)
class Record:
    """All runs of a job on a machine; `gflops` has the ceiling of each round."""

    job: Job
    machine: str
    runs: tuple[Run, ...] = ()
    gflops: tuple[float, ...] = ()

    def of(self, contender: str) -> list[Run]:
        return [run for run in self.runs if run.contender == contender]

    def save(self, file: Path) -> None:
        with replacing(file) as part:
            part.write_bytes(RECORD.dump_json(self, indent=1))


RECORD = TypeAdapter(Record)


def ceiling_seconds(job: Job, gflops: float) -> float:
    """Return the seconds of the job if all arithmetic of its training steps runs at this speed, without validation."""
    per_image = sum(step_flops(layers(one, (28, 28, 1), 10, DENSE_UNITS)) for one in job.configurations)
    return per_image * job.images * job.epochs / (gflops * 1e9)


def figures(record: Record) -> list[dict[str, Any]]:
    """Return a row for each contender: medians over its runs, and its least and most wall time."""
    trained = record.job.trials * record.job.images * record.job.epochs
    reference = [run.taken.seconds for run in record.of(_REFERENCE)]
    limit = ceiling_seconds(record.job, max(record.gflops)) if record.gflops else None
    rows = []
    for name in CONTENDERS:
        runs = record.of(name)
        if not runs:
            continue
        walls = [run.taken.seconds for run in runs]
        wall = median(walls)
        rows.append(
            {
                "contender": name,
                "n": len(runs),
                "wall": wall,
                "least": min(walls),
                "most": max(walls),
                "of_plain": wall / median(reference) if reference else None,
                "training": median(sum(trial.seconds for trial in run.trials) for run in runs),
                "cpu": median(run.taken.cpu_seconds for run in runs),
                "peak_mib": median(run.taken.peak_mib for run in runs),
                "images_per_second": trained / wall,
                "of_ceiling": limit / wall if limit else None,
                "accuracy": median(mean(trial.val_accuracy for trial in run.trials) for run in runs),
            }
        )
    return rows


_HEADINGS = (
    "contender | n | wall (least to most) | of the script's | training, summed | CPU | memory "
    "| images/s | of the ceiling | mean val. accuracy"
)


def table(record: Record) -> str:
    """Return the figures and the accuracies as Markdown."""
    job = record.job
    head = (
        f"{job.trials} networks, {job.epochs} epochs, batch 32, {job.images:,} training and 12,000 validation images; "
        f"{record.machine}. Medians of n runs, the contenders in turn."
    )
    rows = [head, "", f"| {_HEADINGS} |", "|" + " --- |" * (_HEADINGS.count("|") + 1)]
    rows += [f"| {' | '.join(_cells(row))} |" for row in figures(record)]
    if record.gflops:
        best = max(record.gflops)
        seconds = ceiling_seconds(job, best)
        images = job.trials * job.images * job.epochs / seconds
        rows.append(f"| ceiling: {best:.0f} GFLOP/s | {len(record.gflops)} | {seconds:.0f} s |||||{images:,.0f} |||")
    return "\n".join([*rows, "", *_accuracies(record), ""])


def _cells(row: dict[str, Any]) -> list[str]:
    def percent(share: float | None) -> str:
        return "" if share is None else f"{share:.0%}"

    return [
        CONTENDERS[row["contender"]].title,
        str(row["n"]),
        f"{row['wall']:.0f} s ({row['least']:.0f} to {row['most']:.0f})",
        percent(row["of_plain"]),
        f"{row['training']:.0f} s",
        f"{row['cpu']:.0f} s",
        f"{row['peak_mib']:,.0f} MiB",
        f"{row['images_per_second']:,.0f}",
        percent(row["of_ceiling"]),
        f"{row['accuracy']:.4f}",
    ]


def _accuracies(record: Record) -> list[str]:
    """Return each network's validation accuracy with each contender, the mean over its runs."""
    names = [name for name in CONTENDERS if record.of(name)]
    rows = [f"| validation accuracy | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for place, network in enumerate(record.job.configurations):
        values = [_accuracy(record.of(name), place) for name in names]
        rows.append(f"| {network.title()} | {' | '.join(values)} |")
    return rows


def _accuracy(runs: Sequence[Run], place: int) -> str:
    found = [trial.val_accuracy for run in runs for trial in run.trials if trial.configuration == place]
    return f"{mean(found):.4f}" if found else ""


def plot(record: Record, file: Path) -> None:
    """Plot the wall time of each contender: a bar to the median, a dot for each run, the ceiling as a line.

    In greys, because the two colours of this project mean the poolings.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rows = figures(record)[::-1]
    figure, axis = plt.subplots(figsize=(8, 0.7 * len(rows) + 1.4), layout="constrained")
    for height, row in enumerate(rows):
        ours = row["contender"] == "poolstudy"
        axis.barh(height, row["wall"], height=0.55, color="#3f4a55" if ours else "#c3c9ce")
        walls = [run.taken.seconds for run in record.of(row["contender"])]
        axis.plot(walls, [height] * len(walls), "o", color="black", markersize=3)
        share = f", {row['of_plain']:.0%} of the script's" if row["of_plain"] else ""
        axis.annotate(
            f"{row['wall']:.0f} s{share if row['contender'] != _REFERENCE else ''}",
            (max(walls), height),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axis.set_yticks(range(len(rows)), [CONTENDERS[row["contender"]].title for row in rows])
    axis.set_xlim(0, 1.7 * max(row["most"] for row in rows))
    if record.gflops:
        limit = ceiling_seconds(record.job, max(record.gflops))
        axis.axvline(limit, color="#222222", linewidth=1.0, linestyle="--")
        axis.annotate(
            f"all arithmetic at {max(record.gflops):.0f} GFLOP/s: {limit:.0f} s",
            (limit, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4),
            textcoords="offset points",
            color="#222222",
            fontsize=8,
        )
    job = record.job
    axis.set_xlabel(
        f"seconds for {job.trials} networks, {job.epochs} epochs, {job.images:,} images\n{record.machine}", fontsize=8
    )
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(left=False)
    figure.savefig(file, dpi=150)
    plt.close(figure)


def write(record: Record, folder: Path) -> str:
    """Write table.md, plot.png and figures.json into a folder; return the table."""
    text = table(record)
    (folder / "table.md").write_text(text)
    (folder / "figures.json").write_text(json.dumps(figures(record), indent=1) + "\n")
    plot(record, folder / "plot.png")
    return text
