"""The tracker with MLflow on SQLite in a temporary folder."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from books import STATUS
from conftest import make_result, make_spec, open_trial
from damage import deleting
from mlflow import MlflowClient
from PIL import Image

from poolstudy.errors import StoreError
from poolstudy.spec.records import State, TrialSpec
from poolstudy.tracking import Tracker, dashboard_link, is_own, latest_study, move, moved, resolved_uri

SPEC = make_spec()
RESULT = make_result([1.25])
RECORD = RESULT.best


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tracking")


@pytest.fixture
def tracker(root: Path) -> Tracker:
    return Tracker("sqlite:///mlruns/mlflow.db", "mlruns/artifacts", "s", root)


@pytest.fixture
def client(tracker: Tracker) -> MlflowClient:
    return MlflowClient(tracker.uri)


def test_a_run_carries_the_contract(tracker: Tracker, client: MlflowClient, tmp_path: Path) -> None:
    run_id = open_trial(tracker, SPEC, "trial-0007-retry-1", retry=1)
    assert client.get_run(run_id).info.status == "RUNNING"
    tracker.log_epoch(run_id, RECORD)
    (tmp_path / "images" / "weights").mkdir(parents=True)
    (tmp_path / "summary.txt").write_text("a summary")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "images" / "weights" / "conv_1.png")
    tracker.log_files(run_id, tmp_path)
    tracker.log_images(run_id, tmp_path / "images", drawn_at=5)
    tracker.close_trial(run_id, "complete", result=RESULT)

    run = client.get_run(run_id)
    assert run.info.run_name == "trial-0007-retry-1"
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "pooling": "max",
        "pool_size": "2",
        "filters_1": "3",
        "filters_2": "4",
        "dropout": "0.25",
        "learning_rate": "0.001",
        "batch_size": "32",
        "kernel_size": "3",
        "batch_normalization": "False",
        "epochs": "3",
        "patience": "2",
        "seed": "99",
    }
    tags = {key.removeprefix("poolstudy."): value for key, value in run.data.tags.items() if "poolstudy." in key}
    expected = {"kind": "trial", "study": "s", "trial": "7", "attempt": "1", "state": "complete"}
    assert expected.items() <= tags.items()
    assert tags["spec_digest"] == SPEC.digest
    assert tags["data_digest"] == "d" * 64
    assert run.data.metrics["best_val_accuracy"] == 0.6
    assert run.data.metrics["parameter_count"] == 12
    steps = client.get_metric_history(run_id, "epoch_seconds")
    assert [(point.step, point.value) for point in steps] == [(1, 2.0)]
    files = {item.path for item in client.list_artifacts(run_id)}
    assert {"spec.json", "summary.txt"} <= files
    spec = client.download_artifacts(run_id, "spec.json")
    assert TrialSpec.model_validate_json(Path(spec).read_text()).digest == SPEC.digest
    images = [item.path for item in client.list_artifacts(run_id, "images")]
    assert any("weights~conv_1" in path and path.endswith(".png") for path in images)


def test_gpu_load_is_logged_with_the_epoch_in_which_it_was_read(tracker: Tracker, client: MlflowClient) -> None:
    run_id, name = open_trial(tracker, make_spec(), "trial-0008", 0), "system/gpu_0_utilization_percentage"
    load = {name: 37.0}
    tracker.log_epochs(run_id, [(1000, RECORD, load)])
    (point,) = client.get_metric_history(run_id, name)
    assert (point.value, point.step) == (37.0, RECORD.epoch)
    tracker.close_trial(run_id, "lost")


@pytest.mark.parametrize(("state", "status"), STATUS.items())
def test_each_state_has_its_mlflow_status(tracker: Tracker, client: MlflowClient, state: State, status: str) -> None:
    run_id = open_trial(tracker, SPEC, "trial-0001", retry=0)
    tracker.close_trial(run_id, state, reason="why")
    run = client.get_run(run_id)
    assert run.info.status == status
    assert run.data.tags["poolstudy.reason"] == "why"
    tracked = tracker.get(run_id)
    assert tracked is not None
    assert tracked.state == state


def test_open_runs_can_be_found(tracker: Tracker) -> None:
    run_id = open_trial(tracker, SPEC, "trial-0002", retry=0)
    assert [run.run_id for run in tracker.runs("trial", running=True)] == [run_id]
    tracker.close_trial(run_id, "interrupted")
    assert list(tracker.runs("trial", running=True)) == []
    assert tracker.get("0" * 32) is None
    MlflowClient(tracker.uri).delete_run(run_id)
    assert tracker.get(run_id) is None


def test_a_resumed_study_keeps_its_run(tracker: Tracker, client: MlflowClient) -> None:
    run_id = tracker.open_study({"seed": 3}, {"study": {"name": "s"}})
    tracker.close_study(run_id, "interrupted", {"trials": 1})
    assert client.get_run(run_id).info.status == "KILLED"
    assert tracker.open_study({"seed": 3}, {"study": {"name": "s"}}) == run_id
    assert client.get_run(run_id).info.status == "RUNNING"
    tracker.close_study(run_id, "complete", {"trials": 3})
    assert latest_study(tracker.uri) == tracker.experiment_id
    assert latest_study(tracker.uri, "s") == tracker.experiment_id
    with pytest.raises(StoreError, match='no study "o\'ther"'):
        latest_study(tracker.uri, "o'ther")


def test_a_view_is_stored_on_the_experiment_and_linked(tracker: Tracker, client: MlflowClient) -> None:
    tracker.share_view("k", {"orderByAsc": False})
    tags = client.get_experiment(tracker.experiment_id).tags
    assert tags["mlflow.sharedViewState.k"] == '{"orderByAsc": false}'
    link = dashboard_link("http://127.0.0.1:5000/", "3", "k")
    assert link == (
        "http://127.0.0.1:5000/#/experiments/3/runs"
        "?workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey=k"
    )


def test_a_description_that_a_person_wrote_stays(tracker: Tracker, client: MlflowClient) -> None:
    for note in ("ours", "a later version's"):
        tracker.annotate(note)
        assert client.get_experiment(tracker.experiment_id).tags["mlflow.note.content"] == "ours"


def test_artifacts_deleted_during_an_upload_can_be_uploaded_again(tmp_path: Path) -> None:
    tracker = Tracker("sqlite:///mlruns/mlflow.db", "mlruns/artifacts", "s", tmp_path)
    run_id = open_trial(tracker, SPEC, "trial-0001", 0)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "summary.txt").write_text("a summary")
    lost: list[OSError] = []
    with deleting(tmp_path / "mlruns" / "artifacts"):
        for _ in range(10_000):
            try:
                tracker.log_files(run_id, tmp_path / "files")
            except OSError as error:
                lost.append(error)
            if len(lost) == 20:
                break
    assert len(lost) == 20
    assert all(tracker.is_away(error) for error in lost), lost
    tracker.log_files(run_id, tmp_path / "files")
    assert MlflowClient(tracker.uri).list_artifacts(run_id)[0].path == "summary.txt"
    for other in (FileNotFoundError(2, "no such file", f"{tmp_path}/files/summary.txt"), PermissionError(13, "no")):
        assert not tracker.is_away(other)


def test_an_sqlite_path_is_relative_to_the_project(tmp_path: Path) -> None:
    assert resolved_uri("sqlite:///mlruns/x.db", tmp_path) == f"sqlite:///{tmp_path}/mlruns/x.db"
    assert resolved_uri("http://host:1", tmp_path) == "http://host:1"


def test_a_copied_project_writes_nothing_to_the_old_folder(root: Path, tracker: Tracker, tmp_path: Path) -> None:
    known = open_trial(tracker, SPEC, "trial-0001", 0)  # its files are in the old folder
    tracker.close_trial(known, "interrupted")
    new = tmp_path / "copy"
    shutil.copytree(root, new)
    uri, artifacts = f"sqlite:///{new}/mlruns/mlflow.db", new / "mlruns" / "artifacts"
    before = (new / "mlruns" / "mlflow.db").read_bytes()
    with pytest.raises(StoreError) as caught:
        Tracker("sqlite:///mlruns/mlflow.db", "mlruns/artifacts", "s", new)
    assert f"are in {artifacts}/s, but MLflow writes new ones to {root}/mlruns/artifacts/s" in str(caught.value)
    assert "poolstudy doctor --fix" in str(caught.value)
    assert (new / "mlruns" / "mlflow.db").read_bytes() == before
    move(uri, artifacts, moved(uri, artifacts))
    again = Tracker("sqlite:///mlruns/mlflow.db", "mlruns/artifacts", "s", new)
    run_id = open_trial(again, SPEC, "trial-0001-retry-1", 1)
    assert (artifacts / "s" / run_id / "artifacts" / "spec.json").exists()
    assert not (root / "mlruns" / "artifacts" / "s" / run_id).exists()


def test_a_store_in_the_projects_folder_is_its_own(tmp_path: Path) -> None:
    root, disk = tmp_path / "project", tmp_path / "disk"
    root.mkdir()
    disk.mkdir()
    assert is_own(resolved_uri("sqlite:///mlruns/mlflow.db", root), root)
    (root / "mlruns").symlink_to(disk)
    assert is_own(resolved_uri("sqlite:///mlruns/mlflow.db", root), root)
    for other in (f"sqlite:///{tmp_path}/mlflow.db", "http://127.0.0.1:1", "postgresql://127.0.0.1/x"):
        assert not is_own(resolved_uri(other, root), root)


@pytest.mark.slow
def test_a_store_outside_of_the_project_may_have_the_files_elsewhere(tmp_path: Path) -> None:
    shared = f"sqlite:///{tmp_path}/shared/mlflow.db"
    theirs = Tracker(shared, "artifacts", "s", tmp_path / "theirs")
    (tmp_path / "ours" / "artifacts" / "s").mkdir(parents=True)
    assert Tracker(shared, "artifacts", "s", tmp_path / "ours").experiment_id == theirs.experiment_id


def test_a_store_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "a-file").write_text("")
    with pytest.raises(StoreError, match=r"MLflow's store sqlite:///a-file/mlflow\.db cannot be used"):
        Tracker("sqlite:///a-file/mlflow.db", "artifacts", "s", tmp_path)
    (tmp_path / "no.db").write_text("no database" * 100)
    with pytest.raises(StoreError, match=r"sqlite:///no\.db cannot be used"):
        Tracker("sqlite:///no.db", "artifacts", "s", tmp_path)
    with pytest.raises(StoreError, match="MLflow's store"):
        latest_study(f"sqlite:///{tmp_path}/no.db")
    with pytest.raises(StoreError, match="postgresql"):
        Tracker("postgresql://127.0.0.1/nothing", "artifacts", "s", tmp_path)
    with pytest.raises(StoreError, match=r"no .*nothing\.db"):
        latest_study(f"sqlite:///{tmp_path}/nothing.db")
