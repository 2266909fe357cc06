"""Downloads from real servers on localhost that err as they are told."""

import hashlib
import http.server
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from poolstudy.data.download import Patience, download
from poolstudy.data.loading import load_search_data
from poolstudy.errors import DataError
from poolstudy.spec.datasets import DataFile, IdxData
from poolstudy.spec.load import load_config

IMAGES = random.Random(1).randbytes(300_000)
LABELS = random.Random(2).randbytes(500)
OTHERS = random.Random(3).randbytes(300_000)
CUT = 100_000
QUICK = Patience(pauses=(0, 0), connecting=5, silence=20)


@dataclass(frozen=True)
class Fault:
    """How one answer errs: by its status, before it begins, or after so many bytes of its body."""

    status: int = 0
    hangs_up: bool = False
    cut: int | None = None
    stalls: bool = False  # at the cut, until the mirror is told to go on
    shift: int = 0  # of the range it says it sends
    short: int = 0  # so much of the range is left out, and it says so


class Mirror:
    """Serves files on localhost, notes what it was asked for ("name" or "name bytes=5-"), errs in the order given."""

    def __init__(self, **files: bytes) -> None:
        self.files = {f"{name}.gz": content for name, content in files.items()}
        self.faults: list[Fault] = []
        self.asked: list[str] = []
        self.calls_it_packed = False
        self.knows_ranges = self.says_length = self.says_total = True
        self.go_on = threading.Event()
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.answer(self)

            def log_message(self, *args: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        name, wanted = request.path[1:], request.headers["Range"]
        self.asked.append(f"{name} {wanted}" if wanted else name)
        fault = self.faults.pop(0) if self.faults else Fault()
        whole = self.files.get(name, b"")
        start = int(wanted[6:-1]) if wanted and self.knows_ranges else 0
        status = fault.status or (404 if not whole else 416 if start >= len(whole) else 206 if start else 200)
        if fault.hangs_up:
            return
        if status not in {200, 206}:
            request.send_error(status)
            return
        request.send_response(status)
        end = len(whole) - fault.short
        if start:
            total = len(whole) if self.says_total else "*"
            request.send_header("Content-Range", f"bytes {start + fault.shift}-{end - 1}/{total}")
        if self.calls_it_packed:
            request.send_header("Content-Encoding", "gzip")
        if self.says_length:
            request.send_header("Content-Length", str(end - start))
        request.end_headers()
        cut = end if fault.cut is None else fault.cut
        request.wfile.write(whole[start:cut])
        if fault.stalls:
            self.go_on.wait(60)
            request.wfile.write(whole[cut:end])


Mirrors = Callable[..., Mirror]


@pytest.fixture
def mirror() -> Iterator[Mirrors]:
    """Makes mirrors; they end with the test."""
    made: list[Mirror] = []

    def make(**files: bytes) -> Mirror:
        made.append(Mirror(**files))
        return made[-1]

    yield make
    for one in made:
        one.go_on.set()
        one.server.shutdown()
        one.server.server_close()


def wanted(*mirrors: Mirror | str) -> IdxData:
    """The section that wants IMAGES and LABELS from these mirrors."""
    shas = {name: hashlib.sha256(content).hexdigest() for name, content in (("images", IMAGES), ("labels", LABELS))}
    return IdxData(
        name="tiny",
        format="idx",
        image_shape=(8, 8, 1),
        class_names=("a", "b"),
        search=("fetched",),
        mirrors=tuple(one if isinstance(one, str) else one.address for one in mirrors),
        images=DataFile(file="images.gz", sha256=shas["images"]),
        labels=DataFile(file="labels.gz", sha256=shas["labels"]),
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


BOTH = {"images.gz": IMAGES, "labels.gz": LABELS}


def put_part(folder: Path, content: bytes) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "images.gz.part").write_bytes(content)


# Gone on with


def test_a_cut_download_goes_on_from_its_last_byte_and_has_its_name_only_when_whole(
    tmp_path: Path, mirror: Mirrors
) -> None:
    good = mirror(images=IMAGES, labels=LABELS)
    good.faults = [Fault(cut=CUT)]
    steps: list[tuple[str, int, int | None]] = []

    def tell(file: str, done: int, total: int | None) -> None:
        steps.append((file, done, total))
        assert not (tmp_path / file).exists()

    download(wanted(good), tmp_path, tell, QUICK)
    assert good.asked == ["images.gz", f"images.gz bytes={CUT}-", "labels.gz"]
    assert contents(tmp_path) == BOTH
    assert steps[:2] == [("images.gz", 0, None), ("images.gz", 0, 300_000)]
    assert steps.count(("images.gz", CUT, 300_000)) == 2  # before the cut, and as what is there already after it
    assert steps[-1] == ("labels.gz", 500, 500)
    download(wanted(good), tmp_path)
    assert len(good.asked) == 3  # found, not fetched again


CHILD = """
import sys
from pathlib import Path
from poolstudy.data.download import download
from poolstudy.spec.datasets import IdxData
section = IdxData.model_validate_json(Path(sys.argv[1]).read_text())
download(section, Path(sys.argv[2]), lambda *step: print(*step, flush=True))
"""


def program(tmp_path: Path, section: IdxData) -> "subprocess.Popen[str]":
    """A process that downloads the section to tmp_path/fetched; returned when it has begun."""
    (tmp_path / "section.json").write_text(section.model_dump_json())
    arguments = [sys.executable, "-c", CHILD, str(tmp_path / "section.json"), str(tmp_path / "fetched")]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("images.gz")
    return process


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_download_whose_program_was_killed_goes_on_in_the_next(tmp_path: Path, mirror: Mirrors) -> None:
    good, part = mirror(images=IMAGES, labels=LABELS), tmp_path / "fetched" / "images.gz.part"
    good.faults = [Fault(cut=CUT, stalls=True)]
    process = program(tmp_path, wanted(good))
    until(lambda: part.exists() and part.stat().st_size >= CUT - 10_000)  # some may be in the process' own buffer
    process.kill()
    process.communicate()
    there = part.stat().st_size
    download(wanted(good), tmp_path / "fetched", patience=QUICK)
    assert good.asked == ["images.gz", f"images.gz bytes={there}-", "labels.gz"]
    assert contents(tmp_path / "fetched") == BOTH


@pytest.mark.parametrize("begun", [IMAGES[:CUT], OTHERS[:CUT]], ids=["right", "wrong"])
def test_a_mirror_without_ranges_gives_it_anew(tmp_path: Path, mirror: Mirrors, begun: bytes) -> None:
    good = mirror(images=IMAGES, labels=LABELS)
    good.knows_ranges = False
    put_part(tmp_path, begun)
    download(wanted(good), tmp_path, patience=QUICK)
    assert good.asked == [f"images.gz bytes={CUT}-", "labels.gz"]
    assert contents(tmp_path) == BOTH


def test_a_part_longer_than_the_file_is_begun_anew(tmp_path: Path, mirror: Mirrors) -> None:
    good = mirror(images=IMAGES, labels=LABELS)
    put_part(tmp_path, IMAGES + b"more")
    download(wanted(good), tmp_path, patience=QUICK)
    assert good.asked == ["images.gz bytes=300004-", "images.gz", "labels.gz"]
    assert contents(tmp_path) == BOTH


def test_bytes_from_elsewhere_in_the_file_are_not_appended(tmp_path: Path, mirror: Mirrors) -> None:
    good = mirror(images=IMAGES, labels=LABELS)
    good.faults = [Fault(shift=5)]
    put_part(tmp_path, IMAGES[:CUT])
    download(wanted(good), tmp_path, patience=QUICK)
    assert good.asked == [f"images.gz bytes={CUT}-", "images.gz", "labels.gz"]
    assert contents(tmp_path) == BOTH


def test_a_part_that_is_whole_already_only_gets_its_name(tmp_path: Path, mirror: Mirrors) -> None:
    good = mirror(images=IMAGES, labels=LABELS)
    put_part(tmp_path, IMAGES)
    download(wanted(good), tmp_path, patience=QUICK)
    assert good.asked == ["labels.gz"]
    assert contents(tmp_path) == BOTH


def test_a_range_that_ends_before_the_file_does_counts_as_a_cut(tmp_path: Path, mirror: Mirrors) -> None:
    good = mirror(images=IMAGES, labels=LABELS)
    good.faults = [Fault(short=1000)]
    put_part(tmp_path, IMAGES[:CUT])
    download(wanted(good), tmp_path, patience=QUICK)
    assert good.asked == [f"images.gz bytes={CUT}-", "images.gz bytes=299000-", "labels.gz"]
    assert contents(tmp_path) == BOTH


def test_the_length_of_a_range_says_how_long_the_file_is(tmp_path: Path, mirror: Mirrors) -> None:
    good = mirror(images=IMAGES, labels=LABELS)
    good.says_total = False
    put_part(tmp_path, IMAGES[:CUT])
    steps: list[tuple[str, int, int | None]] = []
    download(wanted(good), tmp_path, lambda *step: steps.append(step), QUICK)
    assert steps[:2] == [("images.gz", CUT, None), ("images.gz", CUT, 300_000)]


def test_the_length_need_not_be_known(tmp_path: Path, mirror: Mirrors) -> None:
    good = mirror(images=IMAGES, labels=LABELS)
    good.says_length = False
    download(wanted(good), tmp_path, patience=QUICK)
    assert contents(tmp_path) == BOTH


def test_the_bytes_stay_as_they_are_where_a_mirror_says_they_are_packed(tmp_path: Path, mirror: Mirrors) -> None:
    good = mirror(images=IMAGES, labels=LABELS)
    good.calls_it_packed = True
    download(wanted(good), tmp_path, patience=QUICK)
    assert contents(tmp_path) == BOTH


# Tried again


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=503),
        Fault(status=429),
        Fault(hangs_up=True),
        Fault(cut=0),
        Fault(cut=0, stalls=True),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again(tmp_path: Path, mirror: Mirrors, fault: Fault) -> None:
    good, unneeded = mirror(images=IMAGES, labels=LABELS), mirror()
    good.faults = [fault, fault]
    silence = 0.5 if fault.stalls else 20
    download(wanted(good, unneeded), tmp_path, patience=Patience(pauses=(0, 0), silence=silence))
    assert good.asked == ["images.gz"] * 3 + ["labels.gz"]
    assert unneeded.asked == []
    assert contents(tmp_path) == BOTH


