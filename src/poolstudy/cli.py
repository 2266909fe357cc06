"""Command line. Heavy libraries are imported only by the commands that need them."""

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from poolstudy.errors import MachineError, PoolstudyError, printable

if TYPE_CHECKING:
    from rich.console import Console

    from poolstudy.spec.config import StudyConfig
    from poolstudy.study.run_study import StudyOutcome

_CHECKED = "pooling"
_RUN_HELP = "a run's ID, its first 4 or more digits, or `best` of the latest study"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code: 0 done, 1 no, 2 bad usage, 3 something is missing."""
    options = _parsed(arguments)
    try:
        from poolstudy.spec.load import find_root
        from poolstudy.terminal.console import stdout_console

        return int(options.command(options, find_root(Path.cwd()), stdout_console()))
    except PoolstudyError as error:
        print(f"poolstudy: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("poolstudy: interrupted", file=sys.stderr)
        return 130


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return a command's options; overrides may follow an option, where argparse alone does not accept them."""
    parser = _parser()
    options, left = parser.parse_known_args(arguments)
    if left and ("overrides" not in options or any(word.startswith("-") for word in left)):
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    if left:
        options.overrides = [*options.overrides, *left]
    return options


class _Parser(argparse.ArgumentParser):
    """Parser whose errors fit in one line, whatever the arguments."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message, 1000))


def _parser() -> argparse.ArgumentParser:
    about = "Average or max pooling? A tracked hyperparameter study of small CNNs."
    parser = _Parser(prog="poolstudy", description=about)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(command: Callable[..., int], summary: str) -> argparse.ArgumentParser:
        subparser = commands.add_parser(command.__name__[1:], help=summary, description=command.__doc__)
        subparser.set_defaults(command=command)
        return subparser

    run = add(_run, "run a study, or continue one")
    run.add_argument("experiment", help="a folder in experiments/, or the path of a YAML file")
    run.add_argument("overrides", nargs="*", metavar="key=value", help="such as training.epochs=20 or space=wide")
    run.add_argument("-q", "--quiet", action="store_true", help="print only failures, warnings and the best run's ID")
    show = add(_show, "print one run")
    show.add_argument("run", metavar="ID", help=_RUN_HELP)
    check = add(_check, "check that this machine has what a study needs")
    needs = "experiment whose needs are checked (%(default)s)"
    check.add_argument("experiment", nargs="?", default=_CHECKED, help=needs)
    check.add_argument("overrides", nargs="*", metavar="key=value", help="as for run")
    again = add(_reproduce, "train a run again and compare the results")
    record = f"{_RUN_HELP}; or a best.json (%(default)s)"
    again.add_argument("run", nargs="?", default="best", metavar="ID", help=record)
    again.add_argument("--strict", action="store_true", help="accept only identical results")
    threads = _from_1_to(1024, "a number of threads")
    again.add_argument("--threads", type=threads, help="threads per operation (default: as in the original)")
    data = "folder of the data files (default: as in the original)"
    again.add_argument("--data", type=_folder, metavar="FOLDER", help=data)
    freeze = add(_freeze, "write a run's record to a file for git")
    freeze.add_argument("run", nargs="?", default="best", metavar="ID", help=f"{_RUN_HELP} (%(default)s)")
    doctor = add(_doctor, "check that Optuna, MLflow and the files agree")
    doctor.add_argument("--fix", action="store_true", help="fix what can be fixed, after saying what will be done")
    compare = add(_compare, "compare runs side by side on one page")
    compared = f"{_RUN_HELP}; by default the best five of the latest study"
    compare.add_argument("runs", nargs="*", metavar="ID", help=compared)
    report = add(_report, "write a report on a study")
    ui = add(_ui, "start MLflow's pages and open the study's charts")
    for command in (report, ui):
        command.add_argument("study", nargs="?", help="which study; the latest one if left out")
    ui.add_argument("--port", type=_from_1_to(65535, "a port"), default=5000, help="port on this machine (%(default)s)")
    return parser


def _from_1_to(most: int, what: str) -> Callable[[str], int]:
    def number(text: str) -> int:
        if text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}: expected 1 to {most}")

    return number


def _folder(text: str) -> Path:
    if Path(text).is_dir():
        return Path(text).resolve()
    raise argparse.ArgumentTypeError(f"{text!r} is not a folder")


def _run(options: argparse.Namespace, root: Path, console: "Console") -> int:
    """Train the trials of a study, or continue where an earlier run stopped."""
    from poolstudy.spec.load import load_config

    config = load_config(options.experiment, options.overrides, root)
    from poolstudy.study.run_study import run_study

    outcome = run_study(config, root, console, quiet=options.quiet)
    if options.quiet:
        print(outcome.best_run)
    else:
        _print_outcome(console, config, outcome)
    return 128 + outcome.interrupted if outcome.interrupted else 0


def _print_outcome(console: "Console", config: "StudyConfig", outcome: "StudyOutcome") -> None:
    from poolstudy.terminal.display import leaderboard

    console.print(leaderboard(outcome.best, config.study.objective.metric))
    if outcome.exhausted:
        console.print(f"The space holds no other configuration: ended with {outcome.done} trials.")
    best = outcome.best_run
    console.print(f"Best run: {best}" if best else "No best run: no complete trial has a run.", soft_wrap=True)
    console.print(f"See the trials side by side: make ui, then {outcome.dashboard}", soft_wrap=True)
    if outcome.interrupted:
        console.print("Interrupted. The same command goes on from here.")
    elif outcome.done < config.study.trials and not outcome.exhausted:
        done = f"{outcome.done} of {config.study.trials}"
        console.print(f"study.timeout ended it with {done} trials. The same command goes on from here.")


def _show(options: argparse.Namespace, root: Path, console: "Console") -> int:
    """Print a run's settings, its results epoch by epoch, and where its files are."""
    from poolstudy.reports.run import show_run

    show_run(options.run, root, console)
    return 0


