"""Files that are whole or not there."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to beside `path`, renamed onto it when the block ends well.

    A process that dies in the block leaves `path` as it was; so does a block that removes what it wrote.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        part.write_bytes(b"")  # now is the time to find out that it cannot be written
        yield part
        if part.exists():
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)
