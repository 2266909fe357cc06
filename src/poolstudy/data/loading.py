"""The images: found (or had from `download`), verified, split as the notebook did, kept as uint8.

Formats: IDX (Y. LeCun, http://yann.lecun.com/exdb/mnist: big-endian magic, dimensions, bytes) and
scikit-learn's embedded digits.
"""

import dataclasses
import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poolstudy.data.download import Progress, download
from poolstudy.errors import ConfigurationError, DataError
from poolstudy.spec.datasets import DataFile, DigitsData, IdxData
from poolstudy.spec.records import DataIdentity, digest_of
from poolstudy.system.files import replacing

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class SearchData:
    """What a search may see: training and validation images, never the test images.

    Attributes:
        train_images: (N, rows, columns, channels), uint8, 0 to 255.
        train_labels: (N,), uint8.
        validation_images, validation_labels: likewise.
        identity: says which data these are.
    """

    train_images: Bytes
    train_labels: Bytes
    validation_images: Bytes
    validation_labels: Bytes
    identity: DataIdentity

    def first(self, count: int) -> "SearchData":
        """The first `count` training images, and as large a share of the validation images."""
        share = min(1.0, count / len(self.train_labels))
        validation = max(1, round(share * len(self.validation_labels)))
        return dataclasses.replace(
            self,
            train_images=self.train_images[:count],
            train_labels=self.train_labels[:count],
            validation_images=self.validation_images[:validation],
            validation_labels=self.validation_labels[:validation],
        )

    def save(self, folder: Path) -> Path:
        """Writes the arrays where worker processes map them into memory, all sharing one copy."""
        for name in _ARRAYS:
            with replacing(folder / f"{name}.npy") as file:
                np.save(file, getattr(self, name))
        with replacing(folder / "identity.json") as file:
            file.write_text(self.identity.model_dump_json())
        return folder

    @classmethod
    def open(cls, folder: Path) -> "SearchData":
        """The saved arrays, read-only and mapped from disk."""
        identity = DataIdentity.model_validate_json((folder / "identity.json").read_text())
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        return cls(**arrays, identity=identity)


_ARRAYS = ("train_images", "train_labels", "validation_images", "validation_labels")
PARTS = (*_ARRAYS, "train_indices", "validation_indices")
"""What the data's identity is made of: the arrays, and which of all the images they are."""


def scaled(images: Bytes) -> NDArray[np.float32]:
    """uint8 0 to 255 as float32 0 to 1, as the networks take them."""
    return images.astype(np.float32) / np.float32(255)


def load_search_data(section: IdxData | DigitsData, root: Path, progress: Progress = lambda *_: None) -> SearchData:
    """Finds (or downloads) the data, verifies them and splits them.

    The split is scikit-learn's `train_test_split(test_size=validation_fraction,
    random_state=split_seed)`; `train_limit` then keeps the first images of the training part.

    Args:
        root: what relative folders are relative to.

    Raises:
        ConfigurationError: `train_limit` asks for more images than there are.
        DataError: no data, a damaged file, or images and labels that do not fit together.
    """
    images, labels = _digits() if section.format == "digits" else _idx_pair(section, root, progress)
    if images.shape[1:] != section.image_shape:
        raise DataError(f"images of shape {images.shape[1:]}", f"{section.image_shape}", "check data.image_shape")
    if len(images) != len(labels) or len(labels) == 0:
        raise DataError(f"{len(images)} images and {len(labels)} labels", "as many, and some", "replace the files")
    if labels.max() >= len(section.class_names):
        raise DataError(f"label {labels.max()}", f"below {len(section.class_names)}", "check data.class_names")
    return _split(section, images, labels)


