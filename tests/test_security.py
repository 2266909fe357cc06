"""What docs/security.md claims, each claim by a test; strangers' stores and files are made for real."""

import ast
import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from conftest import make_project, make_spec
from damage import examined
from mlflow.environment_variables import MLFLOW_DISABLE_TELEMETRY
from rich.console import Console

from poolstudy.errors import ConfigurationError, DataError, StoreError, without_password
from poolstudy.network.weights import saved_weights
from poolstudy.reports.run import show_run
from poolstudy.reports.runs.reading import _arrays
from poolstudy.reproduce.printing import print_outcome
from poolstudy.reproduce.record import RunRecord, TrialOutcome
from poolstudy.reproduce.reproduction import reproduce
from poolstudy.reproduce.verdict import Reproduction, differences, judge, not_deterministic
from poolstudy.spec.layers import Layer
from poolstudy.spec.load import load_config
from poolstudy.spec.records import digest_of
from poolstudy.tracking import Tracker, find_run, reading_mlflow
from poolstudy.tracking.server import _settings

PACKAGE = Path(__file__).parents[1] / "src" / "poolstudy"
RUN = "0123456789abcdef" * 2
SECRET = "http://somebody:hunter2@127.0.0.1:9"


def test_what_is_done_here_is_told_to_nobody() -> None:
    # Since poolstudy.tracking was imported; MLflow itself leaves it on.
    assert MLFLOW_DISABLE_TELEMETRY.get()  # type: ignore[no-untyped-call]
    assert _settings(5000)["MLFLOW_DISABLE_TELEMETRY"] == "true"


# The source itself


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func), node


def keywords(call: ast.Call) -> dict[str, str]:
    return {str(one.arg): ast.unparse(one.value) for one in call.keywords}


def test_nothing_that_is_read_is_executed() -> None:
    named = list(calls())
    names = {name for name, _ in named}
    forbidden = {"eval", "exec", "os.system", "os.popen", "yaml.load", "instantiate", "pickle.load", "pickle.loads"}
    assert not names & (forbidden | {"hydra.utils.instantiate", "joblib.load", "marshal.loads", "shelve.open"})
    assert {name for name in names if "unsafe" in name} == set()
    for name, call in named:
        if name == "np.load":
            assert "allow_pickle" not in keywords(call)  # NumPy's default is not to
        if name.startswith("subprocess."):
            assert "shell" not in keywords(call)


def test_git_is_called_with_fixed_words() -> None:
    said = [call for name, call in calls() if name == "_git"]
    assert len(said) >= 5
    for call in said:
        assert all(isinstance(argument, ast.Constant) for argument in call.args[1:])


# Configurations


@pytest.mark.parametrize(
    "content",
    [
        "a: !!python/object/apply:os.system ['touch pwned']",
        "_target_: os.system\n_args_: ['touch pwned']",
        "study: {_target_: os.system, _args_: ['touch pwned']}",
        "hydra: {run: {dir: pwned}, callbacks: {x: {_target_: os.system}}}",
    ],
)
def test_a_strangers_experiment_runs_nothing(project: Path, content: str) -> None:
    (project / "experiments" / "tiny" / "experiment.yaml").write_text(content)
    with pytest.raises(ConfigurationError):
        load_config("tiny", [], project)
    assert not list(project.rglob("pwned"))


def test_the_only_resolvers_are_omegaconfs_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDER", "here")
    assert load_config("tiny", ["tracking.artifacts=${oc.env:FOLDER}"], project).tracking.artifacts == "here"
    with pytest.raises(ConfigurationError, match="Unsupported interpolation type"):
        load_config("tiny", ["tracking.artifacts=${sh:touch pwned}"], project)


# Secrets


