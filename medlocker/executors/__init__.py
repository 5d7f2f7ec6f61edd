"""Where the images of a job are worked on: in this process, in several, or on a Ray cluster.

`base` holds the two small protocols; only `ray` imports Ray.
"""

from medlocker.executors.base import Answer, Executor, Recipe, Worker, answer
from medlocker.executors.local import InProcess, Threads

__all__ = ["Answer", "Executor", "InProcess", "Recipe", "Threads", "Worker", "answer"]