def _split(section: IdxData | DigitsData, images: Bytes, labels: Bytes) -> SearchData:
    from sklearn.model_selection import train_test_split  # a second to import

    try:
        train, validation = train_test_split(
            np.arange(len(images)), test_size=section.validation_fraction, random_state=section.split_seed
        )
    except ValueError:
        raise ConfigurationError(
            f"data.validation_fraction={section.validation_fraction} of {len(images)} images",
            "a share that leaves some for training and some for validation",
            "change it",
        ) from None
    limit = section.train_limit or len(train)
    if limit > len(train):
        raise ConfigurationError(
            f"data.train_limit={limit}", f"at most {len(train)}, the training images there are", "lower it"
        )
    train = train[:limit]
    arrays = (images[train], labels[train], images[validation], labels[validation])
    parts = dict(zip(PARTS, map(digest, (*arrays, train, validation)), strict=True))
    identity = DataIdentity(
        name=section.name,
        digest=digest_of(parts),
        parts=parts,
        image_shape=section.image_shape,
        class_names=section.class_names,
        train_images=len(train),
        validation_images=len(validation),
        validation_fraction=section.validation_fraction,
        split_seed=section.split_seed,
    )
    return SearchData(*arrays, identity=identity)


def digest(array: NDArray[np.generic]) -> str:
    """SHA-256 over dtype, shape and every byte of an array."""
    little = array.dtype.newbyteorder("<")
    total = hashlib.sha256(f"{little.str}{array.shape}".encode())
    total.update(np.ascontiguousarray(array.astype(little, copy=False)).data)
    return total.hexdigest()


def _digits() -> tuple[Bytes, Bytes]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Their 17 grey levels, 0 to 16, spread over a byte as evenly as whole numbers allow.
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    return images, digits.target.astype(np.uint8)


def _idx_pair(section: IdxData, root: Path, progress: Progress) -> tuple[Bytes, Bytes]:
    files = section.images, section.labels
    folder = find_folder(section, root)
    if folder is None:
        folder = next(_searched(section, root), resolved(f"data/{section.name}", root))
        download(section, folder, progress)
    images, labels = (_read_idx(folder / entry.file, entry) for entry in files)
    if images.ndim == 3:
        images = images[..., None]
    return images, labels


def find_folder(section: IdxData, root: Path) -> Path | None:
    """The folder that holds the files; None where they are to be downloaded.

    A folder that was named (data.path, POOLSTUDY_DATA) must hold them; of those of `search` the first that does.

    Raises:
        DataError: one that was named does not, or is no folder of this machine.
    """
    for source, name in (("data.path", section.path), ("POOLSTUDY_DATA", os.environ.get("POOLSTUDY_DATA"))):
        if name:
            folder = resolved(name, root)
            for entry in (section.images, section.labels):
                if not (folder / entry.file).is_file():
                    raise DataError(f"no {entry.file} in {folder}", f"it there, from {source}", f"correct {source}")
            return folder
    for folder in _searched(section, root):
        if all((folder / entry.file).is_file() for entry in (section.images, section.labels)):
            return folder
    return None


def _searched(section: IdxData, root: Path) -> Iterator[Path]:
    """The folders of `search`; one in the home folder of somebody who has none here is no place to look."""
    for name in section.search:
        try:
            folder = resolved(name, root)
        except DataError:
            continue
        yield folder


def resolved(name: str, root: Path) -> Path:
    """The folder of that name, relative to the project's where it is relative.

    Raises:
        DataError: it lies in the home folder (~) of somebody who has none here, or is a link to itself.
    """
    try:
        return (root / Path(name).expanduser()).resolve()
    except RuntimeError as error:
        raise DataError(f"{name}: {str(error).rstrip('.')}", "a folder of this machine", "name it in full") from None


def _read_idx(path: Path, entry: DataFile) -> Bytes:
    """One IDX file of bytes, its checksum verified first."""
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "a readable file", "mend its permissions") from None
    found = hashlib.sha256(packed).hexdigest()
    remedy = "replace it (one in data.search may be deleted: it is downloaded again)"
    if found != entry.sha256:
        raise DataError(f"{path} has SHA-256 {found[:16]}…", f"{entry.sha256[:16]}…", remedy)
    try:
        content = gzip.decompress(packed)
        if content[:3] != b"\0\0\x08":
            raise ValueError("its first bytes are not 0, 0, 8")  # noqa: TRY301  # told like numpy's own below
        dimensions = np.frombuffer(content, ">u4", count=content[3], offset=4).astype(int)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(dimensions)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise DataError(f"{path} is no IDX file of bytes ({error})", "one, gzipped", remedy) from None
