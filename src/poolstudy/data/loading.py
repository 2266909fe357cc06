"""Images of a data set: found or downloaded, verified, split as the notebook did, kept as uint8.

Formats: IDX (Y. LeCun, http://yann.lecun.com/exdb/mnist: big-endian magic, dimensions, bytes) and
scikit-learn's embedded digits.
"""

import contextlib
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
from poolstudy.spec.datasets import DataFile, DataSection, DataSettings, IdxData
from poolstudy.spec.records import DataIdentity, digest_of
from poolstudy.system.files import replacing

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class SearchData:
    """Training and validation images of a search, never the test images.

    Images have the shape (N, rows, columns, channels) and values from 0 to 255, labels the shape (N,).
    """

    train_images: Bytes
    train_labels: Bytes
    validation_images: Bytes
    validation_labels: Bytes
    identity: DataIdentity

    def first(self, count: int) -> "SearchData":
        """Return the first `count` training images, and as large a share of the validation images."""
        share = min(1.0, count / len(self.train_labels))
        validation = max(1, round(share * len(self.validation_labels)))
        images, labels = self.validation_images[:validation], self.validation_labels[:validation]
        return SearchData(self.train_images[:count], self.train_labels[:count], images, labels, self.identity)

    def save(self, folder: Path) -> Path:
        """Write the arrays where worker processes map them into memory, all sharing one copy."""
        for name in _ARRAYS:
            with replacing(folder / f"{name}.npy") as file:
                np.save(file, getattr(self, name))
        with replacing(folder / "identity.json") as file:
            file.write_text(self.identity.model_dump_json())
        return folder

    @classmethod
    def open(cls, folder: Path) -> "SearchData":
        """Return the saved arrays, read-only and mapped from disk."""
        identity = DataIdentity.model_validate_json((folder / "identity.json").read_text())
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        return cls(**arrays, identity=identity)


_ARRAYS = ("train_images", "train_labels", "validation_images", "validation_labels")
PARTS = (*_ARRAYS, "train_indices", "validation_indices")
"""Parts of the data's identity: the arrays, and the indices of their images among all images."""


def scaled(images: Bytes) -> NDArray[np.float32]:
    """Return uint8 0 to 255 as float32 0 to 1, as the networks take them."""
    return images.astype(np.float32) / np.float32(255)


def load_search_data(section: DataSettings, root: Path, progress: Progress = lambda *_: None) -> SearchData:
    """Find (or download) the data, verify them and split them.

    The split is scikit-learn's `train_test_split(test_size=validation_fraction,
    random_state=split_seed)`; `train_limit` then keeps the first images of the training part.

    Args:
        root: the folder that relative folders start from.

    Raises:
        ConfigurationError: `train_limit` asks for more images than there are.
        DataError: no data, a damaged file, or images and labels that do not fit together.
    """
    images, labels = _digits() if section.format == "digits" else _idx_pair(section, root, progress)
    if images.shape[1:] != section.image_shape:
        raise DataError(f"images of shape {images.shape[1:]}", f"{section.image_shape}", "check data.image_shape")
    if len(images) != len(labels) or len(labels) == 0:
        raise DataError(f"{len(images)} images and {len(labels)} labels", "equal numbers above 0", "replace the files")
    if labels.max() >= len(section.class_names):
        raise DataError(f"label {labels.max()}", f"below {len(section.class_names)}", "check data.class_names")
    return _split(section, images, labels)


def _split(section: DataSettings, images: Bytes, labels: Bytes) -> SearchData:
    from sklearn.model_selection import train_test_split  # a second to import

    fraction, indices = section.validation_fraction, np.arange(len(images))
    try:
        train, validation = train_test_split(indices, test_size=fraction, random_state=section.split_seed)
    except ValueError:
        found = f"data.validation_fraction={fraction} of {len(images)} images"
        expected = "a share that leaves some for training and some for validation"
        raise ConfigurationError(found, expected, "change it") from None
    limit = section.train_limit or len(train)
    if limit > len(train):
        expected = f"at most {len(train)}, the number of training images"
        raise ConfigurationError(f"data.train_limit={limit}", expected, "lower it")
    train = train[:limit]
    arrays = (images[train], labels[train], images[validation], labels[validation])
    parts = dict(zip(PARTS, map(digest, (*arrays, train, validation)), strict=True))
    settings = section.model_dump(include=DataSection.model_fields.keys() & DataIdentity.model_fields.keys())
    settings |= {"train_images": len(train), "validation_images": len(validation)}
    return SearchData(*arrays, identity=DataIdentity(digest=digest_of(parts), parts=parts, **settings))


def digest(array: NDArray[np.generic]) -> str:
    """Return the SHA-256 over dtype, shape and every byte of an array."""
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
    folder = find_folder(section, root)
    if folder is None:
        folder = next(_searched(section, root), resolved(f"data/{section.name}", root))
        download(section, folder, progress)
    images, labels = (_read_idx(folder / entry.file, entry) for entry in (section.images, section.labels))
    return (images[..., None] if images.ndim == 3 else images), labels


def find_folder(section: IdxData, root: Path) -> Path | None:
    """Return the folder that holds the files, or None if they must be downloaded.

    A folder named by data.path or POOLSTUDY_DATA must hold them; otherwise it is the first of `search` that does.

    Raises:
        DataError: a named folder does not hold them, or cannot be resolved.
    """
    files = section.images.file, section.labels.file
    for source, name in (("data.path", section.path), ("POOLSTUDY_DATA", os.environ.get("POOLSTUDY_DATA"))):
        if name:
            folder = resolved(name, root)
            for file in files:
                if not (folder / file).is_file():
                    raise DataError(f"no {file} in {folder}", f"it there, from {source}", f"correct {source}")
            return folder
    return next((at for at in _searched(section, root) if all((at / file).is_file() for file in files)), None)


def _searched(section: IdxData, root: Path) -> Iterator[Path]:
    """Yield the folders of `search`, without those that cannot be resolved."""
    for name in section.search:
        with contextlib.suppress(DataError):
            yield resolved(name, root)


def resolved(name: str, root: Path) -> Path:
    """Return the folder as an absolute path; a relative name starts from `root`.

    Raises:
        DataError: the name begins with the home folder (~) of an unknown user, or is a link to itself.
    """
    try:
        return (root / Path(name).expanduser()).resolve()
    except RuntimeError as error:
        raise DataError(f"{name}: {str(error).rstrip('.')}", "a folder of this machine", "name it in full") from None


def _read_idx(path: Path, entry: DataFile) -> Bytes:
    """Return the array of an IDX file of bytes, after verifying its checksum."""
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "a readable file", "fix its permissions") from None
    found = hashlib.sha256(packed).hexdigest()
    remedy = "replace it (one in data.search may be deleted: it is downloaded again)"
    if found != entry.sha256:
        raise DataError(f"{path} has SHA-256 {found[:16]}…", f"{entry.sha256[:16]}…", remedy)
    try:
        content = gzip.decompress(packed)
        if content[:3] != b"\0\0\x08":
            raise ValueError("its first bytes are not 0, 0, 8")  # noqa: TRY301  # reported like numpy's own below
        dimensions = np.frombuffer(content, ">u4", count=content[3], offset=4).astype(int)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(dimensions)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise DataError(f"{path} is no IDX file of bytes ({error})", "a gzipped one", remedy) from None
