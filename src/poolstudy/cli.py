"""The command line: reads it, calls, prints. Everything heavy is imported where it is needed."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
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
    """Runs a command; returns the exit code: 0 done, 1 no, 2 bad usage, 3 something is missing."""
    options = _parsed(arguments)
    try:
        return int(options.command(options))
    except PoolstudyError as error:
        print(f"poolstudy: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("poolstudy: interrupted", file=sys.stderr)
        return 130


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command; overrides may also stand after an option, where argparse alone leaves them over."""
    parser = _parser()
    options, left = parser.parse_known_args(arguments)
    if left and ("overrides" not in options or any(one.startswith("-") for one in left)):
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    if left:
        options.overrides = [*options.overrides, *left]
    return options


class _Parser(argparse.ArgumentParser):
    """Repeats what it was given in one line, whatever that was."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message, 1000))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="poolstudy", description="Average or max pooling? A tracked hyperparameter study of small CNNs."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a study, or go on with one", description=_run.__doc__)
    run.add_argument("experiment", help="a folder of experiments/, or the path of a YAML file")
    run.add_argument("overrides", nargs="*", metavar="key=value", help="such as training.epochs=20 or space=wide")
    run.add_argument("-q", "--quiet", action="store_true", help="print failures and the best run's ID, nothing else")
    run.set_defaults(command=_run)
    show = commands.add_parser("show", help="one run in the terminal", description=_show.__doc__)
    show.add_argument("run", metavar="ID", help=_RUN_HELP)
    show.set_defaults(command=_show)
    check = commands.add_parser("check", help="what this machine has, and what it lacks", description=_check.__doc__)
    check.add_argument("experiment", nargs="?", default=_CHECKED, help="whose data and settings (%(default)s)")
    check.add_argument("overrides", nargs="*", metavar="key=value", help="as for `run`")
    check.set_defaults(command=_check)
    again = commands.add_parser(
        "reproduce", help="train a run again and prove that it comes out the same", description=_reproduce.__doc__
    )
    again.add_argument(
        "run", nargs="?", default="best", metavar="ID", help=f"{_RUN_HELP}; or a best.json (%(default)s)"
    )
    again.add_argument("--strict", action="store_true", help="accept `identical` only")
    again.add_argument("--threads", type=_threads, help="threads of one operation, if not the original's")
    again.add_argument(
        "--data", type=_folder, metavar="FOLDER", help="where the data's files are, if not where the original had them"
    )
    again.set_defaults(command=_reproduce)
    freeze = commands.add_parser("freeze", help="write a run's claim to a file for git", description=_freeze.__doc__)
    freeze.add_argument("run", nargs="?", default="best", metavar="ID", help=f"{_RUN_HELP} (%(default)s)")
    freeze.set_defaults(command=_freeze)
    doctor = commands.add_parser(
        "doctor", help="whether Optuna, MLflow and the files agree; mends them", description=_doctor.__doc__
    )
    doctor.add_argument("--fix", action="store_true", help="mend what can be mended, after saying what will be done")
    doctor.set_defaults(command=_doctor)
    compare = commands.add_parser("compare", help="runs side by side on one page", description=_compare.__doc__)
    compare.add_argument(
        "runs", nargs="*", metavar="ID", help=f"{_RUN_HELP}; the best five of the latest study if none is named"
    )
    compare.set_defaults(command=_compare)
    report = commands.add_parser("report", help="a study on one page", description=_report.__doc__)
    report.add_argument("study", nargs="?", help="which study; the latest one if left out")
    report.set_defaults(command=_report)
    ui = commands.add_parser("ui", help="open MLflow's pages at the study's charts", description=_ui.__doc__)
    ui.add_argument("study", nargs="?", help="which study; the latest one if left out")
    ui.add_argument("--port", type=_port, default=5000, help="port on this machine (%(default)s)")
    ui.set_defaults(command=_ui)
    return parser


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _port(text: str) -> int:
    if _is_number(text) and 0 < int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 1 to 65535")


def _folder(text: str) -> Path:
    if Path(text).is_dir():
        return Path(text).resolve()
    raise argparse.ArgumentTypeError(f"{text!r} is no folder")


def _threads(text: str) -> int:
    if _is_number(text) and 0 < int(text) <= 1024:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of threads: from 1 to 1024")


def _say(*lines: str) -> None:
    """Prints lines that are to be copied whole, whatever they hold."""
    from poolstudy.terminal.console import stdout_console

    stdout_console().print(*lines, sep="\n", soft_wrap=True)


def _run(options: argparse.Namespace) -> int:
    """Trains the trials of a study; run again, it goes on where it stopped."""
    from poolstudy.spec.load import find_root, load_config
    from poolstudy.terminal.console import stdout_console

    root = find_root(Path.cwd())
    config = load_config(options.experiment, options.overrides, root)
    from poolstudy.study.run_study import run_study

    console = stdout_console()
    outcome = run_study(config, root, console, quiet=options.quiet)
    if options.quiet:
        print(outcome.best_run)
        return 128 + outcome.interrupted if outcome.interrupted else 0
    _print_outcome(console, config, outcome)
    if outcome.interrupted:
        console.print("Interrupted. The same command goes on from here.")
        return 128 + outcome.interrupted
    if outcome.done < config.study.trials and not outcome.exhausted:
        done = f"{outcome.done} of {config.study.trials}"
        console.print(f"study.timeout ended it with {done} trials. The same command goes on from here.")
    return 0


def _print_outcome(console: "Console", config: "StudyConfig", outcome: "StudyOutcome") -> None:
    from poolstudy.terminal.display import leaderboard

    console.print(leaderboard(outcome.best, config.study.objective.metric))
    if outcome.exhausted:
        console.print(f"The space holds no other configuration: ended with {outcome.done} trials.")
    best = outcome.best_run
    console.print(f"Best run: {best}" if best else "No best run: no complete trial has a run.", soft_wrap=True)
    console.print(f"See the trials side by side: make ui, then {outcome.dashboard}", soft_wrap=True)


def _show(options: argparse.Namespace) -> int:
    """Prints what a run was, what it reached, epoch by epoch, and where its files are."""
    from poolstudy.reports.run import show_run
    from poolstudy.spec.load import find_root
    from poolstudy.terminal.console import stdout_console

    show_run(options.run, find_root(Path.cwd()), stdout_console())
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    """Trains a run again from what it says of itself. Exit code 0: identical or equivalent; 1: different."""
    from poolstudy.reproduce.reproduction import print_outcome, reproduce
    from poolstudy.spec.load import find_root
    from poolstudy.terminal.console import stdout_console

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # either way its run is closed
    console = stdout_console()
    outcome = reproduce(
        options.run,
        find_root(Path.cwd()),
        console,
        threads=options.threads,
        data=options.data,
    )
    print_outcome(outcome, console)
    console.print(f"Reproduction: {outcome.run_id}", soft_wrap=True)
    accepted = ("identical",) if options.strict else ("identical", "equivalent")
    return 0 if outcome.verdict.word in accepted else 1


def _freeze(options: argparse.Namespace) -> int:
    """Writes all that it takes to reproduce a run to experiments/<study>/best.json."""
    from poolstudy.reproduce.reproduction import freeze
    from poolstudy.spec.load import find_root

    path = os.path.relpath(freeze(options.run, find_root(Path.cwd())))
    _say(path, f"Reproduce it anywhere: poolstudy reproduce {path}")
    return 0


def _check(options: argparse.Namespace) -> int:
    """Looks whether this machine has what a study needs; says what to do where it has not."""
    from poolstudy.checks.machine import check_machine
    from poolstudy.spec.load import find_root, load_config
    from poolstudy.terminal.console import stdout_console

    if "=" in options.experiment:  # no experiment was named, and an override stands in its place
        options.experiment, options.overrides = _CHECKED, [options.experiment, *options.overrides]
    root = find_root(Path.cwd())
    config = load_config(options.experiment, options.overrides, root)
    return 0 if check_machine(config, root, stdout_console()) else MachineError.exit_code


def _doctor(options: argparse.Namespace) -> int:
    """Looks whether Optuna's book, MLflow's and every run's files agree. Exit code 1: a disagreement remains."""
    from poolstudy.checks.doctor import examine
    from poolstudy.spec.load import find_root
    from poolstudy.terminal.console import stdout_console

    return 0 if examine(find_root(Path.cwd()), stdout_console(), fix=options.fix) else 1