def test_a_password_is_neither_kept_nor_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", SECRET)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    config = load_config("tiny", [], project)
    assert config.tracking.uri == SECRET  # which is what connects
    for kept in (json.dumps(config.recorded()), json.dumps(config.fingerprint())):
        assert "hunter2" not in kept
        assert "http://127.0.0.1:9" in kept
    with pytest.raises(StoreError) as caught:
        find_run(SECRET, "best")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("no http://a:b@c/d but sqlite:////e@f/g.db", "no http://c/d but sqlite:////e@f/g.db"),
        ("postgresql://u:pa/ss@host/db is away", "postgresql://host/db is away"),
        ("postgresql+psycopg://u:12/34@host:5432/db", "postgresql+psycopg://host:5432/db"),
        ("mysql://u@corp:p@/ss@host/db", "mysql://host/db"),
        ("postgresql://:pa/ss@host/db", "postgresql://host/db"),
        ("https://u:p@ss@host/a@b", "https://host/a@b"),
        ("http://u:pa/ss@host/x", "http://host/x"),
        ("http://host:5000/#/a@b", "http://host:5000/#/a@b"),
        ("http://[::1]:5000/a@b", "http://[::1]:5000/a@b"),
        ("http://host/a:b@c and mail a@b.c", "http://host/a:b@c and mail a@b.c"),
        ("postgresql://host:5432/db and u@host", "postgresql://host:5432/db and u@host"),
        ("sqlite:///mlruns/a:b@c.db", "sqlite:///mlruns/a:b@c.db"),
    ],
)
def test_an_address_is_shown_without_name_and_password_and_otherwise_as_it_is(said: str, shown: str) -> None:
    assert without_password(said) == shown


# Strangers' stores


class Stranger(BaseHTTPRequestHandler):
    """A tracking server that lists files outside of every folder, and runs whose IDs are paths."""

    run_id = RUN
    files: tuple[str, ...] = ("../../x", "spec.json", "/etc/passwd", "..\\y")

    def _answer(self, content: object) -> None:
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        if "mlflow-artifacts/artifacts" in self.path:
            self._answer({"files": [{"path": name, "file_size": 3} for name in self.files]})
        elif "runs/get" in self.path:
            self._answer({"run": self._run()})
        else:
            self._answer({})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if "experiments/search" in self.path:
            self._answer({"experiments": [{"experiment_id": "1", "name": "../../x", "lifecycle_stage": "active"}]})
        else:
            self._answer({"runs": [self._run()]})

    def _run(self) -> dict[str, Any]:
        tags = {"poolstudy.kind": "trial", "poolstudy.study": "../../x", "poolstudy.state": "complete"}
        info: dict[str, object] = {
            "run_id": self.run_id,
            "run_uuid": self.run_id,
            "experiment_id": "1",
            "status": "FINISHED",
        }
        tags["poolstudy.reason"] = "\x1b[2J"
        info |= {
            "status": "FINISHED",
            "start_time": 1,
            "end_time": 2,
            "lifecycle_stage": "active",
            "run_name": "\x1b[31mred",
        }
        info |= {"artifact_uri": f"mlflow-artifacts:/1/{self.run_id}/artifacts"}
        return {"info": info, "data": {"tags": [{"key": key, "value": value} for key, value in tags.items()]}}

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_files_are_had_by_the_contracts_names_only_into_their_folder(stranger: str, tmp_path: Path) -> None:
    run = find_run(stranger, RUN[:8])
    with pytest.raises(StoreError, match="Invalid path"), reading_mlflow(stranger):
        assert run.files
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    for name in ("../../x", "/etc/passwd", "..\\y", "spec.json/../../x"):
        with pytest.raises(ValueError, match="no file of a run"):
            run.read(name, folder)  # type: ignore[arg-type]
    with pytest.raises(StoreError), reading_mlflow(stranger):
        run.read("spec.json", folder)
    assert {path.name for path in tmp_path.rglob("*")} == {"deep", "folder"}


def test_a_run_id_that_is_a_path_is_refused(stranger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stranger, "run_id", "../../../etc")
    with pytest.raises(StoreError, match="gives the run ID '../../../etc'"):
        find_run(stranger, RUN)


def test_the_doctor_follows_no_name_out_of_the_project(
    stranger: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stranger)
    outside = project.parent / "x"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    before = sorted(project.parent.rglob("*"))
    assert examined(project, fix=True) == (True, "No study has been run here.\n")
    assert [path for path in sorted(project.parent.rglob("*")) if "locks" not in path.parts] == before


def test_a_name_that_holds_terminal_codes_is_shown_without_them(
    stranger: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stranger, "files", ())
    (project / "conf" / "tracking" / "local.yaml").write_text(f"uri: {stranger}\n")
    out = io.StringIO()
    show_run(RUN, project, Console(file=out, width=80))
    assert r"\x1b[31mred of study ../../x" in out.getvalue()
    assert r"because \x1b[2J" in out.getvalue()
    assert "\x1b" not in out.getvalue()


