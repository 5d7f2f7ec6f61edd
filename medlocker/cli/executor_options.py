"""The options that say where images are worked on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, Literal

import click

from medlocker.cli.base import F, option
from medlocker.errors import SettingsError
from medlocker.executors import Executor, InProcess, Threads
from medlocker.executors.base import pin_threads

EXECUTORS = ("local", "ray")


def executor_options(function: F) -> F:
    """`--executor`, `--ray-address`, `--workers`."""
    for add in (
        option(
            "--workers", type=click.IntRange(1),
            help="Images worked on side by side.  [default: as many as the Ray cluster has room for; locally 1 where "
                 "networks run, else 2]",
        ),
        option(
            "--ray-address",
            help="auto, HOST:PORT or ray://HOST:10001.  [default: a Ray started here for this command]",
        ),
        option("--executor", type=click.Choice(EXECUTORS), default="local", help="Where images are worked on."),
    ):  # fmt: skip
        function = add(function)
    return function


def threads_option(function: F) -> F:
    """`--threads`, for verbs that run networks."""
    return option(
        "--threads", type=click.IntRange(1),
        help="Cores of each worker.  [default: all of them shared out among local workers; 1 with Ray]",
    )(function)  # fmt: skip


@contextmanager
def chosen_executor(
    options: dict[str, Any], say: Callable[[str], None], *, local: Literal["processes", "threads"]
) -> Iterator[Executor]:
    """What the options of `executor_options` name.

    Args:
        options: executor, ray_address, workers and, where the verb has them, threads and device.
        say: told of lost workers.
        local: how several workers of this machine share the work: processes where networks run, else threads.

    Raises:
        SettingsError: options that do not go together, or Ray is not installed.
        WorkerError: no Ray cluster answers.
    """
    workers, threads = options["workers"], options.get("threads")
    if options["executor"] == "ray":
        from medlocker.executors.ray import ray_actors

        gpu = False if options.get("device") == "cpu" else None
        with ray_actors(options["ray_address"], workers, threads or 1, say, gpu=gpu) as actors:
            yield actors
        return
    if options["ray_address"]:
        raise SettingsError("--ray-address is given, but not --executor ray", fix="give both, or neither")
    if local == "threads":
        yield Threads(workers or 2)
    elif (workers or 1) == 1:
        if threads:
            pin_threads(threads)
        yield InProcess()
    else:
        from medlocker.executors.processes import Processes

        with closing(Processes(workers, threads or max(1, (os.cpu_count() or 1) // workers), say)) as processes:
            yield processes
