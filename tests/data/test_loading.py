import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from conftest import small_images, write_data, write_idx
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from poolstudy.data.loading import SearchData, _split, digest, find_folder, load_search_data, scaled
from poolstudy.errors import ConfigurationError, DataError
from poolstudy.reproduce.verdict import data_differences
from poolstudy.spec.datasets import DataFile, DigitsData, IdxData
from poolstudy.spec.load import load_config
from poolstudy.spec.records import DataIdentity


@pytest.fixture
def section(project: Path) -> IdxData:
    data = load_config("tiny", [], project).data
    assert isinstance(data, IdxData)
    return data


def test_the_split_is_the_notebooks_own(section: IdxData, project: Path) -> None:
    images, labels = small_images(250)
    train_x, val_x, train_y, val_y = train_test_split(images[..., None] / 255.0, labels, test_size=0.2, random_state=42)
    data = load_search_data(section, project)
    assert data.train_images.shape == (200, 8, 8, 1)
    assert data.train_images.dtype == np.uint8
    np.testing.assert_array_equal(scaled(data.train_images), train_x.astype(np.float32))
    np.testing.assert_array_equal(scaled(data.validation_images), val_x.astype(np.float32))
    np.testing.assert_array_equal(data.train_labels, train_y)
    np.testing.assert_array_equal(data.validation_labels, val_y)


def test_a_limit_keeps_the_first_training_images_and_the_validation_images(section: IdxData, project: Path) -> None:
    whole = load_search_data(section, project)
    limited = load_search_data(section.model_copy(update={"train_limit": 50}), project)
    np.testing.assert_array_equal(limited.train_images, whole.train_images[:50])
    np.testing.assert_array_equal(limited.validation_images, whole.validation_images)
    assert limited.identity.digest != whole.identity.digest
    with pytest.raises(ConfigurationError, match="at most 200"):
        load_search_data(section.model_copy(update={"train_limit": 201}), project)


def test_a_share_that_leaves_nothing_is_refused(section: IdxData, project: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"data\.validation_fraction=0\.999 of 250 images"):
        load_search_data(section.model_copy(update={"validation_fraction": 0.999}), project)


def test_workers_open_what_the_coordinator_saved(section: IdxData, project: Path) -> None:
    data = load_search_data(section, project)
    opened = SearchData.open(data.save(project / "cache"))
    assert opened.identity == data.identity
    np.testing.assert_array_equal(opened.validation_images, data.validation_images)
    assert not list((project / "cache").glob(".*"))


NOBODYS = "~nobody-of-this-machine/x"


