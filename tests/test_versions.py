"""What an older version wrote is read, continued and reproduced by this one.

`fixtures/version-0.1.0.tar.xz` is a project that version 0.1.0 ran: eight trials on scikit-learn's digits, one of them
pruned and drawn, two interrupted by kill -9 and tried again, a reproduction, and the best run frozen.
"""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from books import check_agreement, runs, trials
from conftest import REPOSITORY, Command
from mlflow import MlflowClient

from poolstudy.reproduce.record import RunRecord
from poolstudy.spec.records import TrialSpec

pytestmark = pytest.mark.slow

ARCHIVE = REPOSITORY / "tests" / "fixtures" / "version-0.1.0.tar.xz"
FROZEN = "experiments/legacy/best.json"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, poolstudy: Command) -> Path:
    """The project at another place: the doctor tells MLflow where its files lie now."""
    root = tmp_path_factory.mktemp("versions")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(root, filter="data")
    assert poolstudy(root, "doctor", "--fix").returncode == 0
    return root


def said(command: Any) -> str:
    assert command.returncode == 0, command.stderr
    return str(command.stdout)


def test_the_archive_is_small() -> None:
    assert ARCHIVE.stat().st_size < 1_000_000


def test_nothing_disagrees(project: Path, poolstudy: Command) -> None:
    assert said(poolstudy(project, "doctor")) == "1 study: nothing disagrees\n"
    check_agreement(project, "legacy")


def test_every_spec_has_the_digest_that_its_run_was_given(project: Path) -> None:
    found = runs(project, "legacy")
    assert len(found) == 10  # eight slots, two of them tried twice
    for run in found:
        text = Path(run.info.artifact_uri.removeprefix("file://"), "spec.json").read_text()
        spec = TrialSpec.model_validate_json(text)
        assert spec.digest == run.data.tags["poolstudy.spec_digest"]
        assert spec.model_dump(mode="json") == json.loads(text)


def test_runs_and_the_study_are_shown_compared_and_reported(project: Path, poolstudy: Command) -> None:
    best = said(poolstudy(project, "show", "best"))
    assert "best_val_accuracy  0.7917" in best
    pruned = next(run for run in runs(project, "legacy") if run.data.tags["poolstudy.state"] == "pruned")
    assert "most_wrong.png" in said(poolstudy(project, "show", pruned.info.run_id))
    assert ".png" in said(poolstudy(project, "compare", "best", pruned.info.run_id))
    assert "report.html" in said(poolstudy(project, "report", "legacy"))


@pytest.mark.parametrize("which", ["best", "pruned", FROZEN])
def test_runs_are_reproduced_bit_for_bit(project: Path, poolstudy: Command, which: str) -> None:
    if which == "pruned":
        which = next(run.info.run_id for run in runs(project, "legacy") if run.data.tags["poolstudy.state"] == "pruned")
    assert "identical: bit for bit" in said(poolstudy(project, "reproduce", which, "--strict"))


def test_the_study_goes_on(project: Path, poolstudy: Command) -> None:
    before = {trial.number: trial.params for trial in trials(project, "legacy")}
    assert "10 of 10 trials done" in said(poolstudy(project, "run", "legacy", "study.trials=10"))
    after = {trial.number: trial.params for trial in trials(project, "legacy")}
    assert {number: after[number] for number in before} == before
    check_agreement(project, "legacy")
    assert said(poolstudy(project, "doctor")) == "1 study: nothing disagrees\n"


def test_a_study_with_another_setting_of_a_new_field_is_another_study(project: Path, poolstudy: Command) -> None:
    refused = poolstudy(project, "run", "legacy", "study.trials=10", "space.learning_rate=0.01")
    assert refused.returncode == 2
    assert "space.learning_rate is None, asked for nothing" in refused.stderr


def later(content: dict[str, Any]) -> str:
    """Return a spec with a key that no version has yet."""
    content["hyperparameters"]["stride"] = 2
    return json.dumps(content)


def test_a_spec_of_a_later_version_is_refused_and_not_called_tampered(project: Path, poolstudy: Command) -> None:
    run = next(run for run in runs(project, "legacy") if run.data.tags["poolstudy.state"] == "complete")
    spec = Path(run.info.artifact_uri.removeprefix("file://"), "spec.json")
    before = spec.read_text()
    MlflowClient(f"sqlite:///{project / 'mlruns' / 'mlflow.db'}").log_text(
        run.info.run_id, later(json.loads(before)), "spec.json"
    )
    refused = poolstudy(project, "reproduce", run.info.run_id)
    spec.write_text(before)
    assert refused.returncode == 3
    (line,) = refused.stderr.splitlines()
    assert "spec.json" in line
    assert "hyperparameters.stride, which this version does not know" in line
    assert "update poolstudy" in line


def test_a_record_of_a_later_version_is_refused_and_not_called_tampered(project: Path, poolstudy: Command) -> None:
    from poolstudy.spec.records import digest_of

    content = json.loads((project / FROZEN).read_text())
    content["spec"]["hyperparameters"]["stride"] = 2
    content["sha256"] = digest_of({key: value for key, value in content.items() if key != "sha256"})
    file = project / "later.json"
    file.write_text(json.dumps(content))
    refused = poolstudy(project, "reproduce", str(file))
    assert refused.returncode == 3
    assert "later.json has spec.hyperparameters.stride, which this version does not know" in refused.stderr


@pytest.mark.parametrize("name", ["digits", "pooling"])
def test_what_was_frozen_is_read_to_the_same_digests(name: str) -> None:
    text = (REPOSITORY / "experiments" / name / "best.json").read_text()
    record = RunRecord.from_json(text, name)
    assert record.spec.model_dump(mode="json") == json.loads(text)["spec"]
    assert json.loads(record.to_json()) == json.loads(text)
