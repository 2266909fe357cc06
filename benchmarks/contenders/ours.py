"""(a) poolstudy: `poolstudy run` in a project folder of its own."""

from pathlib import Path

import yaml

from benchmarks.cases import CONFIGURATIONS, ROOT, SEED, Job, TrialDone, python

_GROUPS = {"data": "fashion_mnist", "sampler": "list", "pruner": "none", "training": "default"}


def command(job: Job, folder: Path) -> list[str]:
    (folder / "conf").symlink_to(ROOT / "conf")
    experiment = folder / "experiments" / "bench"
    experiment.mkdir(parents=True)
    groups = [{group: name} for group, name in (_GROUPS | {"execution": "local", "tracking": "local"}).items()]
    settings = {
        "defaults": [*groups, "_self_"],
        "study": {
            "name": "bench",
            "trials": job.trials,
            "timeout": None,
            "seed": SEED,
            "objective": {"metric": "best_val_accuracy", "direction": "maximize"},
        },
        "data": {"path": job.data, "train_limit": job.images},
        "training": {"epochs": job.epochs, "patience": job.epochs},
        "sampler": {"trials": [_short(place) for place in range(job.trials)]},
    }
    (experiment / "experiment.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return python("poolstudy", "run", "bench")


def _short(place: int) -> dict[str, object]:
    network = CONFIGURATIONS[place].model_dump(mode="json", exclude={"learning_rate", "batch_size"})
    return dict(network)


def results(folder: Path) -> list[TrialDone]:
    from poolstudy.tracking.store import (
        opened,
        search,  # seconds to import
    )

    client = opened(f"sqlite:///{(folder / 'mlruns' / 'mlflow.db').resolve()}")
    experiment = client.get_experiment_by_name("bench")
    assert experiment is not None
    found = search(client, [experiment.experiment_id], "tags.`poolstudy.state` = 'complete'", ["attributes.run_name"])
    trials = [run for run in found if run.data.tags["poolstudy.kind"] == "trial"]
    return [
        TrialDone(
            configuration=int(run.data.tags["poolstudy.trial"]) - 1,
            val_accuracy=run.data.metrics["best_val_accuracy"],
            seconds=run.data.metrics["train_seconds"],
        )
        for run in trials
    ]