@pytest.mark.slow
def test_the_pages_are_served_to_this_machine_only(tmp_path: Path) -> None:
    from poolstudy.tracking.server import serving

    root = make_project(tmp_path / "project")
    tracker = Tracker("sqlite:///mlruns/mlflow.db", "mlruns/artifacts", "tiny", root)
    tracker.open_study({}, {})
    with serving(root, None, 5433):
        mine = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = [one for process in mine[1:] for one in process.net_connections("inet") if one.status == "LISTEN"]
        assert {one.laddr.ip for one in listening} == {"127.0.0.1"}
        assert not any("sqlite" in word for process in mine[1:] for word in process.cmdline())


# Strangers' files


class Touching:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self._file,)


def test_arrays_with_objects_are_refused(tmp_path: Path) -> None:
    file, pwned, notes = tmp_path / "untrained.npz", tmp_path / "pwned", list[str]()
    np.savez(file, weights=np.array([Touching(pwned)], dtype=object))
    assert _arrays(file, notes) == {}
    assert notes == ["untrained.npz is damaged (Object arrays cannot be loaded when allow_pickle=False)"]
    assert not pwned.exists()
    np.load(file, allow_pickle=True)["weights"]
    assert pwned.exists()


ONE_LAYER = (Layer("dense_1", "dense", (2,), {"kernel": (1, 2), "bias": (2,)}),)


def test_a_model_file_that_is_none_is_told(tmp_path: Path) -> None:
    file = tmp_path / "model.keras"
    for content in (b"", b"no zip", b"PK\x05\x06" + bytes(18)):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"BadZipFile|KeyError"):
            saved_weights(file, ONE_LAYER)
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("config.json", '{"config": {"layers": [{"config": {"name": "../x"}}]}}')
        packed.writestr("model.weights.h5", b"no HDF5")
    with pytest.raises(ValueError, match="OSError"):
        saved_weights(file, ONE_LAYER)


def test_the_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    import keras

    keras.Sequential([keras.Input((1,)), keras.layers.Dense(3, name="dense_1")]).save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"dense_1/kernel has the shape \(1, 3\), not \(1, 2\)"):
        saved_weights(tmp_path / "model.keras", ONE_LAYER)


@pytest.mark.slow
def test_a_model_that_would_run_code_is_read_and_nothing_of_it_runs(tmp_path: Path) -> None:
    import keras

    file, pwned = tmp_path / "model.keras", tmp_path / "pwned"
    touching = keras.layers.Lambda(lambda x, file=str(pwned): [__import__("pathlib").Path(file).touch(), x][1])
    keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, name="dense_1"), touching]).save(file)
    pwned.unlink()  # which it made when it was built
    assert saved_weights(file, ONE_LAYER).keys() == {"dense_1/kernel", "dense_1/bias"}
    with pytest.raises(ValueError, match="safe_mode"):
        keras.models.load_model(file, compile=False, safe_mode=True)
    assert not pwned.exists()


def test_a_frozen_claim_of_a_stranger_sends_nothing_to_the_terminal(project: Path) -> None:
    spec = make_spec()
    reached = TrialOutcome(failure="\x1b[2J")
    source = {"format": "digits", "name": "digits", "image_shape": (8, 8, 1), "class_names": ("0", "1")}
    environment = {"threads": 1, "device": "GPU\x1b[31m", "machine": "\x1b[2J"}
    claim = RunRecord.model_validate(
        {"run_id": RUN, "name": "\x1b[31mred", "spec": spec, "reached": reached, "source": source}
        | {"environment": environment}
    )
    (project / "best.json").write_text(claim.to_json())
    out = io.StringIO()
    console = Console(file=out, width=200)
    # scikit-learn's digits have ten classes: it is refused before anything is trained, but its name has been said.
    with pytest.raises(DataError):
        reproduce("best.json", project, console)
    verdict = judge(
        reached, TrialOutcome(), differences(environment, {"machine": "x"}), not_deterministic(spec, ("GPU\x1b",))
    )
    print_outcome(Reproduction(verdict, claim, TrialOutcome(), RUN), console)
    said = out.getvalue()
    assert "Reproducing \\x1b[31mred of study s" in said
    assert "the failure: none, was \\x1b[2J" in said
    assert "machine is x, was \\x1b[2J" in said
    assert "the cross-entropy on GPU\\x1b" in said
    assert "\x1b" not in said


def test_someone_elses_frozen_record_names_no_path(project: Path) -> None:
    frozen, content = project / "best.json", {"run_id": "../../x", "name": "x"}
    frozen.write_text(json.dumps({"sha256": digest_of(content), **content}))
    with pytest.raises(Exception, match="run_id"):
        reproduce(str(frozen), project, Console(file=io.StringIO()))
    assert list(project.glob("mlruns/*")) == []
