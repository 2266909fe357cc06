"""Comparisons of stored runs: the page, its notes on what cannot be compared, and the page in a browser."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from browsing import OFFLINE, chromium, requested
from conftest import REPOSITORY, make_result, make_spec, open_trial
from mlflow import MlflowClient
from numpy.typing import NDArray
from PIL import Image

from poolstudy.data.loading import SearchData, digest
from poolstudy.errors import ConfigurationError, RunNotFound
from poolstudy.network.build import build_model, weights_of
from poolstudy.reports.runs import compare
from poolstudy.spec.records import DataIdentity, State, TrialSpec
from poolstudy.spec.space import HyperParameters, Pooling
from poolstudy.tracking import Tracker

EVIL = "<script>alert('x')</script>"


def make_data(root: Path, side: int, count: int, seed: int = 1, name: str = "tiny") -> DataIdentity:
    """Put random images of two classes into the cache; the name of the second class is markup."""
    random = np.random.default_rng(seed)
    images: NDArray[np.uint8] = random.integers(0, 256, (count, side, side, 1), np.uint8)
    labels: NDArray[np.uint8] = (np.arange(count) % 2).astype(np.uint8)
    identity = DataIdentity(
        name=name,
        digest=digest(images),
        parts={"validation_images": digest(images), "validation_labels": digest(labels)},
        image_shape=(side, side, 1),
        class_names=("good", EVIL),
        train_images=4,
        validation_images=count,
        validation_fraction=0.2,
        split_seed=42,
    )
    data = SearchData(images[:4], labels[:4], images, labels, identity)
    data.save(root / "mlruns" / "cache" / identity.digest[:16])
    return identity


def make_network(folder: Path, spec: TrialSpec, seed: int) -> None:
    """Write the files of a run that a comparison reads, of a network that was never trained."""
    folder.mkdir(parents=True)
    classes = len(spec.data.class_names)
    model = build_model(spec.hyperparameters, spec.data.image_shape, classes, spec.training.dense_units)
    random = np.random.default_rng(seed)
    model.set_weights([random.normal(0, 0.1, array.shape).astype(np.float32) for array in model.get_weights()])
    model.save(folder / "model.keras")
    np.savez(folder / "untrained.npz", **weights_of(model))  # type: ignore[arg-type]
    predictions = random.dirichlet([1] * classes, spec.data.validation_images).astype(np.float32)
    np.savez(folder / "validation.npz", probabilities=predictions)
    Image.new("RGB", (30, 60), "white").save(folder / "diagram.png")
    (folder / "environment.json").write_text('{"device": "CPU:0", "threads": 1, "packages": {"keras": "3"}}')


def spec_of(slot: int, pooling: Pooling, data: DataIdentity, filters: tuple[int, ...] = (3, 4)) -> TrialSpec:
    network = HyperParameters(pooling=pooling, pool_size=2, filters=filters, dropout=0.25)
    return make_spec(slot=slot).model_copy(update={"hyperparameters": network, "data": data})


def add(
    tracker: Tracker,
    spec: TrialSpec,
    files: Path | None,
    state: State = "complete",
    reason: str = "",
    before: tuple[float, ...] = (1.0,),
) -> str:
    """Log a run with the files of a folder; its best epoch follows those with the losses `before`."""
    run_id = open_trial(tracker, spec, f"trial-{spec.slot:04d}", 0)
    result = make_result([*before, 0.5 / spec.slot])
    for record in result.history:
        tracker.log_epoch(run_id, record)
    if files:
        tracker.log_files(run_id, files)
    tracker.close_trial(run_id, state, result=result if files else None, reason=reason)
    return run_id


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compare")
    shutil.copytree(REPOSITORY / "conf", root / "conf")
    (root / "experiments").mkdir()
    return root


@pytest.fixture(scope="module")
def tracker(root: Path) -> Tracker:
    tracker = Tracker("sqlite:///mlruns/mlflow.db", "mlruns/artifacts", "s", root)
    tracker.close_study(tracker.open_study({"objective": "best_val_accuracy"}, {}), "complete", {})
    return tracker


@pytest.fixture(scope="module")
def runs(root: Path, tracker: Tracker) -> dict[str, str]:
    """Log runs of each kind; return their IDs by what is special about them."""
    data, other = make_data(root, 8, 6), make_data(root, 12, 6, seed=2, name="other")
    specs = {
        "max": spec_of(1, "max", data),
        "average": spec_of(2, "average", data),
        "pruned": spec_of(3, "average", data, (10,)),
        "other": spec_of(4, "max", other),
        "absent": spec_of(5, "max", other.model_copy(update={"digest": "e" * 64, "parts": {"validation_images": "?"}})),
    }
    folder = root / "networks"
    for name, spec in specs.items():
        make_network(folder / name, spec, seed=spec.slot)
    ids = {
        name: add(tracker, spec, folder / name, "pruned" if name == "pruned" else "complete")
        for name, spec in specs.items()
    }
    ids["twin"] = add(tracker, spec_of(6, "max", data), folder / "max")
    ids["failed"] = add(tracker, spec_of(7, "max", data), None, "failed", EVIL)
    return ids


def page_of(root: Path, *ids: str) -> str:
    return compare(ids, root).page.read_text(encoding="utf-8")


def cells(page: str, title: str) -> list[str]:
    """Return the cells of the first row of this title, as markup."""
    row = page.split(f"<div>{title.replace('_', '_<wbr>')}</div>", 1)[1].split("</tr>", 1)[0]
    return re.findall(r"<td.*?</td>", row, re.DOTALL)


def words(page: str, title: str) -> list[str]:
    """Return the texts in the cells of the first row of this title."""
    return re.findall(r'<span class="words">(.*?)</span>', "".join(cells(page, title)), re.DOTALL)


def pictures(page: str, title: str) -> list[list[tuple[str, str]]]:
    return [
        re.findall(r'(?:src|href)="(data:image[^"]+)"|(<path class="line [^>]+>)', cell) for cell in cells(page, title)
    ]


@pytest.fixture(scope="module")
def page(root: Path, runs: dict[str, str]) -> str:
    return page_of(root, runs["max"], runs["twin"], runs["average"], runs["pruned"], runs["other"], runs["failed"])


def test_equal_weights_give_equal_pixels_and_others_do_not(page: str) -> None:
    for title in ("conv_1", "conv_2", "conv_1 kernel", "dense_2 kernel", "pool_1", "counts"):
        first, twin, average, *_ = pictures(page, title)
        assert first == twin, title
        assert first != average, title


def test_only_the_parameters_that_differ_are_rows(page: str) -> None:
    assert words(page, "pooling") == ["max", "max", "average", "average", "max", "max"]
    assert "batch_<wbr>size" not in page
    assert "<dt>batch_size</dt><dd>32</dd>" in page


def test_metrics_have_their_differences_to_the_first(page: str) -> None:
    # Of make_result([1, 0.5 / slot]): losses 0.5, 0.5 / 6 = 0.0833, …
    assert words(page, "best_val_loss")[:2] == ["0.5000", "0.0833"]
    assert '<div class="below">−0.4167</div>' in cells(page, "best_val_loss")[1]


def test_runs_of_other_data_and_without_files_are_compared_where_they_can_be(page: str) -> None:
    assert list(map(bool, pictures(page, "conv_1"))) == [True] * 5 + [False]
    assert list(map(bool, pictures(page, "pool_1"))) == [True] * 4 + [False] * 2
    assert list(map(bool, pictures(page, "conv_2"))) == [True, True, True, False, True, False]
    assert all(pictures(page, "loss"))  # even the failed run has its epochs
    assert "validated on other images than trial-0001" in page
    assert "its files are gone" not in page


def test_names_that_are_markup_are_shown_as_text(page: str) -> None:
    assert "<script" not in page
    assert "failed: &lt;script&gt;" in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page


def test_a_tag_set_by_hand_is_shown_as_text(root: Path, tracker: Tracker, runs: dict[str, str]) -> None:
    client = MlflowClient(tracker.uri)
    client.set_tag(runs["average"], "mlflow.runName", "<script>name")
    client.set_tag(runs["average"], "poolstudy.pictures", "<script>note")
    try:
        page = page_of(root, runs["max"], runs["average"])
    finally:
        client.set_tag(runs["average"], "mlflow.runName", "trial-0002")
        client.delete_tag(runs["average"], "poolstudy.pictures")
    assert "<script" not in page
    assert '<div class="name">&lt;script&gt;name</div>' in page
    assert words(page, "notes") == ["", "&lt;script&gt;note"]


def test_the_page_holds_everything_and_the_study_has_it_too(root: Path, tracker: Tracker, runs: dict[str, str]) -> None:
    done = compare((runs["max"][:12], runs["average"]), root)
    page = done.page.read_text(encoding="utf-8")
    assert set(re.findall(r'(?:src|href)="([^"]{5})', page)) <= {"data:", "#ghos"}
    assert "http" not in page.replace("http-equiv", "")
    logged = {Path(item.path).name for item in MlflowClient(tracker.uri).list_artifacts(done.run_id, "compare")}
    assert {done.page.name, done.picture.name} <= logged
    with Image.open(done.picture) as picture:
        assert picture.width > 500


def test_data_that_are_not_on_this_machine_are_noted_and_left_out(root: Path, runs: dict[str, str]) -> None:
    done = compare((runs["absent"], runs["failed"]), root)
    page = done.page.read_text(encoding="utf-8")
    assert "the images of other (eeeeeeeeeeee) are not on this machine" in done.notes[0]
    assert "are not on this machine" in page
    assert "conv_1 kernel" in page
    assert "What is taken for what" not in page
    assert "Feature maps" not in page


def test_the_studies_of_runs_are_compared_and_the_page_goes_to_the_first_ones(
    root: Path, tracker: Tracker, runs: dict[str, str]
) -> None:
    second = Tracker("sqlite:///mlruns/mlflow.db", "mlruns/artifacts", "elsewhere", root)
    own = second.open_study({"objective": "best_val_accuracy"}, {})
    spec = spec_of(1, "average", make_data(root, 8, 6)).model_copy(update={"study": "elsewhere"})
    other = add(second, spec, root / "networks" / "average")
    second.close_study(own, "complete", {})
    try:
        done = compare((other, runs["average"]), root)
    finally:  # it is the latest study now, and another test asks for that
        MlflowClient(tracker.uri).delete_experiment(second.experiment_id)
    page = done.page.read_text(encoding="utf-8")
    assert words(page, "study") == ["elsewhere", "s"]
    assert "2 runs of elsewhere and s" in page
    assert done.run_id == own


def test_runs_of_other_classes_are_compared_where_they_can_be(
    root: Path, tracker: Tracker, runs: dict[str, str]
) -> None:
    data = make_data(root, 8, 6)
    three = spec_of(10, "max", data.model_copy(update={"class_names": (*data.class_names, "third")}))
    make_network(root / "networks" / "three", three, seed=10)
    page = page_of(root, runs["max"], add(tracker, three, root / "networks" / "three"))
    assert "has predictions of another shape than trial-0001: not compared image by image" in page
    assert list(map(bool, pictures(page, "counts"))) == [True, False]


def test_a_studys_name_that_is_a_path_becomes_a_file_name(root: Path, tracker: Tracker) -> None:
    data = make_data(root, 8, 6)
    ids = [add(tracker, spec_of(slot, "max", data), root / "networks" / "max") for slot in (18, 19)]
    for run_id in ids:
        MlflowClient(tracker.uri).set_tag(run_id, "poolstudy.study", "../../x")
    done = compare(ids, root)
    assert done.page.parent == root / "mlruns" / "comparisons"
    assert done.page.name.startswith(".._.._x-2-runs-")
    for run_id in ids:
        MlflowClient(tracker.uri).delete_run(run_id)


def test_reproductions_of_a_study_that_was_never_run_here_keep_the_page_themselves(
    root: Path, runs: dict[str, str]
) -> None:
    frozen = Tracker("sqlite:///mlruns/mlflow.db", "mlruns/artifacts", "frozen", root)
    data = make_data(root, 8, 6)
    ids = []
    for slot in (1, 2):
        spec = spec_of(slot, "max", data).model_copy(update={"study": "frozen"})
        ids.append(frozen.open_reproduction(spec, f"trial-{slot:04d}-reproduction", "0" * 32))
        frozen.log_files(ids[-1], root / "networks" / "max")
        frozen.close_reproduction(ids[-1], "complete", "identical")
    done = compare(ids, root)
    assert done.run_id == ids[0]
    logged = {Path(item.path).name for item in MlflowClient(frozen.uri).list_artifacts(ids[0], "compare")}
    assert logged == {done.page.name, done.picture.name}


def test_files_that_are_gone_or_damaged_are_noted(root: Path, tracker: Tracker, runs: dict[str, str]) -> None:
    data = make_data(root, 8, 6)
    gone, damaged = (add(tracker, spec_of(slot, "max", data), root / "networks" / "max") for slot in (8, 9))
    artifacts = root / "mlruns" / "artifacts" / "s"
    shutil.rmtree(artifacts / gone)
    for name in ("model.keras", "validation.npz", "spec.json", "history.csv", "environment.json"):
        (artifacts / damaged / "artifacts" / name).write_bytes(b"no such thing")
    page = page_of(root, runs["max"], gone, damaged)
    assert "its files are gone" in page
    for name in ("model.keras", "validation.npz", "spec.json"):
        assert f"{name} " in page
    assert page.count("<script") == 0


@pytest.mark.slow
def test_the_best_five_of_the_latest_study_are_compared_where_none_are_named(
    root: Path, tracker: Tracker, runs: dict[str, str]
) -> None:
    # Best in epoch 3, where make_result has accuracy 0.8. All others that are complete have 0.7: the lowest slots.
    add(tracker, spec_of(10, "max", make_data(root, 8, 6)), root / "networks" / "max", before=(1.0, 1.0))
    names = re.findall(r'<div class="name">([^<]+)', page_of(root))
    assert names == ["trial-0010", "trial-0001", "trial-0002", "trial-0004", "trial-0005"]


def test_other_runs_than_trials_or_too_few_are_refused(root: Path, tracker: Tracker, runs: dict[str, str]) -> None:
    for ids in ((runs["max"],), (runs["max"], runs["max"][:10])):
        with pytest.raises(ConfigurationError, match="1 run to compare; expected 2 to 50"):
            compare(ids, root)
    study = next(tracker.runs("study")).run_id
    with pytest.raises(RunNotFound, match="is a study; expected"):
        compare((runs["max"], study), root)
    done = compare((runs["max"], runs["average"], runs["max"][:10]), root)
    assert "1 of the runs named were named before" in done.notes[0]


# In a browser


SCROLL = """
const done = arguments[0];
window.scrollTo(3000, 2000);
requestAnimationFrame(() => requestAnimationFrame(() => done([window.scrollX, window.scrollY])));
"""
STUCK = """
return [...document.querySelectorAll('thead .run, tbody .side')]
  .map(element => element.getBoundingClientRect()).map(box => [box.left, box.top]);
"""


@pytest.mark.slow
def test_fifty_runs_are_a_page_that_opens_at_once_and_asks_no_network(root: Path, tracker: Tracker) -> None:
    data = make_data(root, 28, 2000, seed=3)
    ids = []
    for slot in range(1, 51):
        spec = spec_of(slot, "max" if slot % 2 else "average", data, (64, 64))
        folder = root / "fifty" / str(slot)
        make_network(folder, spec, seed=slot)
        ids.append(add(tracker, spec, folder))
        shutil.rmtree(folder)
    done = compare(ids, root)
    assert done.page.stat().st_size < 25e6
    assert done.picture.stat().st_size < 25e6
    with chromium() as browser:
        browser.get(done.page.as_uri())
        across, down = browser.execute_async_script(SCROLL)
        assert (across, down) == (3000, 2000)
        assert requested(browser) <= OFFLINE
        corners = browser.execute_script(STUCK)
        assert [0, 0] not in corners
        assert any(left == 0 and top > 0 for left, top in corners)  # the rows' titles are in view
        assert any(left > 0 and top == 0 for left, top in corners)  # and so are the runs' names
        assert browser.execute_script("return document.querySelectorAll('thead .run').length") == 50
