"""What dies when: a schedule is a list of actions, made from a seed, and carried out while workers do the reference job.

An action is due when its share of the source events is applied, as the committed checkpoints say, or so many seconds after the
action before it. Whatever ends without having been told to is started again, as an orchestrator would do it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from deploy.kafka.broker import Broker
from tests.chaos.progress import Progress
from tests.chaos.proxy import Cut, Proxy
from tests.waiting import until
from tests.workers import WorkerProcess

__all__ = [
    "Action",
    "CutOff",
    "Kill",
    "KillBroker",
    "Mend",
    "Pause",
    "Ready",
    "Resume",
    "Runner",
    "Start",
    "StartBroker",
    "Stop",
    "faulty",
    "kills",
    "rolling",
]

Disk = Literal["keep", "wipe", "old_copy"]
CHANGELOG = "join-changelog"
DISKS: tuple[Disk, ...] = ("keep", "wipe", "old_copy")
DUE_TIMEOUT_S = 60.0
HEAL_TIMEOUT_S = 90.0
EXIT_STATE_AHEAD = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Due once the share `at` is applied and `after_s` have passed since the action before it."""

    at: float = 0.0
    after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill(Action):
    """kill -9 from outside or, with `batches`, when so many of a commit's batches of `dataset` are on the broker; started again
    on `disk`.

    The old copy is of the first kill that kept the disk; before it there is none, and the disk is wiped.
    """

    worker: int = 0
    disk: Disk = "keep"
    batches: int | None = None
    dataset: str = CHANGELOG


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Action):
    """SIGTERM, for good unless a `Start` follows."""

    worker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Action):
    """Start what never ran or was stopped."""

    worker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Action):
    """SIGSTOP when so many of a commit's batches of `dataset` are on the broker."""

    worker: int
    batches: int
    dataset: str = CHANGELOG


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Action):
    """SIGCONT."""

    worker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready(Action):
    """Wait until it is restored, as a rolling restart does before it goes on to the next."""

    worker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOff(Action):
    """Cut the worker off from the broker: its proxy refuses, or is silent."""

    worker: int
    how: Cut


class Mend(Action):
    """Every proxy lets pass again."""


class KillBroker(Action):
    """kill -9 the broker."""


class StartBroker(Action):
    """Start it on what it has left."""


# -- schedules from a seed -----------------------------------------------------------------------------------


def kills(seed: int, count: int) -> list[Action]:
    """Kills of worker 0: within a commit, from outside while it works, and soon after a start. The first keeps the disk."""
    rng = random.Random(seed)
    shares = sorted(rng.uniform(0.02, 0.85) for _ in range(count))
    schedule: list[Action] = []
    for n, at in enumerate(shares):
        disk = rng.choice(DISKS) if n else "keep"
        how = rng.choice(("commit", "working", "starting")) if n else "commit"
        if how == "starting":
            schedule.append(Kill(after_s=rng.uniform(0.5, 4.0), disk=disk))
        else:
            schedule.append(Kill(at=at, disk=disk, batches=rng.randint(1, 2) if how == "commit" else None))
    return schedule


def rolling(seed: int, count: int, workers: int) -> list[Action]:
    """Joins, leaves and kills; worker 0 is up at first, and one always stays."""
    rng = random.Random(seed)
    up = {0}
    schedule: list[Action] = []
    for at in sorted(rng.uniform(0.02, 0.7) for _ in range(count)):
        worker = rng.randrange(workers)
        if worker not in up:
            schedule.append(Start(at=at, worker=worker))
            up.add(worker)
        elif len(up) > 1 and rng.random() < 0.5:
            schedule.append(Stop(at=at, worker=worker))
            up.remove(worker)
        else:
            schedule.append(Kill(at=at, worker=worker, disk=rng.choice(DISKS), batches=rng.choice((None, 1, 2))))
    return schedule


# -- carrying one out ----------------------------------------------------------------------------------------


