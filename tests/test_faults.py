"""Real faults of the environment: a tracking server that stops, full and read-only disks, locked databases."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from books import check_agreement, damaged_databases, reached, runs, trials
from conftest import Command, clean_environment, make_project, start, wait_for
from damage import copied, deleting

pytestmark = pytest.mark.slow
ONE = ["execution.workers=1"]
LONG = ["training.epochs=400", "training.patience=400"]  # still training when the server is reported away


class Server:
    """Tracking server on this machine that can be stopped and started again with the same store."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri, self._folder = f"http://127.0.0.1:{self.port}", folder

    def start(self) -> None:
        store = [f"--backend-store-uri=sqlite:///{self._folder}/server.db", f"--artifacts-destination={self._folder}/a"]
        address = ["--host=127.0.0.1", f"--port={self.port}", "--workers=1"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *store, *address],
                cwd=self._folder,
                env=clean_environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # eight processes more
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 180
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.5)

    def _answers(self) -> bool:
        with contextlib.suppress(urllib.error.URLError, OSError):
            return bool(urllib.request.urlopen(f"{self.uri}/health", timeout=2).status == 200)
        return False

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "server")
    made.start()
    yield made
    made.stop()


def check_one_line(code: int, expected: int, err: str, *texts: str) -> None:
    assert (code, err.count("\n")) == (expected, 1), err
    assert err.startswith("poolstudy: ")
    for text in texts:
        assert text in err


# The tracking server


def test_a_server_that_is_stopped_three_times_changes_nothing(
    project: Path, server: Server, tmp_path: Path, poolstudy: Command
) -> None:
    endless = "space.dropout={low: 0.0, high: 0.9}"  # so many configurations that it is never done
    settings = [*ONE, "training.epochs=80", "training.patience=80", endless]
    at_server = [*settings, f"tracking.uri={server.uri}"]
    with start(project, *at_server, "study.trials=500") as study:
        for _ in range(3):
            wait_for(study, "  epoch ")
            server.stop()
            wait_for(study, "MLflow away since ")
            server.start()
            wait_for(study, "MLflow answers again after ")
        study.send_signal(signal.SIGTERM)
        _, err = study.communicate(timeout=60)
    assert (study.returncode, err) == (143, "")
    again = poolstudy(project, "run", "tiny", *at_server, f"study.trials={len(reached(project, server.uri)) + 1}")
    assert (again.returncode, again.stderr) == (0, "")
    assert "Best run: " in again.stdout
    check_agreement(project, uri=server.uri)
    results = reached(project, server.uri)
    undisturbed = make_project(tmp_path / "undisturbed")
    said = poolstudy(undisturbed, "run", "tiny", *settings, f"study.trials={len(results)}")
    assert said.returncode == 0, said.stderr
    assert results == reached(undisturbed)


def test_a_server_that_stays_away_stops_the_study_which_can_be_continued(
    project: Path, server: Server, poolstudy: Command
) -> None:
    away = [*ONE, f"tracking.uri={server.uri}", "tracking.patience=3", "study.trials=2"]
    with start(project, *away, *LONG) as study:
        wait_for(study, "trial-0001  epoch 2/400")
        server.stop()
        _, err = study.communicate(timeout=120)
    check_one_line(study.returncode, 3, err, server.uri, "away for 3 s", "Connection refused", "start it again")
    again = poolstudy(project, "run", "tiny", *away, *LONG)
    check_one_line(again.returncode, 3, again.stderr, server.uri, "Connection refused")
    server.start()
    last = poolstudy(project, "run", "tiny", *away, *LONG)
    assert last.returncode == 0, last.stderr
    states = Counter(run.data.tags["poolstudy.state"] for run in runs(project, uri=server.uri))
    assert (states["complete"], states["interrupted"]) == (2, 1)
    check_agreement(project, uri=server.uri)


def test_ctrl_c_ends_a_study_in_good_order_while_the_server_is_away(project: Path, server: Server) -> None:
    with start(project, *ONE, *LONG, f"tracking.uri={server.uri}") as study:
        wait_for(study, "trial-0001  epoch 1/40")
        server.stop()
        wait_for(study, "MLflow away since ")
        study.send_signal(signal.SIGINT)
        out, err = study.communicate(timeout=60)
    assert (study.returncode, err) == (130, "")
    assert "The same command goes on from here." in out


# Disks


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["mount", *options, folder], capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=False)


def states(root: Path) -> list[str]:
    return [run.data.tags["poolstudy.state"] for run in runs(root)]


def check_nothing_is_lost(root: Path, poolstudy: Command, count: int) -> None:
    """Check that the same command goes on after the fault, and that ended trials still count."""
    done = {trial.number for trial in trials(root) if trial.state.name == "COMPLETE"}
    again = poolstudy(root, "run", "tiny", f"study.trials={count}", *ONE)
    assert again.returncode == 0, again.stderr
    assert done <= {trial.number for trial in trials(root) if trial.state.name == "COMPLETE"}
    assert states(root).count("complete") == count
    check_agreement(root)


def test_a_disk_that_fills_up_stops_the_study_and_nothing_is_lost(project: Path, poolstudy: Command) -> None:
    with mounted(project / "mlruns", "-t", "tmpfs", "-o", "size=5m", "none"):
        said = poolstudy(project, "run", "tiny", "study.trials=12", *ONE)
        assert list(damaged_databases(project)) == []
        check_one_line(said.returncode, 3, said.stderr, "fix it; the same command then goes on")
        assert "No space left on device" in said.stderr or "disk is full" in said.stderr
        assert len([trial for trial in trials(project) if trial.state.name == "COMPLETE"]) >= 1
        subprocess.run(["mount", "-o", "remount,size=100m", project / "mlruns"], check=True)
        uploaded = Counter(run.data.tags.get("poolstudy.state") for run in runs(project))["complete"]
        assert uploaded < 12  # the full disk cannot hold the files of all, even if all are trained
        check_nothing_is_lost(project, poolstudy, 12)