def test_it_waits_longer_each_time() -> None:
    pauses = Patience().pauses
    assert len(pauses) == 2  # three tries
    assert 0 < pauses[0] < pauses[1] < 5


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_what_will_not_pass_is_not_tried_again(tmp_path: Path, mirror: Mirrors, status: int) -> None:
    bad, good = mirror(images=IMAGES), mirror(images=IMAGES, labels=LABELS)
    bad.faults = [Fault(status=status)]
    download(wanted(bad, good), tmp_path, patience=QUICK)
    assert bad.asked == ["images.gz", "labels.gz"]
    assert contents(tmp_path) == BOTH


def test_after_the_last_try_the_next_mirror_goes_on(tmp_path: Path, mirror: Mirrors) -> None:
    bad, good = mirror(images=IMAGES, labels=LABELS), mirror(images=IMAGES, labels=LABELS)
    bad.faults = [Fault(cut=CUT), Fault(cut=CUT + 10), Fault(cut=CUT + 20)]
    download(wanted(bad, good), tmp_path, patience=QUICK)
    assert bad.asked == ["images.gz", f"images.gz bytes={CUT}-", f"images.gz bytes={CUT + 10}-", "labels.gz"]
    assert good.asked == [f"images.gz bytes={CUT + 20}-"]
    assert contents(tmp_path) == BOTH