def test_a_folder_in_the_home_of_nobody_is_refused_where_it_was_named(
    section: IdxData, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = f"{NOBODYS}: Could not determine home directory; expected a folder of this machine; name it in full"
    with pytest.raises(DataError) as caught:
        load_search_data(section.model_copy(update={"path": NOBODYS}), project)
    assert str(caught.value) == said
    monkeypatch.setenv("POOLSTUDY_DATA", NOBODYS)
    with pytest.raises(DataError) as caught:
        load_search_data(section.model_copy(update={"path": None}), project)
    assert str(caught.value) == said


def test_a_folder_in_the_home_of_nobody_is_passed_over_where_it_is_searched(section: IdxData, project: Path) -> None:
    here = section.model_copy(update={"path": None, "search": (NOBODYS, "images")})
    assert find_folder(here, project) == project / "images"
    # Where nothing is found, the first folder of the search that can be is the one to download to.
    nowhere = here.model_copy(update={"search": (NOBODYS, "empty")})
    with pytest.raises(DataError, match="no mirrors are given"):
        load_search_data(nowhere, project)
    assert (project / "empty").is_dir()


def test_every_byte_shape_dtype_and_order_is_in_the_digest() -> None:
    array = np.arange(12, dtype=np.uint8)
    assert digest(array) == digest(array.copy())
    others = [digest(array.reshape(3, 4)), digest(array.astype(np.int64)), digest(array[::-1])]
    for index in range(12):
        changed = array.copy()
        changed[index] ^= 1
        others.append(digest(changed))
    assert len({digest(array), *others}) == 16


def test_a_thousand_changes_of_one_byte_give_a_thousand_identities(section: IdxData, project: Path) -> None:
    random = np.random.default_rng(1)
    images, labels = small_images(250)
    original = load_search_data(section, project).identity.digest
    seen = {original}
    for change in range(1000):
        changed_images, changed_labels = images[..., None].copy(), labels.copy()
        target = changed_images.reshape(-1) if change % 10 else changed_labels
        target[random.integers(len(target))] ^= np.uint8(random.integers(1, 256))
        seen.add(_split(section, changed_images, changed_labels).identity.digest)
    assert len(seen) == 1001


def reloaded(section: IdxData, project: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> DataIdentity:
    """Return the identity of other files, with checksums that fit them."""
    changed = section.model_copy(
        update={
            "images": DataFile(file="images.gz", sha256=write_idx(project / "images" / "images.gz", images)),
            "labels": DataFile(file="labels.gz", sha256=write_idx(project / "images" / "labels.gz", labels)),
        }
    )
    return load_search_data(changed, project).identity


def test_what_differs_in_the_data_is_named(section: IdxData, project: Path) -> None:
    data = load_search_data(section, project)
    images, labels = small_images(250)
    first = train_test_split(np.arange(250), test_size=0.2, random_state=42)[0][:2]

    def named(identity: DataIdentity) -> set[str]:
        return {difference.what for difference in data_differences(data.identity, identity)} - {"data.digest"}

    assert named(reloaded(section, project, images, labels)) == set()
    pixel = images.copy()
    pixel[first[0], 3, 3] ^= 1
    assert named(reloaded(section, project, pixel, labels)) == {"data.parts.train_images"}
    swapped = labels.copy()
    assert swapped[first[0]] != swapped[first[1]]
    swapped[first] = swapped[first[::-1]]
    assert named(reloaded(section, project, images, swapped)) == {"data.parts.train_labels"}
    arrays = {
        f"data.parts.{part}" for part in ("train_images", "train_labels", "validation_images", "validation_labels")
    }
    assert named(reloaded(section, project, images[::-1], labels[::-1])) == arrays
    write_data(project / "images", project / "conf")
    other_split = load_search_data(section.model_copy(update={"split_seed": 43}), project).identity
    indices = {"data.parts.train_indices", "data.parts.validation_indices", "data.split_seed"}
    assert named(other_split) == arrays | indices


def test_digits_need_no_file(tmp_path: Path) -> None:
    section = DigitsData(name="digits", format="digits", image_shape=(8, 8, 1), class_names=tuple("0123456789"))
    data = load_search_data(section, tmp_path)
    assert data.train_images.shape == (1437, 8, 8, 1)  # 1797 * 0.8, rounded down
    assert data.validation_images.shape == (360, 8, 8, 1)
    assert (data.train_images.min(), data.train_images.max()) == (0, 255)


def test_a_folder_that_does_not_exist_is_named(section: IdxData, project: Path) -> None:
    with pytest.raises(DataError, match=r"no images\.gz in .*/nowhere; .*data\.path"):
        load_search_data(section.model_copy(update={"path": "nowhere"}), project)


def test_the_environment_names_a_folder(section: IdxData, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unnamed = section.model_copy(update={"path": None})
    monkeypatch.setenv("POOLSTUDY_DATA", "images")
    assert len(load_search_data(unnamed, project).train_labels) == 200
    monkeypatch.setenv("POOLSTUDY_DATA", "nowhere")
    with pytest.raises(DataError, match="from POOLSTUDY_DATA"):
        load_search_data(unnamed, project)


def test_the_first_folder_that_holds_the_files_is_used(section: IdxData, project: Path) -> None:
    searching = section.model_copy(update={"path": None, "search": ("empty", "images")})
    assert len(load_search_data(searching, project).train_labels) == 200


def test_a_truncated_file_is_named_and_not_used(section: IdxData, project: Path) -> None:
    file = project / "images" / "images.gz"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"images\.gz has SHA-256"):
        load_search_data(section, project)


def test_images_and_labels_of_different_length_are_refused(section: IdxData, project: Path) -> None:
    sha = write_idx(project / "images" / "labels.gz", small_images(249)[1])
    shorter = section.model_copy(update={"labels": DataFile(file="labels.gz", sha256=sha)})
    with pytest.raises(DataError, match="250 images and 249 labels"):
        load_search_data(shorter, project)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"plain text",
        b"\x1f\x8b\x08\x00broken",
        gzip.compress(b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", mtime=0),  # floats
        gzip.compress(b"\0\0\x08\x03\0\0\0\x09", mtime=0),  # dimensions that are not there
        gzip.compress(b"\0\0\x08\x01\0\0\0\x09ab", mtime=0),  # fewer bytes than it says
    ],
)
def test_a_file_that_is_no_idx_is_refused(section: IdxData, project: Path, content: bytes) -> None:
    (project / "images" / "images.gz").write_bytes(content)
    entry = DataFile(file="images.gz", sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(DataError, match="is no IDX file"):
        load_search_data(section.model_copy(update={"images": entry}), project)


def test_a_label_without_a_class_is_refused(section: IdxData, project: Path) -> None:
    with pytest.raises(DataError, match="label 9; expected below 9"):
        load_search_data(section.model_copy(update={"class_names": tuple("012345678")}), project)


def test_data_are_written_with_their_group_file(project: Path) -> None:
    write_data(project / "more", project / "conf", count=100)
    assert load_config("tiny", [], project).data.model_dump()["path"] == str(project / "more")


def test_a_share_is_the_first_images_of_both_parts(section: IdxData, project: Path) -> None:
    data = load_search_data(section, project)  # 200 and 50 images
    some = data.first(80)
    np.testing.assert_array_equal(some.train_images, data.train_images[:80])
    np.testing.assert_array_equal(some.validation_labels, data.validation_labels[:20])
    assert len(data.first(1000).train_labels) == 200
    assert len(data.first(1).validation_labels) == 1  # a fit needs some
