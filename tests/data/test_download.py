"""Downloads from real servers on localhost."""

import hashlib
import http.server
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from poolstudy.data import download as module
from poolstudy.data.download import download
from poolstudy.data.loading import load_search_data
from poolstudy.errors import DataError
from poolstudy.spec.datasets import DataFile, IdxData
from poolstudy.spec.load import load_config

IMAGES = random.Random(1).randbytes(300_000)
LABELS = random.Random(2).randbytes(500)
OTHERS = random.Random(3).randbytes(300_000)
BOTH = {"images.gz": IMAGES, "labels.gz": LABELS}
CUT = 100_000


class Mirror:
    """A server of two files on localhost that notes what it was asked for.

    Attributes:
        status: of every response, instead of 200 or 404.
        cut: bytes after which a response stops; it then waits for `resume` if it `stalls`.
        says_length: without it there is no Content-Length.
    """

    status: int = 0
    cut: int | None = None
    stalls: bool = False
    says_length: bool = True

    def __init__(self, images: bytes = b"", labels: bytes = b"", **options: Any) -> None:
        self.files = {"images.gz": images, "labels.gz": labels}
        vars(self).update(options)
        self.asked: list[str] = []
        self.resume = threading.Event()
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.respond(self)

            def log_message(self, *args: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def respond(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path[1:])
        content = self.files.get(request.path[1:], b"")
        status = self.status or (200 if content else 404)
        if status != 200:
            request.send_error(status)
            return
        request.send_response(200)
        if self.says_length:
            request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[: self.cut])
        if self.stalls and self.cut is not None:
            self.resume.wait(60)
            request.wfile.write(content[self.cut :])


Mirrors = Callable[..., Mirror]


@pytest.fixture
def mirror() -> Iterator[Mirrors]:
    """Yield `Mirror`, with an end of each mirror after the test."""
    made: list[Mirror] = []

    def make(*files: bytes, **options: Any) -> Mirror:
        made.append(Mirror(*files, **options))
        return made[-1]

    yield make
    for server in made:
        server.resume.set()
        server.server.shutdown()
        server.server.server_close()


def wanted(*mirrors: Mirror | str) -> IdxData:
    """Return the section that wants IMAGES and LABELS from these mirrors."""
    return IdxData(
        name="tiny",
        format="idx",
        image_shape=(8, 8, 1),
        class_names=("a", "b"),
        search=("fetched",),
        mirrors=tuple(server if isinstance(server, str) else server.address for server in mirrors),
        images=DataFile(file="images.gz", sha256=hashlib.sha256(IMAGES).hexdigest()),
        labels=DataFile(file="labels.gz", sha256=hashlib.sha256(LABELS).hexdigest()),
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_missing_files_are_fetched_and_have_their_name_only_when_whole(tmp_path: Path, mirror: Mirrors) -> None:
    good, unneeded = mirror(IMAGES, LABELS), mirror()
    steps: list[tuple[str, int, int | None]] = []

    def progress(file: str, done: int, total: int | None) -> None:
        steps.append((file, done, total))
        assert done == total or not (tmp_path / file).exists()

    download(wanted(good, unneeded), tmp_path, progress)
    assert contents(tmp_path) == BOTH
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}
    assert steps[:2] == [("images.gz", 0, None), ("images.gz", 1 << 16, 300_000)]
    assert steps[-2:] == [("labels.gz", 500, 500)] * 2
    counts = [done for file, done, _ in steps if file == "images.gz"]
    assert counts == sorted(counts)
    assert counts[-1] == 300_000
    (tmp_path / "labels.gz").unlink()
    download(wanted(good, unneeded), tmp_path)
    assert (good.asked, unneeded.asked) == (["images.gz", "labels.gz", "labels.gz"], [])  # only what is missing


def test_the_length_need_not_be_known(tmp_path: Path, mirror: Mirrors) -> None:
    steps: list[tuple[str, int, int | None]] = []
    download(wanted(mirror(IMAGES, LABELS, says_length=False)), tmp_path, lambda *step: steps.append(step))
    assert contents(tmp_path) == BOTH
    assert {total for _, _, total in steps} == {None}
    assert [done for file, done, _ in steps if file == "images.gz"][-1] >= 300_000


