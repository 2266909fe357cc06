"""The job of every contender: the same networks, in the same order, on the same images."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from poolstudy.data.loading import SearchData, load_search_data, resolved
from poolstudy.spec.config import StudyConfig
from poolstudy.spec.load import load_config
from poolstudy.spec.space import HyperParameters

ROOT = Path(__file__).parents[1]
BATCH_SIZE = 32
VALIDATION_BATCH = 500  # as in poolstudy; Keras' default, the training batch, takes longer
DENSE_UNITS = 100
SEED = 42


def _network(pooling: str, pool_size: int, first: int, second: int, dropout: float) -> HyperParameters:
    return HyperParameters.model_validate(
        {"pooling": pooling, "pool_size": pool_size, "filters": (first, second), "dropout": dropout}
    )


CONFIGURATIONS = (
    _network("average", 3, 32, 32, 0.4),  # the notebook's
    _network("max", 2, 32, 64, 0.4),  # the notebook's
    _network("average", 2, 16, 48, 0.2),
    _network("max", 3, 64, 48, 0.1),
    _network("average", 2, 64, 64, 0.6),
    _network("max", 2, 48, 16, 0.0),
    _network("average", 3, 48, 64, 0.5),
    _network("max", 3, 16, 16, 0.3),
)
"""A spread of the default space: four of each pooling, four of each window, each filter count three to five times."""


@dataclass(frozen=True)
class Job:
    """Job of each contender.

    Attributes:
        images: number of training images, the first of the training part; all 12,000 validation images are used.
        epochs: of each network, and the patience of early stopping, which therefore never ends a trial.
        trials: number of configurations, from the first on.
        data: folder of the data set's files.
    """

    images: int = 48_000
    epochs: int = 2
    trials: int = len(CONFIGURATIONS)
    data: str = ""

    @property
    def configurations(self) -> tuple[HyperParameters, ...]:
        return CONFIGURATIONS[: self.trials]

    def save(self, folder: Path) -> None:
        (folder / "job.json").write_bytes(TypeAdapter(Job).dump_json(self))

    @classmethod
    def of(cls, folder: Path) -> "Job":
        return TypeAdapter(Job).validate_json((folder / "job.json").read_bytes())

    @property
    def label(self) -> str:
        """Label of the job: runs with the same label can be compared."""
        return f"{self.trials}x{self.epochs}x{self.images}"

    def facts(self) -> dict[str, object]:
        return {key: value for key, value in asdict(self).items() if key != "data"}


@dataclass(frozen=True)
class TrialDone:
    """Result of one network.

    Attributes:
        configuration: its index in `CONFIGURATIONS`.
        val_accuracy: at the epoch of least validation loss.
        seconds: of its epochs, training and validation, first batch to last, without logging.
    """

    configuration: int
    val_accuracy: float
    seconds: float


TrialsDone = TypeAdapter(list[TrialDone])


def config(job: Job) -> StudyConfig:
    """Return the default study's configuration, on the job's images."""
    folder = [f"data.path='{job.data}'"] if job.data else []
    return load_config("pooling", [f"data.train_limit={job.images}", *folder], ROOT)


def with_data(job: Job) -> Job:
    """Return the job with the folder of its data, which are downloaded if necessary."""
    section = config(job).data
    load_search_data(section, ROOT)
    from poolstudy.data.loading import find_folder

    assert section.format == "idx"
    folder = find_folder(section, ROOT) or resolved(section.search[0], ROOT)
    return Job(job.images, job.epochs, job.trials, str(folder))


def load_images(job: Job) -> SearchData:
    """Return the images as the study splits them, uint8."""
    return load_search_data(config(job).data, ROOT)


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this repository with this interpreter."""
    return [sys.executable, "-m", module, *arguments]
