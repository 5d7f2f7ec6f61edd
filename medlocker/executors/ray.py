"""Workers as Ray actors, on this machine or on a cluster. The one module that imports Ray.

Ray keeps an actor's constructor arguments in its control store and may spill objects to disk, so the secret of a job
never travels as either: each actor makes a key pair in its own memory, and the secret is sealed to it.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

# What Ray's own processes tell a driver goes to its standard output, where a `--json` must stand alone; what matters of
# it arrives as exceptions. Ray reads this when it is imported.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")

try:
    import ray
except ImportError as missing:
    from medlocker.errors import SettingsError

    raise SettingsError(
        "Ray is not installed", why="--executor ray needs it", fix="pip install 'medlocker[ray]'"
    ) from missing

import medlocker
from medlocker.errors import MedLockerError, SettingsError, WorkerError
from medlocker.executors.base import THREAD_VARIABLES, Answer, Recipe, Worker, answer, pin_threads
from medlocker.executors.crew import Done, Event, Failed, Lost, Ready, run_crew
from medlocker.sealing import Identity, new_key_pair, open_with, seal_to

T = TypeVar("T")
R = TypeVar("R")

OWN_RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_worker_niceness": "0"}
"""Environment of a Ray that is started here: it reports to nobody, and its workers do not stand back for others."""
SECONDS_TO_ANSWER = 10.0
"""How long a cluster's port may take to be there; Ray itself tries on for many minutes."""
LOST = (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError, ray.exceptions.WorkerCrashedError)


class RayActors:
    """Actors that each hold the networks, kept from one part of a job to the next. Made by `ray_actors`.

    Args:
        places: how many.
        threads: cores of each, and threads of its numerical libraries.
        gpu: whether each takes a GPU.
        say: told of lost workers.
    """

    def __init__(self, places: int, threads: int, gpu: bool, say: Callable[[str], None]) -> None:
        self.places, self.threads, self.gpu, self._say = places, threads, gpu, say
        self._kept: dict[int, Any] = {}

    def run(self, recipe: Recipe[T, R], secret: bytes, tasks: Iterable[T]) -> Iterator[R]:
        """Do every task; see `Executor`."""
        chunk = recipe.chunk if self.gpu else 1
        actors = _Actors(self.places, chunk, self._kept, self._actor, (recipe, secret))
        yield from run_crew(actors, tasks, self._say)

    def _actor(self) -> Any:
        # No retries by Ray: a lost actor's tasks go to whoever is free, not to an actor that may wait for room.
        return (
            ray.remote(_Actor)
            .options(
                num_cpus=self.threads,
                num_gpus=int(self.gpu),
                max_restarts=-1,
                max_task_retries=0,
                runtime_env={"env_vars": dict.fromkeys(THREAD_VARIABLES, str(self.threads))},
            )
            .remote(self.threads)
        )

    def close(self) -> None:
        """Let the actors go."""
        for actor in self._kept.values():
            ray.kill(actor)
        self._kept.clear()


