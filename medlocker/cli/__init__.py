"""The `medlocker` command: one thin module a verb.

A verb's module is imported when the verb is used, so that `medlocker verify` does not wait for PyTorch.
"""

from __future__ import annotations

import click

from medlocker import __version__
from medlocker.cli.base import LazyGroup

VERBS = {
    "protect": "medlocker.cli.protect:protect",
    "unlock": "medlocker.cli.unlock:unlock",
    "verify": "medlocker.cli.verify:verify",
    "transfer": "medlocker.cli.transfer:transfer",
    "report": "medlocker.cli.report:report",
    "runs": "medlocker.cli.runs:runs",
    "identity": "medlocker.cli.identity:identity",
    "recipient": "medlocker.cli.recipient:recipient",
    "key": "medlocker.cli.key:key",
    "edition": "medlocker.cli.edition:edition",
    "trace": "medlocker.cli.trace:trace",
    "rerelease": "medlocker.cli.rerelease:rerelease",
    "audit": "medlocker.cli.audit:audit",
    "ui": "medlocker.cli.ui:ui",
    "train": "medlocker.cli.train:train",
    "export": "medlocker.cli.export:export",
    "study": "medlocker.cli.study:study",
    "segment": "medlocker.cli.segment:segment",
    "networks": "medlocker.cli.networks:networks",
    "bench": "medlocker.cli.bench:bench",
    "completion": "medlocker.cli.completion:completion",
}


@click.group(cls=LazyGroup, verbs=VERBS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="medlocker")
@click.option("--verbose", is_flag=True, help="Show the whole trace of an error.")
@click.pass_context
def main(ctx: click.Context, verbose: bool) -> None:
    """Lock medical image data sets with removable adversarial watermarks.

    Every option can also be given as an environment variable, e.g. MEDLOCKER_PROTECT_SEED.
    """
    ctx.obj = verbose
