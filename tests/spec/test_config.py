from pathlib import Path

import pytest
from conftest import REPOSITORY

from poolstudy.errors import ConfigurationError
from poolstudy.spec.load import find_root, known_keys, load_config, load_tracking
from poolstudy.spec.space import HyperParameters


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_the_default_study_is_what_the_readme_says() -> None:
    config = load_config("pooling", [], REPOSITORY)
    assert config.study.trials == 20
    assert config.space.size() == 448
    assert (config.training.epochs, config.training.batch_size, config.training.patience) == (10, 32, 2)
    assert (config.data.validation_fraction, config.data.split_seed) == (0.2, 42)


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("notebook-average", HyperParameters(pooling="average", pool_size=3, filters=(32, 32), dropout=0.4)),
        ("notebook-max", HyperParameters(pooling="max", pool_size=2, filters=(32, 64), dropout=0.4)),
    ],
)
def test_the_notebooks_networks_are_listed(name: str, network: HyperParameters) -> None:
    config = load_config(name, [], REPOSITORY)
    assert config.sampler.model_dump()["trials"] == (network.model_dump(),)
    assert list(config.space.every()) == [config.space.project(network)]


def test_overrides_follow_hydras_grammar() -> None:
    config = load_config("pooling", ["space=wide", "training.epochs=20", "study.name=2026"], REPOSITORY)
    assert config.study.name == "2026"
    assert config.training.epochs == 20
    assert set(config.space.dimensions()) >= {"learning_rate", "batch_size"}


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("space.dropout=[0.1,0.2]", [0.1, 0.2]),
        ("space.dropout=0.3", [0.3]),
        ("space.dropout={low: 0.0, high: 0.2, step: 0.1}", [0.0, 0.1, 0.2]),
        ("space.pool_size={low: 2, high: 3}", [2, 3]),
        ("space.pooling=[max]", ["max"]),
        ("space.pooling='max'", ["max"]),
    ],
)
def test_a_dimension_is_replaced_by_any_other_form(override: str, values: list[object]) -> None:
    space = load_config("pooling", [override], REPOSITORY).space
    name = override.split("=", maxsplit=1)[0].removeprefix("space.")
    assert list(space.dimensions()[name].values()) == values


def test_listed_trials_use_the_fixed_values_of_training() -> None:
    trial = "{pooling: max, pool_size: 2, filters: [8], dropout: 0.1}"
    overrides = ["sampler=list", f"sampler.trials=[{trial}]", "training.learning_rate=0.01", "pruner=none"]
    config = load_config("pooling", overrides, REPOSITORY)
    assert [flat["learning_rate"] for flat in config.space.every()] == [0.01]


