"""Download of a data set's files with pooch: each from the first mirror that has it right."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from poolstudy.errors import DataError, cause, one_line
from poolstudy.spec.datasets import DataFile, IdxData
from poolstudy.system.files import replacing

Progress = Callable[[str, int, int | None], None]
"""Called with (file, bytes done, bytes in all or None); 0 bytes are done when a mirror begins."""

_TIMEOUT = (5, 30)  # seconds to wait for a connection, and for the next bytes
_HEADERS = {"Accept-Encoding": "identity"}  # the file as it is: what is unpacked on the way has another SHA-256
_CHUNK = 1 << 16  # bytes


@dataclass
class _ProgressBar:
    """Adapter from pooch's progress bar to `Progress`."""

    file: str
    progress: Progress
    total: int = 0  # set by pooch; 0: unknown
    done: int = 0

    def update(self, count: int) -> None:
        """Add a chunk, which counts in full even if it is the shorter last one."""
        self.done = min(self.done + count, self.total or self.done + count)
        self.progress(self.file, self.done, self.total or None)

    def reset(self) -> None:
        """Keep the count: pooch then adds the total."""

    def close(self) -> None:
        """Do nothing: the caller ends its own display."""


def download(section: IdxData, folder: Path, progress: Progress = lambda *_: None) -> None:
    """Fetch those of the two files that are missing in `folder`, each from the first mirror that has it right.

    Raises:
        DataError: no mirror gave a file, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for entry in (section.images, section.labels):
            if not (folder / entry.file).is_file():
                _download_file(section, entry, folder, progress)
    except OSError as error:
        found = f"{folder} cannot be written ({error.strerror or one_line(error)})"
        expected = "a folder for the downloaded images, with room for them"
        raise DataError(found, expected, "fix it, or name another first in data.search") from None


def _download_file(section: IdxData, entry: DataFile, folder: Path, progress: Progress) -> None:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    reasons = []
    for mirror in section.mirrors:
        progress(entry.file, 0, None)
        bar = _ProgressBar(entry.file, progress)
        fetch = pooch.HTTPDownloader(progressbar=bar, chunk_size=_CHUNK, timeout=_TIMEOUT, headers=_HEADERS)
        try:
            with replacing(folder / entry.file) as part:
                fetch(f"{mirror.rstrip('/')}/{entry.file}", str(part), None)
                if (found := pooch.file_hash(str(part))) == entry.sha256:
                    return
                part.unlink()
                reasons.append(f"{mirror}: SHA-256 {found[:16]}… instead of {entry.sha256[:16]}…")
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno:  # the disk's: those of requests have no number
                raise
            reasons.append(f"{mirror}: {cause(error).split(' for url: ')[0]}")
    raise DataError(
        f"no {section.name} in {', '.join(section.search) or 'data.search'}, and no download of {entry.file} "
        f"({'; '.join(reasons) or 'no mirrors are given'})",
        "the files in one of these folders, or a mirror that answers",
        f"put {section.images.file} and {section.labels.file} into {folder}, or use data=digits",
    )
