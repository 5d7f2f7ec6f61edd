"""What a job prints when it is done."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from medlocker.jobs.protecting import ProtectRequest, ProtectResult
from medlocker.jobs.tables import asr_rows, comparison_rows, grade_rows
from medlocker.jobs.transferring import TransferResult
from medlocker.metrics import AttackSuccess
from medlocker.transfer import comparisons, grade_table, success_table

METHODS = {
    "searched": "searched",
    "random_single": "one random place",
    "random_best": "best of random places",
    "box": "mean-colour box",
}


def success_text(table: Sequence[AttackSuccess]) -> str:
    """The attack success table on the per-model basis, for a terminal."""
    shown = Table(title="Attack success rate (95 % Wilson interval), of the images each network reads correctly")
    for heading in ("network", "role", "placement", "all such images", "those that fooled the sources"):
        shown.add_column(heading)
    cells = {(c.network, c.method, c.condition): c for c in table if c.basis == "per_model"}
    for (network, method, condition), cell in cells.items():
        if condition == "unconditional":
            given = cells.get((network, method, "source_fooled"))
            shown.add_row(
                network, cell.role, METHODS[method], str(cell.proportion), str(given.proportion) if given else ""
            )
    text = io.StringIO()
    Console(file=text, width=120, highlight=False).print(shown)
    return text.getvalue().rstrip()


def protect_text(request: ProtectRequest, result: ProtectResult, run_id: str | None) -> str:
    """Outcome first, then where things are and what to do next."""
    description = result.published.description.replace("**", "")
    return "\n".join(
        [
            description,
            "",
            success_text(result.published.attack_success),
            "",
            f"Release (give away):  {request.release}",
            f"Vault (keep):         {result.vault}",
            f"Report:               {result.published.report}",
            f"MLflow run:           {run_id}",
            "",
            "Next: medlocker key issue "
            f"{request.release} --owner IDENTITY --to NAME --recipient age1… --out NAME.key, or mlflow ui",
        ]
    )


def protect_json(request: ProtectRequest, result: ProtectResult, run_id: str | None) -> dict[str, object]:
    """The same for scripts."""
    return {
        "release": str(request.release),
        "release_id": result.protection.manifest.release_id,
        "vault": str(result.vault),
        "report": str(result.published.report),
        "run_id": run_id,
        "images": len(result.protection.images),
        "resumed": result.protection.resumed,
        "infeasible": list(result.protection.infeasible),
        "unlock": {"restored": result.restored[0], "tried": result.restored[1]},
        "metrics": result.published.metrics,
        "attack_success": asr_rows(result.published.attack_success),
        "comparisons": comparison_rows(comparisons(result.readings)),
    }


def transfer_json(result: TransferResult) -> dict[str, object]:
    """A transfer measurement for scripts."""
    readings = result.readings
    return {
        "images": len(readings.ids),
        "networks": [n.model_dump() for n in readings.networks],
        "attack_success": asr_rows(success_table(readings)),
        "by_grade": grade_rows(grade_table(readings, result.class_names)),
        "comparisons": comparison_rows(comparisons(readings)),
    }
