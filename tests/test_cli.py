import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from poolstudy.cli import main

HEAVY = ("tensorflow", "keras", "mlflow", "optuna", "pydantic", "hydra", "numpy", "rich")


def test_help_needs_nothing_heavy() -> None:
    script = (
        "import sys; from poolstudy.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "[]"
    assert "run a study, or go on with one" in said.stdout


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
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "poolstudy: study.trials: 0; expected greater than or equal to 1; "
        "change it in the experiment or on the command line\n"
    )


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
def test_a_word_of_the_makefile_is_a_command_of_the_program(words: list[str], command: str) -> None:
    alone = {"PATH": os.environ["PATH"]}  # without what a `make test` around it would pass on
    said = subprocess.run(["make", "-n", *words], cwd=REPOSITORY, env=alone, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1].split() == [".venv/bin/poolstudy", *command.split()]


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


@pytest.mark.parametrize("command", ["show", "reproduce", "freeze", "run", "ui"])
def test_whatever_is_named_is_answered_in_one_line_and_nothing_is_written(
    command: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ending = {"run": ".yaml", "reproduce": ".json"}.get(command)
    for text in [*STRANGE, *(f"{text}{ending}" for text in STRANGE if ending)]:
        # A run's ID is looked at before the store is; which studies there are only the store knows.
        assert main([command, text]) == (3 if command == "ui" else 2), text
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("poolstudy: ")
        assert said.err[:-1].isprintable()
        assert len(said.err) < 3000
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
    ],
)
def test_options_are_checked_before_anything_else(
    arguments: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("poolstudy")
    assert said[-1].isprintable()
    assert len(said[-1]) < 1200
    assert list(project.glob("mlruns/*")) == []