# Refused


def test_a_wrong_file_is_thrown_away_and_the_next_mirror_asked(tmp_path: Path, mirror: Mirrors) -> None:
    bad, good = mirror(images=OTHERS, labels=LABELS), mirror(images=IMAGES, labels=LABELS)
    download(wanted(bad, good), tmp_path, patience=QUICK)
    assert bad.asked == ["images.gz", "labels.gz"]
    assert good.asked == ["images.gz"]
    assert contents(tmp_path) == BOTH


def test_a_part_of_another_file_costs_a_download_but_not_the_mirror(tmp_path: Path, mirror: Mirrors) -> None:
    good, unneeded = mirror(images=IMAGES, labels=LABELS), mirror()
    put_part(tmp_path, OTHERS[:CUT])
    download(wanted(good, unneeded), tmp_path, patience=QUICK)
    assert good.asked == [f"images.gz bytes={CUT}-", "images.gz", "labels.gz"]
    assert unneeded.asked == []
    assert contents(tmp_path) == BOTH


def test_a_wrong_mirror_is_asked_once_more_from_zero_then_given_up(tmp_path: Path, mirror: Mirrors) -> None:
    bad, good = mirror(images=OTHERS, labels=LABELS), mirror(images=IMAGES, labels=LABELS)
    put_part(tmp_path, IMAGES[:CUT])
    download(wanted(bad, good), tmp_path, patience=QUICK)
    assert bad.asked == [f"images.gz bytes={CUT}-", "images.gz", "labels.gz"]
    assert good.asked == ["images.gz"]
    assert contents(tmp_path) == BOTH