def _reproduce(options: argparse.Namespace, root: Path, console: "Console") -> int:
    """Train a run again from its record. Exit code 0: identical or equivalent; 1: different."""
    from poolstudy.reproduce.printing import print_outcome
    from poolstudy.reproduce.reproduction import reproduce

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the run is closed
    outcome = reproduce(options.run, root, console, threads=options.threads, data=options.data)
    print_outcome(outcome, console)
    console.print(f"Reproduction: {outcome.run_id}", soft_wrap=True)
    accepted = ("identical",) if options.strict else ("identical", "equivalent")
    return 0 if outcome.verdict.word in accepted else 1


def _freeze(options: argparse.Namespace, root: Path, console: "Console") -> int:
    """Write everything that is needed to reproduce a run to experiments/<study>/best.json."""
    from poolstudy.reproduce.reproduction import freeze

    path = os.path.relpath(freeze(options.run, root))
    console.print(f"{path}\nReproduce it anywhere: poolstudy reproduce {path}", soft_wrap=True)
    return 0


def _check(options: argparse.Namespace, root: Path, console: "Console") -> int:
    """Check that this machine has what a study needs; say what to do if it has not."""
    from poolstudy.checks.machine import check_machine
    from poolstudy.spec.load import load_config

    if "=" in options.experiment:  # an override without an experiment
        options.experiment, options.overrides = _CHECKED, [options.experiment, *options.overrides]
    config = load_config(options.experiment, options.overrides, root)
    return 0 if check_machine(config, root, console) else MachineError.exit_code


def _doctor(options: argparse.Namespace, root: Path, console: "Console") -> int:
    """Check that the Optuna and MLflow databases and the runs' files agree. Exit code 1: a difference remains."""
    from poolstudy.checks.doctor import examine

    return 0 if examine(root, console, fix=options.fix) else 1


def _compare(options: argparse.Namespace, root: Path, console: "Console") -> int:
    """Compare 2 to 50 runs: write a page that opens offline, and a picture; both are logged to MLflow."""
    from poolstudy.reports.runs import compare

    made = compare(options.runs, root)
    for note in made.notes:
        print(f"poolstudy: {note}", file=sys.stderr)
    files = os.path.relpath(made.page), os.path.relpath(made.picture)
    console.print(*files, f"and as compare/ of run {made.run_id}", sep="\n", soft_wrap=True)
    return 0


def _report(options: argparse.Namespace, root: Path, console: "Console") -> int:
    """Report on a study: write a page that opens offline, plots and a table; all are logged to MLflow."""
    from poolstudy.reports.study import report

    made = report(options.study, root)
    files = os.path.relpath(made.page), os.path.relpath(made.table)
    console.print(*files, f"and as report/ of run {made.run_id}", sep="\n", soft_wrap=True)
    return 0


def _ui(options: argparse.Namespace, root: Path, console: "Console") -> int:
    """Start MLflow's pages on this machine and print the link to the study's charts."""
    from poolstudy.tracking.dashboard import LOCAL_NAME
    from poolstudy.tracking.server import HOST, open_browser, serving

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the server is ended
    with serving(root, options.study, options.port) as link:
        console.print(link, soft_wrap=True)
        if LOCAL_NAME in link:
            console.print(f"If the browser does not find {LOCAL_NAME}, use {HOST} instead.", soft_wrap=True)
        console.print("Press Ctrl-C to stop.")
        open_browser(link)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0
