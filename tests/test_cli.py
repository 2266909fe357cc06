import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from conftest import REPOSITORY, Command, make_spec
from rich.console import Console

from poolstudy.cli import _parsed, _print_outcome, main
from poolstudy.spec.load import load_config
from poolstudy.spec.records import CountedTrial
from poolstudy.study.run_study import StudyOutcome, _best_run
from poolstudy.terminal.console import stdout_console

ONE, TWO = "1" * 32, "2" * 32
HEAVY = ("tensorflow", "keras", "mlflow", "optuna", "pydantic", "hydra", "numpy", "rich")


def test_help_imports_no_heavy_library() -> None:
    script = (
        "import sys; from poolstudy.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "run a study, or continue one" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["run"], ["ui", "--port", "many"], ["ui", "--port", "70000"]])
def test_bad_usage_ends_with_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: poolstudy" in capsys.readouterr().err


def test_a_bad_override_ends_with_one_line_and_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert main(["run", "pooling", "study.trials=0"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "poolstudy: study.trials: 0; expected greater than or equal to 1; "
        "change it in the experiment or on the command line\n"
    )


@pytest.mark.slow
def test_ascii_is_enough_for_a_study(project: Path, poolstudy: Command) -> None:
    done = poolstudy(project, "run", "tiny", "study.trials=1", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"\ntrial-0001  starts  (average|max) 2x2 \? [23]-[23] filters \? dropout", done.stdout)


def test_lines_to_copy_are_printed_unwrapped_in_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setenv("COLUMNS", "10")
    stdout_console().print("mlruns/é-2-runs.html", "[bold] and :smile: and more", sep="\n", soft_wrap=True)
    assert raw.getvalue() == b"mlruns/?-2-runs.html\n[bold] and :smile: and more\n"


@pytest.mark.parametrize(
    ("ended", "best", "line"),
    [
        ([("complete", 0.75, ONE), ("complete", 0.5, TWO)], ONE, f"Best run: {ONE}"),
        ([("complete", 0.75, ""), ("complete", 0.5, TWO)], TWO, f"Best run: {TWO}"),
        ([("pruned", 0.75, ONE)], "", "No best run: no complete trial has a run."),
        ([], "", "No best run: no complete trial has a run."),
    ],
)
def test_the_best_run_belongs_to_a_complete_trial(
    ended: list[tuple[Literal["complete", "pruned"], float, str]], best: str, line: str, project: Path
) -> None:
    network = make_spec().hyperparameters
    trials = [
        CountedTrial(slot=slot, state=state, objective=value, run_id=run_id, hyperparameters=network)
        for slot, (state, value, run_id) in enumerate(ended, start=1)
    ]
    outcome = StudyOutcome(
        len(trials), trials, _best_run(trials), exhausted=False, interrupted=None, dashboard="http://x"
    )
    assert outcome.best_run == best
    file = io.StringIO()
    _print_outcome(Console(file=file, width=80), load_config("tiny", [], project), outcome)
    assert line in file.getvalue().splitlines()


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["study", "ARGS=study.trials=60 space=wide"], "run pooling study.trials=60 space=wide"),
        (["smoke"], "run smoke"),
        (["reproduce", "RUN=abcd", "ARGS=--strict"], "reproduce abcd --strict"),
        (["reproduce"], "reproduce best"),
        (["compare", "RUNS=abcd ef01"], "compare abcd ef01"),
        (["compare"], "compare"),
        (["report", "ARGS=tiny"], "report tiny"),
        (["ui", "ARGS=--port 5001"], "ui --port 5001"),
        (["doctor", "ARGS=--fix"], "doctor --fix"),
    ],
)
def test_a_target_of_the_makefile_runs_a_command(words: list[str], command: str) -> None:
    alone = {"PATH": os.environ["PATH"]}  # without the variables of an outer `make test`
    done = subprocess.run(["make", "-n", *words], cwd=REPOSITORY, env=alone, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == [".venv/bin/poolstudy", *command.split()]


STRANGE = [
    "",
    " ",
    "../x",
    "a/b",
    "/etc/passwd",
    "é",
    "数",
    "x\ny",
    "\x1b[31m",
    "a" * 10_000,
    "*",
    "%",
    "'; --",
    "0" * 33,
]


@pytest.mark.parametrize(
    "arguments",
    [
        ["-q", "tiny", "study.trials=60", "study.seed=0"],
        ["tiny", "-q", "study.trials=60", "study.seed=0"],
        ["tiny", "study.trials=60", "-q", "study.seed=0"],
        ["tiny", "study.trials=60", "study.seed=0", "-q"],
    ],
)
def test_an_option_may_stand_anywhere_among_the_overrides(arguments: list[str]) -> None:
    options = _parsed(["run", *arguments])
    assert (options.experiment, options.quiet) == ("tiny", True)
    assert options.overrides == ["study.trials=60", "study.seed=0"]


@pytest.mark.parametrize("command", ["show", "reproduce", "freeze", "run", "ui"])
def test_a_wrong_name_is_refused_in_one_line_and_nothing_is_written(
    command: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ending = {"run": ".yaml", "reproduce": ".json"}.get(command)
    for text in [*STRANGE, *(f"{text}{ending}" for text in STRANGE if ending)]:
        # A run's ID is checked before the store is opened; a study's name needs the store.
        assert main([command, text]) == (3 if command == "ui" else 2), text
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("poolstudy: ")
        assert printed.err[:-1].isprintable()
        assert len(printed.err) < 3000
    assert list(project.glob("mlruns/*")) == []


@pytest.mark.parametrize(
    "arguments",
    [
        *(["ui", "--port", port] for port in ("0", "-1", "65536", "", "\u0661\u0662", "1e3", "9" * 5000, "80 ")),
        *(["reproduce", "best", "--threads", threads] for threads in ("0", "-1", "1025", "", "two", "9" * 5000)),
        ["reproduce", "best", "--data", "nowhere"],
        ["doctor", "all"],
        ["doctor", "--fixx"],
        ["doctor", "x\x1b[31m\x0cy"],
        ["show"],
        ["show", "a", "b"],
        ["ui", "--port", "5000", "a", "b"],
        ["run", "tiny", "-q", "study.trials=60", "--fast"],
        ["check", "tiny", "--fast", "study.trials=60"],
    ],
)
def test_options_are_checked_before_anything_else(
    arguments: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert last_line.startswith("poolstudy")
    assert last_line.isprintable()
    assert len(last_line) < 1200
    assert list(project.glob("mlruns/*")) == []
