"""Threads that work beside each other: each computes on one core, so that they neither compete nor differ.

A numerical library that splits one operation over several threads sums in another order than on one, and its last
digits follow the number of cores. Threads with one core each give the same digits on any number of cores, and are as
fast.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def one_core_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads in which PyTorch computes on one core each; what is waiting is dropped at an error.

    Args:
        count: threads.
    """
    cores = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, thread_name_prefix="medlocker", initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        # PyTorch remembers the last setting for threads to come, MKL for all of them.
        torch.set_num_threads(cores)


def mapped_ahead(pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    """`map` in a pool, in order, that never runs more than so many items ahead of who asks.

    Args:
        pool: does the work.
        function: of one item.
        items: drawn as there is room.
        ahead: results that are made or waiting at once, at least 1.

    Raises:
        Exception: what `function` raised, when its item's turn comes.
    """
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
