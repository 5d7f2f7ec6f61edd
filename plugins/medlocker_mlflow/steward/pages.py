"""The steward's pages as a Flask blueprint: HTML without scripts, and the same facts as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, get_args

import jinja2
from flask import Blueprint, Response, abort, request

import medlocker
from medlocker.audit.events import Event, EventKind
from medlocker.audit.overview import Overview, RecipientRecord, ReleasedCopy
from medlocker.errors import MedLockerError
from medlocker_mlflow.steward.shelf import LedgerShelf

EVENTS_ON_A_PAGE = 100
RunLink = Callable[[str], str | None]
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
_TEMPLATES = jinja2.Environment(
    loader=jinja2.ChoiceLoader(
        [jinja2.PackageLoader("medlocker_mlflow.steward"), jinja2.PackageLoader("medlocker.reporting")]
    ),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def steward_blueprint(shelf: LedgerShelf, prefix: str, run_link: RunLink = lambda run_id: None) -> Blueprint:
    """The pages, to be registered in a Flask application. All of them only read.

    Args:
        shelf: the ledgers.
        prefix: path under which the pages lie, e.g. `/medlocker`; empty for the root.
        run_link: address of an MLflow run's page; None where it is not known.
    """
    pages = _Pages(shelf, prefix, run_link)
    blueprint = Blueprint("medlocker_steward", __name__, url_prefix=prefix or None)
    for rule, view in (
        ("/", pages.index),
        ("/ledgers/<ledger>/", pages.ledger),
        ("/ledgers/<ledger>/overview.json", pages.as_json),
        ("/ledgers/<ledger>/copies/<copy_id>", pages.copy),
        ("/ledgers/<ledger>/recipients/<path:name>", pages.recipient),
        ("/ledgers/<ledger>/events", pages.events),
    ):
        blueprint.add_url_rule(rule, view_func=view, methods=["GET"])
    blueprint.register_error_handler(MedLockerError, pages.failed)
    blueprint.register_error_handler(404, pages.absent)
    blueprint.after_request(sealed)
    return blueprint


class _Pages:
    def __init__(self, shelf: LedgerShelf, prefix: str, run_link: RunLink) -> None:
        self.shelf, self.prefix, self.run_link = shelf, prefix, run_link

    def index(self) -> str:
        names = self.shelf.names()
        shown = [(name, self.shelf.overview(name), self.shelf.report(name)) for name in names]
        return self._render("index.html.j2", title="Releases and keys", ledgers=shown)

    def ledger(self, ledger: str) -> str:
        ends = [one.expires_at for one in self._overview(ledger).holdings if one.state == "active" and one.expires_at]
        return self._ledger_page("ledger.html.j2", ledger, ledger, next_expiry=min(ends, default=None))

    def copy(self, ledger: str, copy_id: str) -> str:
        overview = self._overview(ledger)
        copy = _found(one for one in overview.copies if one.release_id == copy_id)
        kind = "Edition" if copy.edition_of else "Release"
        return self._ledger_page("copy.html.j2", ledger, f"{kind} {copy_id[:12]}…", copy=copy)

    def recipient(self, ledger: str, name: str) -> str:
        recipient = _found(one for one in self._overview(ledger).recipients if one.name == name)
        return self._ledger_page("recipient.html.j2", ledger, name, recipient=recipient)

    def events(self, ledger: str) -> str:
        kind = request.args.get("kind", "")
        if kind and kind not in get_args(EventKind):
            abort(404)
        page = request.args.get("page", 1, type=int)
        wanted = [event for event in reversed(self._overview(ledger).events) if kind in ("", event.details.kind)]
        pages = max(1, -(-len(wanted) // EVENTS_ON_A_PAGE))
        if not 1 <= page <= pages:
            abort(404)
        return self._ledger_page(
            "events.html.j2",
            ledger,
            "Events",
            shown=wanted[(page - 1) * EVENTS_ON_A_PAGE : page * EVENTS_ON_A_PAGE],
            kinds=get_args(EventKind),
            kind=kind,
            page=page,
            pages=pages,
            count=len(wanted),
        )

    def as_json(self, ledger: str) -> Response:
        overview, report = self._overview(ledger), self.shelf.report(ledger)
        body = overview.model_dump_json(exclude={"events"})
        verified = report.model_dump_json() if report else "null"
        return Response(f'{{"overview": {body}, "verification": {verified}}}', mimetype="application/json")

    def absent(self, error: Exception) -> tuple[str, int]:
        del error
        return self._render("absent.html.j2", title="Nothing is here"), 404

    def failed(self, error: MedLockerError) -> tuple[str, int]:
        return self._render("failed.html.j2", title="The ledger cannot be shown", error=error), 500

    def _overview(self, ledger: str) -> Overview:
        try:
            return self.shelf.overview(ledger)
        except KeyError:
            abort(404)

    def _ledger_page(self, template: str, ledger: str, title: str, **more: object) -> str:
        overview = self._overview(ledger)
        return self._render(
            template, title=title, ledger=ledger, overview=overview, report=self.shelf.report(ledger), **more
        )

    def _render(self, template: str, **values: object) -> str:
        return _TEMPLATES.get_template(template).render(
            prefix=self.prefix,
            version=medlocker.__version__,
            told_at=datetime.now(UTC),
            run_link=self.run_link,
            moment=_moment,
            day=_day,
            facts=_facts,
            **values,
        )


def _found(candidates: Any) -> Any:
    one: ReleasedCopy | RecipientRecord | None = next(candidates, None)
    if one is None:
        abort(404)
    return one


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def _day(time: datetime | None, none: str = "never") -> str:
    return f"{time:%Y-%m-%d}" if time else none


def _facts(event: Event) -> Mapping[str, str]:
    """What an event says beside its kind, for one line of a table."""
    fields = event.details.model_dump(exclude={"kind", "scope", "accused"}, exclude_none=True)
    facts = {
        name.replace("_", " "): _moment(value) if isinstance(value, datetime) else str(value)
        for name, value in fields.items()
    }
    scope = getattr(event.details, "scope", "all")
    if scope != "all":
        facts["scope"] = f"{len(scope)} images"
    for one in getattr(event.details, "accused", ()):
        facts[f"accused {one.recipient}"] = f"false with probability ≤ {one.false_accusation:.2g}"
    return facts


def sealed(response: Response) -> Response:
    """No script, no foreign content, no frame, no copy in a shared cache."""
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response