# What is said in the end


def test_the_error_names_each_mirror_and_why_and_what_to_do(tmp_path: Path, mirror: Mirrors) -> None:
    absent, wrong, broken, busy = mirror(), mirror(images=OTHERS), mirror(images=IMAGES), mirror()
    broken.faults = [Fault(cut=CUT)] * 3
    busy.faults = [Fault(status=503)] * 3
    with pytest.raises(DataError) as caught:
        download(wanted(absent, wrong, "http://127.0.0.1:9", "mirror", busy, broken), tmp_path / "new", patience=QUICK)
    found, _, rest = str(caught.value).partition("; expected ")
    begins, _, why = found.removesuffix(")").partition(" (")
    assert begins == "no tiny in fetched, and no download of images.gz"
    right, other = (hashlib.sha256(content).hexdigest()[:16] for content in (IMAGES, OTHERS))
    no_address = "Invalid URL 'mirror/images.gz': No scheme supplied. Perhaps you meant https://mirror/images.gz?"
    assert why.split("; ") == [
        f"{absent.address}: HTTPError 404 Not Found",
        f"{wrong.address}: SHA-256 {other}… instead of {right}…",
        "http://127.0.0.1:9: ConnectionError (Connection refused), 3 tries",
        f"mirror: MissingSchema: {no_address}",
        f"{busy.address}: HTTPError 503 Service Unavailable, 3 tries",
        f"{broken.address}: cut after {CUT} of 300000 bytes, ProtocolError, 3 tries",
    ]
    assert "\n" not in str(caught.value)
    assert rest == (
        "the files in one of these folders, or a mirror that answers; "
        f"put images.gz and labels.gz into {tmp_path / 'new'}, or use data=digits"
    )
    assert contents(tmp_path / "new") == {"images.gz.part": IMAGES[:CUT]}  # the next program goes on from there


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, mirror: Mirrors) -> None:
    good = mirror(images=IMAGES, labels=LABELS)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"^/.*/file/fetched cannot be written \(Not a directory\); expected .*; mend"):
        download(wanted(good), tmp_path / "file" / "fetched")
    assert good.asked == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, mirror: Mirrors) -> None:
    good = mirror(images=IMAGES, labels=LABELS)
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match=r"cannot be written \(Permission denied\)"):
        download(wanted(good), tmp_path)
    assert good.asked == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_is_told_as_one(tmp_path: Path, mirror: Mirrors) -> None:
    good = mirror(images=IMAGES, labels=LABELS)
    (tmp_path / "images.gz.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\)"):
        download(wanted(good, good), tmp_path, patience=QUICK)
    assert good.asked == ["images.gz"]  # no other mirror would mend it


# Two at a time


def test_two_programs_fetch_each_file_once(tmp_path: Path, mirror: Mirrors) -> None:
    good = mirror(images=IMAGES, labels=LABELS)
    good.faults = [Fault(cut=CUT, stalls=True)]
    first, second = program(tmp_path, wanted(good)), program(tmp_path, wanted(good))
    until(lambda: len(good.asked) == 1)
    time.sleep(0.3)  # the other could ask as well
    good.go_on.set()
    for process in (first, second):
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert good.asked == ["images.gz", "labels.gz"]
    assert contents(tmp_path / "fetched") == BOTH


# From the configuration on


def test_data_that_are_in_no_folder_are_downloaded_into_the_first(project: Path, mirror: Mirrors) -> None:
    section = load_config("tiny", [], project).data
    assert isinstance(section, IdxData)
    good = mirror(**{path.stem: path.read_bytes() for path in (project / "images").iterdir()})
    remote = section.model_copy(
        update={"path": None, "search": ("fetched", "more"), "mirrors": (mirror().address, good.address)}
    )
    assert len(load_search_data(remote, project).train_labels) == 200
    assert contents(project / "fetched") == contents(project / "images")


def test_a_download_that_fails_says_why_and_leaves_no_file(project: Path, mirror: Mirrors) -> None:
    section = load_config("tiny", [], project).data
    assert isinstance(section, IdxData)
    addresses = mirror().address, mirror(images=b"something else").address
    remote = section.model_copy(update={"path": None, "search": ("fetched",), "mirrors": addresses})
    with pytest.raises(DataError, match="HTTPError.*SHA-256.*data=digits"):
        load_search_data(remote, project)
    assert contents(project / "fetched") == {}