def test_a_disk_that_is_full_from_the_start_is_reported_in_one_line(project: Path, poolstudy: Command) -> None:
    with mounted(project / "mlruns", "-t", "tmpfs", "-o", "size=100k", "none"):
        said = poolstudy(project, "run", "tiny", "study.trials=1", *ONE)
        check_one_line(said.returncode, 3, said.stderr)
        assert "No space left on device" in said.stderr or "disk is full" in said.stderr
        subprocess.run(["mount", "-o", "remount,size=100m", project / "mlruns"], check=True)
        again = poolstudy(project, "run", "tiny", "study.trials=1", *ONE)
        assert again.returncode == 0, again.stderr
        check_agreement(project)


def test_artifacts_that_become_read_only_stop_the_study(project: Path, poolstudy: Command) -> None:
    artifacts = project / "mlruns" / "artifacts"
    with mounted(artifacts, "-t", "tmpfs", "none"):
        with start(project, *ONE, "study.trials=3") as study:
            wait_for(study, "trial-0001  epoch 1/3")
            subprocess.run(["mount", "-o", "remount,ro", artifacts], check=True)
            _, err = study.communicate(timeout=120)
        check_one_line(study.returncode, 3, err, "Read-only file system", "fix it; the same command then goes on")
        subprocess.run(["mount", "-o", "remount,rw", artifacts], check=True)
        check_nothing_is_lost(project, poolstudy, 3)


def test_a_read_only_mlruns_is_reported_in_one_line(project: Path, poolstudy: Command) -> None:
    with mounted(project / "mlruns", "-t", "tmpfs", "-o", "ro", "none"):
        said = poolstudy(project, "run", "tiny", *ONE)
    check_one_line(said.returncode, 3, said.stderr, "mlruns/locks", "Read-only file system")


def test_deleted_artifacts_are_reported_and_the_study_goes_on(project: Path) -> None:
    with start(project, *ONE, "study.trials=3") as study:
        wait_for(study, "trial-0001  epoch 1/3")
        with deleting(project / "mlruns" / "artifacts"):
            wait_for(study, "mlruns/artifacts/tiny was deleted", "trial-0002  epoch 1/3")
        _, err = study.communicate(timeout=180)
    assert (study.returncode, err) == (0, "")
    assert states(project) == ["complete"] * 3
    check_agreement(project)


# Databases that another program locks


@contextlib.contextmanager
def held(database: Path) -> Iterator[None]:
    connection = sqlite3.connect(database, timeout=60)
    connection.execute("begin exclusive")
    try:
        yield
    finally:
        connection.rollback()
        connection.close()


@pytest.mark.parametrize("name", ["optuna.db", "mlflow.db"])
def test_a_database_that_is_locked_for_a_moment_only_delays(project: Path, name: str) -> None:
    with start(project, *ONE, "study.trials=2") as study:
        wait_for(study, "trial-0001  epoch 1/3")
        with held(project / "mlruns" / name):
            time.sleep(5)
        _, err = study.communicate(timeout=180)
    assert (study.returncode, err) == (0, "")
    assert states(project) == ["complete"] * 2
    check_agreement(project)


@pytest.mark.parametrize(
    ("name", "says"), [("optuna.db", "database is locked"), ("mlflow.db", "away for 3 s (database is locked)")]
)
def test_a_database_that_is_locked_for_long_stops_the_study(
    project: Path, poolstudy: Command, name: str, says: str
) -> None:
    with start(project, *ONE, "study.trials=2", "tracking.patience=3") as study:
        wait_for(study, "trial-0001  epoch 1/3")
        with held(project / "mlruns" / name):
            _, err = study.communicate(timeout=180)
    check_one_line(study.returncode, 3, err, says, "the same command then goes on")
    check_nothing_is_lost(project, poolstudy, 2)


def test_a_missing_table_in_a_database_is_reported_in_one_line(
    finished: tuple[Path, object], tmp_path: Path, poolstudy: Command
) -> None:
    root = copied(finished[0], tmp_path / "project")
    with sqlite3.connect(root / "mlruns" / "mlflow.db") as database:
        database.execute("drop table latest_metrics")  # it opens, and fails when the study reads earlier trials
    said = poolstudy(root, "run", "tiny", "study.trials=6", *ONE)
    check_one_line(said.returncode, 3, said.stderr, "no such table: latest_metrics", "fix it")


# Signals


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_imports_ends_it_and_leaves_nothing_open(
    project: Path, poolstudy: Command, sign: signal.Signals
) -> None:
    with start(project, *ONE, "study.trials=1") as study:
        while not (project / "mlruns" / "locks" / "tiny.pid").exists():  # the longest imports come after it
            assert study.poll() is None
            time.sleep(0.01)
        study.send_signal(sign)
        _, err = study.communicate(timeout=60)
    assert study.returncode in (128 + sign, -sign)
    assert "Traceback" not in err
    said = poolstudy(project, "run", "tiny", "study.trials=1", *ONE)
    assert said.returncode == 0, said.stderr
    check_agreement(project)


def test_a_second_signal_ends_at_once_and_the_next_start_uploads(project: Path, poolstudy: Command) -> None:
    with start(project, *ONE, "study.trials=2") as study:
        wait_for(study, "trial-0001  complete")  # now it is rendered
        study.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        study.send_signal(signal.SIGTERM)
        out, _ = study.communicate(timeout=60)
    assert study.returncode == 143
    assert "The same command goes on from here." not in out  # as it says after waiting for the rendering
    check_nothing_is_lost(project, poolstudy, 2)
