"""MLflow's web server on this machine, opened at a study's charts."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from collections.abc import Iterator
from pathlib import Path

from poolstudy.errors import StoreError
from poolstudy.spec.load import load_tracking
from poolstudy.system.files import appended
from poolstudy.tracking import dashboard_link, latest_study, resolved_uri
from poolstudy.tracking.dashboard import LOCAL_NAME, VIEW_KEY

HOST = "127.0.0.1"
_START_SECONDS = 120


@contextlib.contextmanager
def serving(root: Path, study: str | None, port: int) -> Iterator[str]:
    """Run MLflow's server during the block and yield the link to the study's charts.

    Args:
        root: the project's folder.
        study: its name; None is the study started last.
        port: preferred port; if it is taken, a free one is used.

    Raises:
        StoreError: there is no such study, or the server does not start.
    """
    tracking = load_tracking(root)
    uri = resolved_uri(tracking.uri, root)
    experiment = latest_study(uri, study)
    if uri.startswith(("http://", "https://")):
        yield dashboard_link(uri, experiment, VIEW_KEY)
        return
    port = _free_port(port)
    log = root / "mlruns" / "logs" / "ui.log"
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", f"{port}"]
    command += ["--default-artifact-root", (root / tracking.artifacts).resolve().as_uri(), "--workers", "1"]
    with appended(log) as output:
        # Not on the command line, which every user of the machine can read: the URI may hold a password.
        environment = _settings(port) | os.environ | {"MLFLOW_BACKEND_STORE_URI": uri}
        server = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        _wait_until_up(server, f"http://{HOST}:{port}", log)
        yield dashboard_link(f"http://{LOCAL_NAME}:{port}", experiment, VIEW_KEY)
    finally:
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()


def _settings(port: int) -> dict[str, str]:
    """Return the server's environment: only local host names, no telemetry, no unused job processes (1 GB)."""
    hosts = [f"{host}{any_port}" for host in (HOST, "localhost", LOCAL_NAME) for any_port in ("", ":*")]
    return {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(hosts),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": f"http://{LOCAL_NAME}:{port}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def open_browser(link: str) -> None:
    """Open the link in a browser if there is a desktop."""
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(link)


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise StoreError("no free port on this machine", "one", "give one with --port")


def _wait_until_up(server: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # without a proxy
    for _ in range(_START_SECONDS * 5):
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError), direct.open(f"{address}/health", timeout=2):
            return
        time.sleep(0.2)
    raise StoreError(f"MLflow's server did not start (see {log})", f"an answer from {address}", "try another --port")