@pytest.mark.parametrize(
    "fault",
    [
        {"images": OTHERS},
        {"status": 404},
        {"status": 500},
        {"cut": CUT},
        {"cut": CUT, "stalls": True},
        {"cut": 0, "stalls": True},
        "http://127.0.0.1:9",
        "mirror",
    ],
    ids=["wrong", "404", "500", "cut", "stalls", "hangs", "refused", "no address"],
)
def test_where_the_first_mirror_fails_the_second_is_used(
    tmp_path: Path, mirror: Mirrors, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any] | str
) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", (5, 0.5))
    bad = fault if isinstance(fault, str) else mirror(**({"images": IMAGES, "labels": LABELS} | fault))
    good, started = mirror(IMAGES, LABELS), time.monotonic()
    download(wanted(bad, good), tmp_path)
    assert time.monotonic() - started < 20  # pooch's own patience is 30 seconds
    assert good.asked[0] == "images.gz"
    assert contents(tmp_path) == BOTH


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_error_names_each_mirror_and_why_and_what_to_do(
    tmp_path: Path, mirror: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", (5, 0.5))
    absent, wrong, busy = mirror(), mirror(OTHERS), mirror(status=503)
    cut, hung = mirror(IMAGES, cut=CUT), mirror(IMAGES, cut=0, stalls=True)
    with pytest.raises(DataError) as caught:
        download(wanted(absent, wrong, busy, cut, hung, "http://127.0.0.1:9", "mirror"), tmp_path / "new")
    reasons = [
        f"{absent.address}: 404 Client Error: Not Found",
        f"{wrong.address}: SHA-256 {digest(OTHERS)[:16]}… instead of {digest(IMAGES)[:16]}…",
        f"{busy.address}: 503 Server Error: Service Unavailable",
        f"{cut.address}: IncompleteRead({CUT} bytes read, {len(IMAGES) - CUT} more expected)",
        f"{hung.address}: timed out",
        "http://127.0.0.1:9: [Errno 111] Connection refused",
        "mirror: Invalid URL 'mirror/images.gz': No scheme supplied. Perhaps you meant https://mirror/images.gz?",
    ]
    assert str(caught.value) == (
        f"no tiny in fetched, and no download of images.gz ({'; '.join(reasons)}); "
        "expected the files in one of these folders, or a mirror that answers; "
        f"put images.gz and labels.gz into {tmp_path / 'new'}, or use data=digits"
    )
    assert contents(tmp_path / "new") == {}


def test_missing_certificates_are_no_issue_of_the_folder(
    tmp_path: Path, mirror: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    address = mirror().address.replace("http", "https")
    with pytest.raises(DataError, match=f"{address}: Could not find a suitable TLS CA certificate bundle"):
        download(wanted(address), tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, mirror: Mirrors) -> None:
    good = mirror(IMAGES, LABELS)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"^/.*/file/fetched cannot be written \(Not a directory\); expected .*; fix"):
        download(wanted(good), tmp_path / "file" / "fetched")
    assert good.asked == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, mirror: Mirrors) -> None:
    good = mirror(IMAGES, LABELS)
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match=r"cannot be written \(Permission denied\)"):
        download(wanted(good), tmp_path)
    assert good.asked == []


def test_a_full_disk_is_reported_as_one(tmp_path: Path, mirror: Mirrors) -> None:
    good = mirror(IMAGES, LABELS)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (CUT, limits[1]))  # like a full disk, for this process
    try:
        with pytest.raises(DataError, match=r"cannot be written \(File too large\)"):
            download(wanted(good, good), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert good.asked == ["images.gz"]  # no other mirror would help
    assert contents(tmp_path) == {}


CHILD = """
import sys
from pathlib import Path
from poolstudy.data.download import download
from poolstudy.spec.datasets import IdxData
assert "pooch" not in sys.modules
download(IdxData.model_validate_json(sys.argv[1]), Path(sys.argv[2]))
"""


def start(section: IdxData, folder: Path) -> "subprocess.Popen[str]":
    """Start a process that downloads the section."""
    arguments = [sys.executable, "-c", CHILD, section.model_dump_json(), str(folder)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(mirror: Mirror, requests: int) -> None:
    deadline = time.monotonic() + 60
    while len(mirror.asked) < requests and time.monotonic() < deadline:
        time.sleep(0.01)


def test_two_processes_at_once_both_end_with_the_right_files_and_print_nothing(tmp_path: Path, mirror: Mirrors) -> None:
    good = mirror(IMAGES, LABELS, cut=CUT, stalls=True)
    processes = [start(wanted(good), tmp_path) for _ in range(2)]
    wait_for(good, 2)
    assert good.asked == ["images.gz"] * 2
    assert not (tmp_path / "images.gz").exists()
    good.resume.set()
    for process in processes:
        assert process.communicate(timeout=60)[0] == ""
        assert process.returncode == 0
    assert contents(tmp_path) == BOTH


def test_a_killed_download_leaves_nothing_under_the_files_name(tmp_path: Path, mirror: Mirrors) -> None:
    good = mirror(IMAGES, LABELS, cut=CUT, stalls=True)
    process = start(wanted(good), tmp_path)
    wait_for(good, 1)
    process.kill()
    process.communicate()
    assert not (tmp_path / "images.gz").exists()
    good.resume.set()
    download(wanted(good), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in BOTH} == BOTH


def remote(project: Path, *mirrors: Mirror) -> IdxData:
    """Return the section of the project's data, with two folders that do not hold them."""
    section = load_config("tiny", [], project).data
    assert isinstance(section, IdxData)
    addresses = tuple(server.address for server in mirrors)
    return section.model_copy(update={"path": None, "search": ("fetched", "more"), "mirrors": addresses})


def test_data_that_are_in_no_folder_are_downloaded_into_the_first(project: Path, mirror: Mirrors) -> None:
    good = mirror(**{path.stem: path.read_bytes() for path in (project / "images").iterdir()})
    assert len(load_search_data(remote(project, mirror(), good), project).train_labels) == 200
    assert contents(project / "fetched") == contents(project / "images")


def test_a_download_that_fails_says_why_and_leaves_no_file(project: Path, mirror: Mirrors) -> None:
    with pytest.raises(DataError, match="404.*SHA-256.*data=digits"):
        load_search_data(remote(project, mirror(), mirror(b"something else")), project)
    assert contents(project / "fetched") == {}
