"""Tags for runs that a user starts with a bare `mlflow.start_run()` while MedLocker is in use.

MLflow makes this provider whenever it is imported, in every program of the environment: the module imports nothing
beyond the standard library, and the provider stays silent until something else has imported `medlocker`.
"""

from __future__ import annotations

import os
import re
import sys

RELEASE_ID_VARIABLE = "MEDLOCKER_RELEASE_ID"
"""Environment variable that names the release a run is about."""

_RELEASE_ID = re.compile(r"[0-9a-f]{32}")


class MedLockerContext:
    """The entry point of `mlflow.run_context_provider`; MLflow asks for these two methods and no base class.

    Runs of `mlflow run` get no tags this way; `medlocker_mlflow.runs` sets the same ones itself.
    """

    def in_context(self) -> bool:
        """Whether this process uses MedLocker."""
        return "medlocker" in sys.modules

    def tags(self) -> dict[str, str]:
        """`medlocker.version`, and `medlocker.release_id` where MEDLOCKER_RELEASE_ID holds one; never raises."""
        found = {"medlocker.version": getattr(sys.modules.get("medlocker"), "__version__", None)}
        # Anything but an id, such as a key pasted into the wrong variable, must not become a public tag.
        release_id = os.environ.get(RELEASE_ID_VARIABLE, "")
        found["medlocker.release_id"] = release_id if _RELEASE_ID.fullmatch(release_id) else None
        return {name: value for name, value in found.items() if isinstance(value, str)}
