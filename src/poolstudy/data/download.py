"""Fetching the files of a data set: gone on with where one was cut, tried again, verified, mirror after mirror.

What has come of a file lies in `<file>.part`, in the folder it is for, and stays there however the program ends.
It gets the file's name once its SHA-256 is right.
"""

import contextlib
import functools
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from poolstudy.errors import DataError, one_line
from poolstudy.spec.datasets import DataFile, IdxData

if TYPE_CHECKING:  # only who downloads pays for it
    import requests

Progress = Callable[[str, int, int | None], None]
"""Told (file, bytes that are there, bytes in all or None) while a file is downloaded."""
_Tell = Callable[[int, int | None], None]  # the same, of one file

_BLOCK = 1 << 18  # bytes read at a time, at most
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")  # RFC 9110, 14.4: first byte, last byte, bytes in all


@dataclass(frozen=True)
class Patience:
    """How much is borne with from one mirror.

    Attributes:
        pauses: seconds before each further try: there is one try more than pauses.
        connecting: seconds to wait for a connection.
        silence: seconds to wait for the next byte.
    """

    pauses: tuple[float, ...] = (0.5, 2.0)
    connecting: float = 5
    silence: float = 60


PATIENCE = Patience()


class _Refused(Exception):
    """Why a mirror does not give a file."""


class _Faltered(_Refused):
    """Why it did not this time: another try may bring it."""


def download(
    section: IdxData, folder: Path, progress: Progress = lambda *_: None, patience: Patience = PATIENCE
) -> None:
    """Fetches those of the two files that `folder` lacks, each from the first mirror that has it right.

    Processes that want the same file wait for the first of them.

    Raises:
        DataError: no mirror gave a file, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for entry in (section.images, section.labels):
            if not (folder / entry.file).is_file():
                _download_file(section, entry, folder, functools.partial(progress, entry.file), patience)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written ({error.strerror or one_line(error)})",
            "a folder for the downloaded images, with room for them",
            "mend it, or name another first in data.search",
        ) from None


def _download_file(section: IdxData, entry: DataFile, folder: Path, tell: _Tell, patience: Patience) -> None:
    file, part = folder / entry.file, folder / f"{entry.file}.part"
    tell(_size(part), None)
    with _alone(file):
        if file.is_file() or _already_whole(part, file, entry.sha256):
            return
        problems = []
        for mirror in section.mirrors:
            try:
                _from_mirror(f"{mirror.rstrip('/')}/{entry.file}", part, entry.sha256, tell, patience)
            except _Refused as why:
                problems.append(f"{mirror}: {why}")
            else:
                part.replace(file)
                return
    raise DataError(
        f"no {section.name} in {', '.join(section.search) or 'data.search'}, and no download of {entry.file} "
        f"({'; '.join(problems) or 'no mirrors are given'})",
        "the files in one of these folders, or a mirror that answers",
        f"put {section.images.file} and {section.labels.file} into {folder}, or use data=digits",
    )


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """No other process is in the block for this file; the system drops the lock with its process.

    Raises:
        OSError: the folder cannot be written.
    """
    lock = file.with_name(f".{file.name}.lock")
    with FileLock(lock):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)  # who waits for it sees that it is gone, and makes a new one


def _already_whole(part: Path, file: Path, sha256: str) -> bool:
    """Whether the last program was killed between the last byte and the name, which it then gets."""
    whole = _size(part) > 0 and _sha256(part) == sha256
    if whole:
        part.replace(file)
    return whole


def _from_mirror(url: str, part: Path, sha256: str, tell: _Tell, patience: Patience) -> None:
    """Leaves the right file in `part`.

    Raises:
        _Refused: this mirror does not have it; of a file that is wrong nothing is kept.
    """
    resumed = _fetch_patiently(url, part, tell, patience)
    if resumed and _sha256(part) != sha256:
        part.unlink()  # its beginning may be another mirror's: once more, all from this one
        _fetch_patiently(url, part, tell, patience)
    found = _sha256(part)
    if found != sha256:
        part.unlink()
        raise _Refused(f"SHA-256 {found[:16]}… instead of {sha256[:16]}…")


def _fetch_patiently(url: str, part: Path, tell: _Tell, patience: Patience) -> bool:
    """`_fetch`, tried again where that may help; each try goes on where the one before was cut."""
    for pause in patience.pauses:
        try:
            return _fetch(url, part, tell, patience)
        except _Faltered:
            time.sleep(pause)
    try:
        return _fetch(url, part, tell, patience)
    except _Faltered as why:
        raise _Refused(f"{why}, {len(patience.pauses) + 1} tries") from None


def _fetch(url: str, part: Path, tell: _Tell, patience: Patience) -> bool:
    """Asks once for what `part` lacks, and adds it.

    Returns:
        Whether something was there before it.

    Raises:
        _Refused: the mirror did not give it; what it gave is kept.
    """
    have = _size(part)
    with _ask(url, have, patience) as answer:
        start = _start(answer, have)
        if start is not None:
            _write(answer, part, start, tell)
            return start > 0
    part.unlink()  # it is not the beginning of what this mirror has
    return _fetch(url, part, tell, patience)


def _ask(url: str, have: int, patience: Patience) -> "requests.Response":
    import requests

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        return requests.get(url, headers=headers, stream=True, timeout=(patience.connecting, patience.silence))
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _Faltered(_kind(error)) from None
    except (OSError, ValueError) as error:  # redirected for ever, no address, certificates that are not there
        raise _Refused(f"{type(error).__name__}: {one_line(error, 120)}") from None


def _start(answer: "requests.Response", have: int) -> int | None:
    """Which byte of the file the answer begins with; None where nothing goes on from what is there."""
    status = answer.status_code
    if status == 200:
        return 0
    if have and status == 206:
        match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        return have if match and int(match[1]) == have else None
    if have and status == 416:
        return None
    said = f"HTTPError {status} {answer.reason}"
    raise _Faltered(said) if status >= 500 or status == 429 else _Refused(said)


def _write(answer: "requests.Response", part: Path, start: int, tell: _Tell) -> None:
    """Puts the answer's bytes at `start`, as they come.

    Raises:
        _Faltered: it was cut.
        OSError: they cannot be written.
    """
    from urllib3.exceptions import HTTPError

    total = _total(answer, start)
    tell(start, total)
    with part.open("ab" if start else "wb") as file:
        try:
            # Not iter_content: it drops up to a whole block before a cut, and unpacks a .gz that is called encoded.
            while block := answer.raw.read1(_BLOCK, decode_content=False):
                file.write(block)
                tell(file.tell(), total)
        except HTTPError as error:
            raise _Faltered(f"cut after {file.tell()} of {total or '?'} bytes, {_kind(error)}") from None
        size = file.tell()
    if total is not None and size < total:
        raise _Faltered(f"cut after {size} of {total} bytes")


def _total(answer: "requests.Response", start: int) -> int | None:
    """The bytes of the whole file, where the answer says it."""
    match = _RANGE.fullmatch(answer.headers.get("Content-Range", "")) if start else None
    if match and match[2] != "*":
        return int(match[2])
    length = answer.headers.get("Content-Length", "")
    return start + int(length) if length.isdecimal() else None


def _kind(error: BaseException) -> str:
    """An error of the network by its name, and what the system said where it began."""
    root = error
    while inner := root.__cause__ or root.__context__:
        root = inner
    said = root.strerror if isinstance(root, OSError) else None
    return f"{type(error).__name__} ({said})" if said else type(error).__name__


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