@contextmanager
def ray_actors(
    address: str | None, workers: int | None, threads: int, say: Callable[[str], None], *, gpu: bool | None = None
) -> Iterator[RayActors]:
    """Actors on a cluster, or on a Ray that is started here for as long.

    Args:
        address: `auto` or `host:port` of a cluster this machine is part of, `ray://host:10001` of one it is not; None
            starts Ray on this machine.
        workers: how many; None for as many as there is room for.
        threads: cores of each.
        say: told of lost workers.
        gpu: whether each takes a GPU; None for where the cluster has any.

    Raises:
        SettingsError: the cluster has no room for one worker.
        WorkerError: no cluster answers.
    """
    with connected(address, threads * (workers or max(1, (os.cpu_count() or 1) // threads))):
        actors = RayActors(*_room(workers, threads, gpu, say), say)
        try:
            yield actors
        finally:
            actors.close()


def _room(workers: int | None, threads: int, gpu: bool | None, say: Callable[[str], None]) -> tuple[int, int, bool]:
    """How many actors, with how many cores, and whether each takes a GPU."""
    has = ray.cluster_resources()
    gpu = has.get("GPU", 0) >= 1 if gpu is None else gpu
    most = int(min(has.get("CPU", 0) // threads, has.get("GPU", 0) if gpu else float("inf")))
    if most < 1:
        raise SettingsError(
            f"the Ray cluster has {has.get('CPU', 0):g} cores and {has.get('GPU', 0):g} GPUs",
            why=f"a worker needs {threads} cores on one node{' and a GPU' if gpu else ''}",
            fix="give fewer --threads, or add nodes to the cluster",
        )
    if workers is not None and workers > most:
        say(f"the Ray cluster has room for {most} of {workers} workers; the others wait for nodes")
    return workers or most, threads, gpu


@contextmanager
def connected(address: str | None, cores: int) -> Iterator[None]:
    """Be connected to Ray for a while; a connection that is there already is used, and left as it was.

    Args:
        address: see `ray_actors`.
        cores: what a Ray of this machine's own may use.

    Raises:
        WorkerError: no cluster answers.
    """
    if ray.is_initialized():
        yield
        return
    for name, value in OWN_RAY.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {"address": "local", "num_cpus": cores, "include_dashboard": False}
    else:
        options["address"] = address
    try:
        _knock(address)
        with _own_termination():
            ray.init(**options)
    except (OSError, RuntimeError, ValueError) as error:
        raise WorkerError(
            f"Ray at {address or 'this machine'} cannot be reached",
            why=str(error).splitlines()[0],
            fix="check --ray-address; ray status shows whether a cluster runs; without it Ray starts on this machine",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """Whether anything listens where a cluster is said to be.

    Raises:
        OSError: nothing does.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), SECONDS_TO_ANSWER).close()


@contextmanager
def _own_termination() -> Iterator[None]:
    """Keep the process's answer to SIGTERM: Ray puts its own in place for good, which hides from a job, and so from its
    MLflow run, that it was asked to end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        # None stands for a handler that was not set from Python and cannot be put back.
        if before is not None:
            signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class _Greeting:
    """What a new actor says of itself."""

    public_key: str
    version: str


class _Actor:
    """Runs in a worker process of Ray."""

    def __init__(self, threads: int) -> None:
        pin_threads(threads)
        self._identity: Identity = new_key_pair()
        self._worker: Worker[Any, Any] | None = None

    def greet(self) -> _Greeting:
        """The key that the secret must be sealed to; another one after each restart."""
        return _Greeting(self._identity.public_key, medlocker.__version__)

    def admit(self, recipe: Recipe[Any, Any], sealed: bytes) -> MedLockerError | None:
        """Make the worker; returns what is in its way."""
        try:
            self._worker = recipe.worker(open_with(self._identity, sealed))
        except MedLockerError as error:
            return error
        return None

    def work(self, tasks: Sequence[Any]) -> Answer[Any] | None:
        """Do some tasks; None where this actor was restarted and was not admitted since."""
        return None if self._worker is None else answer(self._worker, tasks)


class _Actors:
    """The places of a crew, each an actor that Ray restarts, on another node where its own is lost.

    Args:
        places: how many.
        chunk: tasks given at once.
        kept: actors that run already; new ones are added.
        make: makes an actor.
        start_with: recipe and secret.
    """

    def __init__(
        self, places: int, chunk: int, kept: dict[int, Any], make: Callable[[], Any], start_with: tuple[Any, bytes]
    ) -> None:
        self.places, self.chunk = places, chunk
        self._recipe, self._secret = ray.put(start_with[0]), start_with[1]
        self._actors, self._make = kept, make
        self._pending: dict[Any, tuple[str, int]] = {}
        for place in range(places):
            if place not in kept:
                kept[place] = make()
            self._greet(place)

    def _greet(self, place: int) -> None:
        """Wait for the actor of a place, however long it takes to find room."""
        self._expect(self._actors[place].greet.options(max_task_retries=-1).remote(), "greet", place)

    def _expect(self, reference: Any, what: str, place: int) -> None:
        self._pending[reference] = what, place

    def give(self, place: int, tasks: Sequence[Any]) -> None:
        self._expect(self._actors[place].work.remote(tuple(tasks)), "work", place)

    def events(self, timeout: float) -> Sequence[Event]:
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            ready, _ = ray.wait(list(self._pending), num_returns=1, timeout=left)
            if found := [event for reference in ready if (event := self._event(reference))]:
                return found
        return []

    def _event(self, reference: Any) -> Event | None:
        what, place = self._pending.pop(reference)
        try:
            value = ray.get(reference)
        except LOST as error:
            return self._lost(what, place, error)
        if what == "greet":
            return self._greeted(place, value)
        if what == "admit":
            return Failed(place, value) if value else Ready(place)
        if value is None:
            self._greet(place)
            return Lost(place, "its actor was restarted")
        return Done(place, value)

    def _greeted(self, place: int, greeting: _Greeting) -> Failed | None:
        if greeting.version != medlocker.__version__:
            what = f"a node of the Ray cluster has MedLocker {greeting.version}, this is {medlocker.__version__}"
            return Failed(place, WorkerError(what, fix="install the same version on every node"))
        sealed = seal_to([greeting.public_key], self._secret)
        self._expect(self._actors[place].admit.remote(self._recipe, sealed), "admit", place)
        return None

    def _lost(self, what: str, place: int, error: Exception) -> Lost:
        if what == "greet":  # Ray has given up on this actor.
            self._actors[place] = self._make()
        self._greet(place)
        return Lost(place, cause_of_loss(error))

    def waiting_for(self) -> str:
        free = ray.available_resources()
        room = f"{free.get('CPU', 0):g} cores and {free.get('GPU', 0):g} GPUs"
        return f"{len(self._pending)} actors are starting, the Ray cluster has {room} besides"

    def close(self) -> None:
        for _, place in self._pending.values():
            ray.kill(self._actors.pop(place))
        self._pending.clear()


def cause_of_loss(error: Exception) -> str:
    """Ray's account of a lost actor in one line."""
    text = str(error)
    if "OOM" in text or "memory" in text.lower():
        return "Ray ended its process because memory ran low"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    causes = [
        line for line in lines if "died" in line.lower() or "exit" in line.lower() or "unavailable" in line.lower()
    ]
    return (causes or lines or [type(error).__name__])[0][:200]
