import subprocess
import sys

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