class Runner:
    """Applies schedules to workers and their broker, and keeps up what should be up."""

    def __init__(self, broker: Broker, prefix: str, workers: Sequence[WorkerProcess], proxies: Sequence[Proxy] = ()) -> None:
        self.workers, self.progress, self._proxies = workers, Progress(broker.bootstrap, prefix), proxies
        self.exits: list[tuple[int, int]] = []
        """(worker, exit code) of each end that no action asked for."""
        self._broker = broker
        self._up: set[int] = set()
        self._doomed: int | None = None

    @contextmanager
    def running(self, *first: int) -> Iterator[Runner]:
        """These workers are started and ready; all are ended with the block."""
        try:
            for n in first:
                self.workers[n].launch()
                self._up.add(n)
            for n in first:
                self._await_ready(n)
            self.progress.start()
            yield self
        finally:
            self.progress.close()
            for worker in self.workers:
                if worker.process is not None:
                    worker.kill()

    def run(self, schedule: Sequence[Action]) -> None:
        """Carry out every action when it is due."""
        last = time.monotonic()
        for action in schedule:
            self._until(partial(self._due, action, last), DUE_TIMEOUT_S)
            print(f"{self.progress.share():.3f} {action}")
            self._apply(action)
            last = time.monotonic()

    def _due(self, action: Action, last: float) -> bool:
        return time.monotonic() >= last + action.after_s and self.progress.share() >= action.at

    def heal(self) -> None:
        """Return when every source event is applied and every partial published."""
        self._until(self.progress.done, HEAL_TIMEOUT_S)

    def until(self, condition: Callable[[], bool], timeout_s: float = HEAL_TIMEOUT_S) -> None:
        """Return when it holds; what should be up is kept up meanwhile. AssertionError when it takes longer."""
        self._until(condition, timeout_s)

    def await_exit(self, worker: int) -> int:
        """The exit code of the worker's first end that no action asked for, once it has come."""
        self._until(lambda: worker in dict(self.exits), DUE_TIMEOUT_S)
        return next(code for n, code in self.exits if n == worker)

    def _until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        def tended() -> bool:
            self._tend()
            return condition()

        until(tended, timeout_s, self._story)

    def _story(self) -> str:
        """Where it stands, for whoever reads the failure."""
        logs = [worker.log.read_text()[-2000:] for worker in self.workers if worker.log.exists()]
        return "\n".join([f"{self.progress.share():.3f} applied, up {sorted(self._up)}, ended {self.exits}", *logs])

    def _tend(self) -> None:
        """Start again what ended by itself."""
        for n in self._up:
            process = self.workers[n].process
            if process is not None and (code := process.poll()) is not None and (n, code) != (self._doomed, -signal.SIGKILL):
                self.exits.append((n, code))
                self.workers[n].launch()

    def _apply(self, action: Action) -> None:
        match action:
            case Kill(worker=n):
                self._kill(n, action)
            case Stop(worker=n):
                self._up.remove(n)
                code = self.workers[n].stop()
                # one that has only just been launched does not listen yet, and ends as any program would
                assert code in (0, -signal.SIGTERM), f"worker {n} was told to stop and ended with {code}"
            case Start(worker=n):
                self.workers[n].launch()
                self._up.add(n)
            case Pause(worker=n, batches=batches, dataset=dataset):
                self._order(n, "SIGSTOP", batches, dataset)
                self._until(lambda: _stopped(self.workers[n]), DUE_TIMEOUT_S)
            case Resume(worker=n):
                os.kill(_pid(self.workers[n]), signal.SIGCONT)
            case Ready(worker=n):
                self._await_ready(n)
            case CutOff(worker=n, how=how):
                self._proxies[n].cut(how)
            case Mend():
                for proxy in self._proxies:
                    proxy.mend()
            case KillBroker():
                self._broker.kill()
            case StartBroker():
                self._broker.start()

    def _await_ready(self, n: int) -> None:
        self._until(lambda: not _ended(self.workers[n]) and self.workers[n].ready(), DUE_TIMEOUT_S)

    def _kill(self, n: int, action: Kill) -> None:
        worker, old = self.workers[n], self.workers[n].data_dir.with_name("old")
        if action.batches is not None:
            self._doomed = n
            self._order(n, "SIGKILL", action.batches, action.dataset)
            # a worker that got no more work has no commit to die in
            self._until(lambda: _ended(worker) or self.progress.done(), DUE_TIMEOUT_S)
            _orders(worker).unlink(missing_ok=True)
        worker.kill()
        self._doomed = None
        if action.disk == "keep" and worker.data_dir.exists() and not old.exists():
            shutil.copytree(worker.data_dir, old)
        if action.disk != "keep":
            shutil.rmtree(worker.data_dir, ignore_errors=True)
        if action.disk == "old_copy" and old.exists():
            shutil.copytree(old, worker.data_dir)
        worker.launch()

    def _order(self, n: int, name: str, batches: int, dataset: str) -> None:
        draft = _orders(self.workers[n]).with_suffix(".draft")
        draft.write_text(f"{name} {batches} {dataset}")
        draft.rename(_orders(self.workers[n]))


ORDERS = "orders"


def faulty(
    bootstrap: str, prefix: str, directory: Path, *options: str, transactions: bool = True, without: Sequence[str] = ()
) -> WorkerProcess:
    """A worker that obeys orders between two batches, perhaps `without` some protections."""
    control = [f"--without-{protection}" for protection in (*without, *(() if transactions else ("transactions",)))]
    program = ("-m", "tests.chaos.faulty_worker", "--orders", str(directory / ORDERS), *control)
    return WorkerProcess(bootstrap, prefix, directory, *options, program=program)


def _orders(worker: WorkerProcess) -> Path:
    return worker.data_dir.with_name(ORDERS)


def _ended(worker: WorkerProcess) -> bool:
    return worker.process is not None and worker.process.poll() is not None


def _pid(worker: WorkerProcess) -> int:
    assert worker.process is not None
    return worker.process.pid


def _stopped(worker: WorkerProcess) -> bool:
    """Whether it is frozen: waiting tells that of children without waiting for their end."""
    return os.waitid(os.P_PID, _pid(worker), os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
