"""Where the steward's page is served: inside an MLflow server, or by itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import waitress
from flask import Flask, abort, request
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from medlocker_mlflow.steward.pages import RunLink, sealed, steward_blueprint
from medlocker_mlflow.steward.settings import StewardSettings
from medlocker_mlflow.steward.shelf import LedgerShelf

PREFIX = "/medlocker"
_GATEWAY_VARIABLE = "_MLFLOW_SGI_NAME"
"""By which `mlflow server` tells its workers which kind of server they run in."""


def create_app() -> Any:
    """MLflow's server with the steward's page under `/medlocker/`, for `mlflow server --app-name medlocker`.

    Settings come from the environment; see `StewardSettings.from_environment`. MLflow's own pages stay as they are.

    Returns:
        An ASGI application under uvicorn, MLflow's default; a WSGI application under gunicorn and waitress.

    Raises:
        SettingsError: no ledger is named.
    """
    from mlflow.server import app as flask_app
    from mlflow.server.handlers import STATIC_PREFIX_ENV_VAR

    shelf = LedgerShelf(StewardSettings.from_environment())
    static_prefix = os.environ.get(STATIC_PREFIX_ENV_VAR, "").rstrip("/")
    flask_app.register_blueprint(steward_blueprint(shelf, static_prefix + PREFIX, _stored_run_link(static_prefix)))
    if os.environ.get(_GATEWAY_VARIABLE) != "uvicorn":
        return flask_app
    from mlflow.server.fastapi_app import create_fastapi_app

    return create_fastapi_app(flask_app)


def create_page(settings: StewardSettings, hosts: frozenset[str], run_link: RunLink) -> Flask:
    """The page alone, as a WSGI application.

    Args:
        settings: what to show.
        hosts: names by which the page may be asked for; others are refused, so that a foreign web page cannot read it
            through a name of its own that points here.
        run_link: address of an MLflow run's page.
    """
    app = Flask("medlocker_steward", static_folder=None)
    app.register_blueprint(steward_blueprint(LedgerShelf(settings), "", run_link))
    app.after_request(sealed)  # Also what no page answers.

    @app.before_request
    def known_host() -> None:
        if _host_name(request.host) not in hosts:
            abort(403, "This host name is not allowed here; see --allowed-host.")

    return app


def listen(page: Flask, host: str, port: int) -> Any:
    """A waitress server that listens already; `run()` serves until Ctrl-C, `effective_port` tells the port.

    Raises:
        OSError: it cannot listen there.
    """
    return waitress.create_server(page, host=host, port=port, threads=4, ident="medlocker")


def run_page(server: str, experiment_id: str, run_id: str) -> str:
    """Address of a run in MLflow's pages."""
    return f"{server}/#/experiments/{quote(experiment_id)}/runs/{quote(run_id)}"


def remote_run_link(server: str) -> RunLink:
    """Links to runs of an MLflow server, e.g. `http://localhost:5000`."""
    client = MlflowClient(server)
    return _RunLinks(server, lambda run_id: client.get_run(run_id).info.experiment_id)


def _stored_run_link(static_prefix: str) -> RunLink:
    from mlflow.server.handlers import _get_tracking_store

    def experiment_of(run_id: str) -> str:
        store: Any = _get_tracking_store()
        return str(store.get_run(run_id).info.experiment_id)

    return _RunLinks(static_prefix, experiment_of)


class _RunLinks:
    def __init__(self, server: str, experiment_of: Callable[[str], str]) -> None:
        self._server, self._experiment_of = server, experiment_of
        self._known: dict[str, str] = {}

    def __call__(self, run_id: str) -> str | None:
        if run_id not in self._known:
            try:
                self._known[run_id] = run_page(self._server, self._experiment_of(run_id), run_id)
            except MlflowException:
                # A run of another server, or a deleted one: the page shows its id without a link.
                return None
        return self._known[run_id]


def _host_name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host
