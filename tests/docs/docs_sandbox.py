"""The folder and shell in which the commands of a page run."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAST = {
    "MEDLOCKER_PROTECT_POPULATION": "6",
    "MEDLOCKER_PROTECT_GENERATIONS": "1",
    "MEDLOCKER_PROTECT_ITERATIONS": "1",
    "MEDLOCKER_PROTECT_PER_CLASS": "1",
    "MEDLOCKER_TRAIN_EPOCHS": "1",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "80",
    "LANG": "C.UTF-8",
}
"""What a page's commands do at full size takes minutes; options that a page names itself win over these."""
SECONDS = 240


class CommandError(AssertionError):
    """A command of a page did not end or answer as the page says."""


@dataclass(frozen=True)
class Sandbox:
    """A folder and the environment of the shell in it."""

    folder: Path
    environment: dict[str, str]

    def shell(self, text: str, code: int = 0) -> str:
        """Run shell text; what it exports and the folder it changes to stay for the next.

        Raises:
            CommandError: another exit code.
        """
        kept = self.folder.parent / "shell-state"
        script = f"[ ! -f {kept} ] || . {kept}\ntrap '{{ export -p; echo cd \"$PWD\"; }} > {kept}' EXIT\n{text}\n"
        done = subprocess.run(
            ["/bin/bash", "-e", "-o", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode != code:
            raise CommandError(f"exit code {done.returncode} instead of {code} from\n{text}\n\n{done.stdout}")
        return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


def environment_of(commands: Path, kit: Path, home: Path) -> dict[str, str]:
    """Of the shell of a page: nothing of the caller's own."""
    path = os.pathsep.join((str(commands), "/usr/local/bin", "/usr/bin", "/bin"))
    return {**FAST, "PATH": path, "KIT": str(kit), "HOME": str(home), "MEDLOCKER_CACHE": str(kit / "cache"),
            "USER": "ada", "LOGNAME": "ada"}  # fmt: skip