def test_a_projects_folder_may_have_any_name(project: Path) -> None:
    odd = project.rename(project.parent / "it's (a=b, c)")
    assert load_config("tiny", [], odd).study.name == "tiny"
    assert load_config(str(odd / "experiments" / "tiny" / "experiment.yaml"), [], odd).study.trials == 5


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.epoch=3"], r"^unknown key training\.epoch; expected training\.epochs, perhaps"),
        (["+trainig.epochs=3"], r"^unknown key trainig"),
        (["+sampler.n_startup=3"], r"^unknown key sampler\.n_startup; expected sampler\.n_startup_trials"),
        (["tracking.patience=0"], r"^tracking\.patience: 0; expected"),
        (["training.epochs=ten"], r"^training\.epochs: 'ten'; expected a valid integer"),
        (["training.epochs=2.5"], r"^training\.epochs: 2\.5; expected a valid integer"),
        (["space.pool_size=9"], r"^pool_2 would pool 9x9 of 3x3 pixels"),
        (["space.filters=[]"], r"^space\.filters: \[\]; expected at least 1"),
        (["space.dropout=1.0"], r"^space: dropout = 1\.0"),
        (["study.trials=0"], r"^study\.trials: 0; expected greater than or equal to 1"),
        (["study.name=a/b"], r"^study\.name: 'a/b'; expected text that matches"),
        (["study.name=.."], r"^study\.name: '\.\.'"),
        (["space=b"], r"^no space/b\.yaml in conf/; expected one of pooling, tiny, wide"),
        (["execution.workers=many"], r"^execution\.workers: 'many'"),
        (["sampler=list"], r"^sampler\.trials: \[\]; expected at least 1"),
        (["sampler=list", "sampler.trials=[{pooling: maxi}]"], r"^sampler\.trials\.0\.pooling: 'maxi'"),
        (["space=wide", "sampler=grid"], r"^sampler\.name=grid needs a finite space"),
        (["space.dropout={low: 0, high: 0.5, step: 1e-9}", "sampler=grid"], "at most 100,000"),
        (["data.format=digits"], r"^data\.\w+ does not belong here; expected a key of the chosen data"),
        (["sampler=list", "sampler.trials=[1]"], r"^sampler\.trials\.0: 1"),
        (["space.dropout={lo: 1}"], r"^(no value for|unknown key) space\.dropout"),
        (["space.dropout=["], "no viable alternative"),
        (["study.objective.metric=best_val_loss"], "direction maximize does not fit metric best_val_loss"),
        (["study.name=["], "no viable alternative"),
        (["hydra.run.dir=/tmp"], "leave Hydra's own alone"),
        (["~space"], "^no value for space"),
        (["data.image_shape=[28,27,1]"], "images must be square"),
        (["space.kernel_size=4"], r"^space: kernel_size = 4: Input should be odd"),
        (
            ["space.batch_normalization=yes please"],
            r"^space: batch_normalization = 'yes please': Input should be a valid bo",
        ),
        (["space.batch_normalization=[1,0]"], r"^space: batch_normalization = 1: Input should be a valid boolean"),
        (
            ["space.batch_normalization={low: 0, high: 1}"],
            r"^space: batch_normalization = 0\.0: Input should be a valid",
        ),
        (["space.dense_units=0"], r"^space: dense_units = 0: Input should be greater than or equal to 1"),
        (
            [
                "sampler=list",
                (
                    "sampler.trials=[{pooling: max, pool_size: 2, filters: [4], dropout: 0, dense_units: 9},"
                    "{pooling: max, pool_size: 2, filters: [4], dropout: 0}]"
                ),
            ],
            r"all trials must have the same number of convolutions, and give the same settings",
        ),
        (["space.kernel_size=0"], r"^space: kernel_size = 0: Input should be greater than or equal to 1"),
        (["space.kernel_size={low: 3, high: 7}"], r"^space: kernel_size = 4: Input should be odd"),
        (["space.kernel_size=[3,5.5]"], r"^space: kernel_size = 5\.5: Input should be a valid integer"),
        (["data=digits", "space.pool_size=2", "space.kernel_size=9"], r"^kernel_size 9 is larger than the image, 8x8"),
        (
            ["sampler=list", "sampler.trials=[{pooling: max, pool_size: 2, filters: [4], dropout: 0, kernel_size: 2}]"],
            r"^sampler\.trials\.0\.kernel_size: Input should be odd",
        ),
    ],
)
def test_a_bad_override_is_named_by_its_dotted_path(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_config("pooling", overrides, REPOSITORY)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["study: [", "- a list", "study: {name: x}", "", "defaults: 3"])
def test_a_bad_file_is_refused(project: Path, content: str) -> None:
    (project / "experiments" / "tiny" / "experiment.yaml").write_text(content)
    with pytest.raises(ConfigurationError):
        load_config("tiny", [], project)


def test_an_unknown_experiment_is_refused_with_the_known_names() -> None:
    with pytest.raises(ConfigurationError, match="notebook-average, notebook-max, pooling, smoke"):
        load_config("poling", [], REPOSITORY)


def test_settings_that_may_change_between_starts_are_not_in_the_fingerprint(project: Path) -> None:
    def fingerprint(*overrides: str) -> dict[str, object]:
        return dict(load_config("tiny", overrides, project).fingerprint())

    same = fingerprint("study.trials=9", "study.timeout=5", "execution.workers=3", "data.search=[/x]", "data.path=/y")
    assert same == fingerprint()
    for other in ("training.epochs=4", "study.seed=8", "space.dropout=0.5", "sampler=grid", "tracking.uri=x"):
        assert fingerprint(other) != fingerprint()


def test_the_tracking_settings_are_read_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_tracking(project).uri == "sqlite:///mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert load_tracking(project).uri == "http://127.0.0.1:5000"


def test_the_project_is_found_from_a_folder_within(project: Path) -> None:
    assert find_root(project / "experiments" / "tiny") == project
    with pytest.raises(ConfigurationError, match="change to its folder"):
        find_root(project.parent)


def test_known_keys_have_values_and_no_sections() -> None:
    keys = known_keys()
    assert {"training.epochs", "study.objective.metric", "data.images.sha256", "space.dropout.low"} <= set(keys)
    assert "training" not in keys
