"""Kill a study again and again, then compare its databases with those of an undisturbed one.

    python tests/torture.py --kills 100 --trials 60 --seed 1

Each kill ends a worker, the coordinator alone, or all processes, at a random moment: at an epoch, or while figures are
rendered, modules imported, or a database made. After each kill of the coordinator the same command is started again.
The images are Fashion-MNIST's if they are found, else scikit-learn's digits.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from books import damaged_files, disagreements, runs, trials
from conftest import REPOSITORY, clean_environment, make_project

SPACE = """\
pooling: [average, max]
pool_size: 2
filters: [[2, 3, 4, 6], [2, 3, 4, 6]]
dropout: [0.0, 0.1, 0.2, 0.3]
learning_rate: null
batch_size: null
"""
_CONFIGURATIONS = 2 * 16 * 4  # of the space
_MORE = 4  # trials
_LAST = 1800.0  # seconds for the training and rendering after the last kill
_GONE = 30.0  # seconds that the children of a dead coordinator may take to end


@dataclass
class Torture:
    """One study under torture.

    Attributes:
        kills: the number to reach.
        trials: of the study, at least.
        until: the end of the kills, by `time.monotonic`.
        counts: kills so far, by process and by moment.
    """

    root: Path
    kills: int
    trials: int
    dice: random.Random
    until: float
    data: str
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    ended: int = 0
    startup: float = 15.0  # seconds until a first trial starts, as it was last

    def run(self) -> None:
        while self.done < self.kills and time.monotonic() < self.until and (self._study() != 0 or self._more()):
            pass
        if self.done < self.kills:
            self.wrong.append(f"{self.done} of {self.kills} kills until the study, or the time for them, was over")
        print(f"{self.done} kills; now undisturbed", flush=True)
        undisturbed = Study(self.root, self.trials, self.data)
        undisturbed.wait(_LAST)
        if undisturbed.process.poll() is None:
            self.wrong.append(f"was not done {_LAST:g} s after the last kill")
            undisturbed.kill("all", self.dice)
        elif undisturbed.process.returncode != 0:
            self.wrong.append(f"ended with {undisturbed.process.returncode}: {undisturbed.complaint()}")

    def _more(self) -> bool:
        """Ask the same study for more trials; it was done before it had been killed often enough."""
        self.trials += _MORE
        return self.trials <= _CONFIGURATIONS

    @property
    def done(self) -> int:
        return self.counts["worker"] + self.counts["coordinator"] + self.counts["all"]

    @property
    def ahead(self) -> bool:
        """Whether its trials end faster than it is killed; it then trains less between kills."""
        return self.ended * self.kills > self.done * self.trials

    def _study(self) -> int | None:
        """Start the command and kill until its coordinator is dead or done; return its exit code if done."""
        study = Study(self.root, self.trials, self.data)
        while self.done < self.kills and time.monotonic() < self.until:
            whom = self._whom()
            when = self._moment(study, whom)
            if study.process.poll() is not None:
                break
            if study.kill(whom, self.dice):
                self.counts[whom] += 1
                self.counts[f"at {when}"] += 1
                print(f"{self.done:4}  {whom:<12} at {when}", flush=True)
            if whom != "worker":
                self.wrong += study.orphans(_GONE)
                return None
        code = study.process.poll()
        if code is None:  # enough kills: end it as a user does
            study.process.send_signal(signal.SIGTERM)
            study.wait(30)
        elif code != 0:
            self.wrong.append(f"ended with {code}: {study.complaint()}")
        self.ended = study.ended(self.ended)
        return code

    def _whom(self) -> str:
        nearly_done = self.ended >= self.trials - 3  # the study must not be done before the last kill
        return self.dice.choices(
            ["worker", "coordinator", "all"], [0 if nearly_done else 3 if self.ahead else 6, 2, 2]
        )[0]

    def _moment(self, study: "Study", whom: str) -> str:
        """Wait for a moment to kill at; return its name."""
        self.ended = study.ended(self.ended)
        self.startup = study.startup or self.startup
        if whom == "worker":
            when = "epoch" if self.ahead else self.dice.choice(["epoch", "figures"])
        elif not study.database("optuna.db") or not study.database("mlflow.db"):
            when = self.dice.choice(["first database", "start-up"])
        elif self.ahead:
            when = "start-up"
        else:
            when = self.dice.choice(["start-up", "epoch", "figures"])
        if when == "start-up":  # over when a trial starts
            study.hear("  starts  ", seconds=self.dice.uniform(0, self.startup))
        elif when == "first database":
            study.watch(lambda: any((self.root / "mlruns").glob(".*.db*")))
            study.wait(self.dice.uniform(0, 0.5))
        elif when == "figures":
            study.hear("  complete  ", "  pruned  ")
            study.wait(self.dice.uniform(0, 3))
        else:
            for _ in range(1 if self.ahead else self.dice.randint(1, 4)):
                study.hear("  epoch ")
            study.wait(self.dice.uniform(0, 0.3))
        return when


class Study:
    """Running command and its output."""

    def __init__(self, root: Path, count: int, data: str) -> None:
        self._root = root
        self._began = time.monotonic()
        self._log = (root / "said.log").open("ab")
        arguments = ["run", "tiny", f"study.trials={count}", f"data={data}", "execution.workers=2"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "poolstudy", *arguments],
            cwd=root,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=(root / "complaints.log").open("wb"),
            text=True,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._heard = 0
        self.startup = 0.0
        self._new = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._log.write(line.encode())
            if "  starts  " in line:
                self.startup = self.startup or time.monotonic() - self._began
            with self._new:
                self._lines.append(line)
                self._new.notify_all()
        self._log.close()

    def complaint(self) -> str:
        return (self._root / "complaints.log").read_text()[-2000:]

    def database(self, name: str) -> bool:
        return (self._root / "mlruns" / name).exists()

    def ended(self, before: int) -> int:
        """Return how many trials are done by its last output, or `before`."""
        said = [line for line in self._lines if " trials done" in line]
        return int(said[-1].split()[0]) if said else before

    def hear(self, *texts: str, seconds: float = 120) -> None:
        """Wait for a new line with one of the texts, or the end."""

        def heard() -> bool:
            new, self._heard = self._lines[self._heard :], len(self._lines)
            return self.process.poll() is not None or any(text in line for line in new for text in texts)

        with self._new:
            self._heard = len(self._lines)
            deadline = time.monotonic() + seconds
            while not heard() and time.monotonic() < deadline:
                self._new.wait(min(1, deadline - time.monotonic()))

    def watch(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)

    def wait(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def processes(self) -> list[psutil.Process]:
        """Return all its processes but the coordinator."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return list(psutil.Process(self.process.pid).children(recursive=True))
        return []

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes, which are children of the server."""
        children = self.processes()
        servers = {child.pid for child in children if _parent(child) == self.process.pid}
        return [child for child in children if _parent(child) in servers]

    def kill(self, whom: str, dice: random.Random) -> bool:
        """Kill a worker, the coordinator or all; return False if there was no worker."""
        self._left = self.processes()
        if whom == "worker":
            workers = self.workers()
            if not workers:
                return False
            with contextlib.suppress(psutil.NoSuchProcess):
                dice.choice(workers).kill()
            return True
        os.kill(self.process.pid, signal.SIGKILL)
        if whom == "all":
            for process in self._left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.wait()
        return True

    def orphans(self, seconds: float) -> Iterator[str]:
        """Yield the processes of a dead coordinator that still live; kill them."""
        _, alive = psutil.wait_procs(self._left, timeout=seconds)
        for process in alive:
            yield f"process {process.pid} lives {seconds:g} s after its coordinator"
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _parent(process: psutil.Process) -> int | None:
    try:
        return int(process.ppid())
    except psutil.NoSuchProcess:
        return None


def wrong_at_the_end(root: Path, count: int) -> Iterator[str]:
    """Yield the differences between the study and an undisturbed one."""
    yield from disagreements(root)
    found = runs(root)
    states = Counter(run.data.tags.get("poolstudy.state", run.info.status) for run in found)
    if states["complete"] + states["pruned"] != count:
        yield f"{states['complete'] + states['pruned']} trials count, not {count}"
    for run in found:
        if run.data.tags.get("poolstudy.state") in ("complete", "pruned"):
            yield from damaged_files(root, run)
    (study,) = runs(root, kind="study")
    if study.info.status != "FINISHED":
        yield f"the study's own run is {study.info.status}"
    if left := list((root / "mlruns" / "staging").iterdir()):
        yield f"left in staging: {left}"
    print(f"attempts: {dict(states)}; Optuna's trials: {len(trials(root))}", flush=True)


def doctored(root: Path) -> Iterator[str]:
    """Yield a failure of `poolstudy doctor`; print its output."""
    said = subprocess.run(
        [sys.executable, "-m", "poolstudy", "doctor"],
        cwd=root,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    print(said.stdout, flush=True)
    if said.returncode != 0:
        yield f"doctor ends with {said.returncode}: {said.stderr}"


def prepare(root: Path) -> str:
    """Make the project; return the name of its data."""
    make_project(root)
    (root / "conf" / "space" / "tiny.yaml").write_text(SPACE)
    experiment = root / "experiments" / "tiny" / "experiment.yaml"
    experiment.write_text(experiment.read_text().replace("pruner: none", "pruner: median_short"))
    images = next((REPOSITORY / "data").glob("fashion*/train-images*"), None)
    if images is None:
        return "tiny"
    shutil.copytree(images.parent, root / "data" / images.parent.name)
    settings = (root / "conf" / "data" / "fashion_mnist.yaml").read_text()
    lines = ["train_limit: 256" if line.startswith("train_limit:") else line for line in settings.splitlines()]
    (root / "conf" / "data" / "few.yaml").write_text("\n".join(lines) + "\n")
    return "few"


def torture(root: Path, kills: int, count: int, seed: int, minutes: float) -> list[str]:
    """Run the torture; return everything that was wrong."""
    data = prepare(root)
    print(f"seed {seed}: {kills} kills over {count} trials on {data} in {root}", flush=True)
    ordeal = Torture(root, kills, count, random.Random(seed), time.monotonic() + 60 * minutes, data)
    ordeal.run()
    wrong = [*ordeal.wrong, *wrong_at_the_end(root, ordeal.trials), *doctored(root)]
    print(f"{dict(sorted(ordeal.counts.items()))}", flush=True)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument(
        "--minutes", type=float, default=60, help="limit on the kills; fewer than asked for count as wrong"
    )
    parser.add_argument("--folder", type=Path, help="kept; by default a temporary one")
    options = parser.parse_args()
    began = time.monotonic()
    with contextlib.ExitStack() as last:
        folder = options.folder or Path(last.enter_context(tempfile.TemporaryDirectory(prefix="torture-")))
        wrong = torture(folder / "project", options.kills, options.trials, options.seed, options.minutes)
    print(*(f"WRONG: {line}" for line in wrong), sep="\n")
    print(f"{len(wrong)} things wrong, seed {options.seed}, {(time.monotonic() - began) / 60:.0f} min")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