def _compare(options: argparse.Namespace) -> int:
    """Puts 2 to 50 runs side by side: a page that opens without a network, and a picture; both go to MLflow too."""
    from poolstudy.reports.runs import compare
    from poolstudy.spec.load import find_root

    made = compare(options.runs, find_root(Path.cwd()))
    for note in made.notes:
        print(f"poolstudy: {note}", file=sys.stderr)
    _say(os.path.relpath(made.page), os.path.relpath(made.picture), f"and as compare/ of run {made.run_id}")
    return 0


def _report(options: argparse.Namespace) -> int:
    """Reports on a study: a page that opens without a network, its plots as pictures, and a table; all go to MLflow."""
    from poolstudy.reports.study import report
    from poolstudy.spec.load import find_root

    made = report(options.study, find_root(Path.cwd()))
    _say(os.path.relpath(made.page), os.path.relpath(made.table), f"and as report/ of run {made.run_id}")
    return 0


def _ui(options: argparse.Namespace) -> int:
    """Starts MLflow's pages on this machine and prints the link to the study's charts."""
    from poolstudy.spec.load import find_root
    from poolstudy.tracking.dashboard import LOCAL_NAME
    from poolstudy.tracking.server import HOST, open_browser, serving

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server ends with us either way
    with serving(find_root(Path.cwd()), options.study, options.port) as link:
        _say(link)
        if LOCAL_NAME in link:
            _say(f"If the browser finds no {LOCAL_NAME}, put {HOST} in its place.")
        _say("Ctrl-C ends it.")
        open_browser(link)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
    return 0
