"""`medlocker ui`: the page a steward opens."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from medlocker.cli.base import PATH, option
from medlocker.cli.ledger_options import owner_key_option
from medlocker.errors import SettingsError
from medlocker.signing import PublicKey

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


@click.command()
@click.argument("places", type=PATH, nargs=-1, metavar="[RELEASE|LEDGER|FOLDER]…")
@owner_key_option
@option("--receipt", "receipts", type=PATH, multiple=True, help="A receipt or proof that was given away; repeatable.")
@option("--host", default="127.0.0.1", help="Address to listen on.")
@option("--port", type=click.IntRange(0, 65535), default=5055, help="Port to listen on; 0 for any that is free.")
@option("--allowed-host", "allowed_hosts", multiple=True, help="Another name by which the page may be asked for.")
@option("--mlflow", "server", help="MLflow server for links to runs, e.g. http://localhost:5000.")
@click.option("--open", "open_browser", is_flag=True, help="Open the page in a browser.")
def ui(
    places: tuple[Path, ...],
    owner_keys: tuple[PublicKey, ...],
    receipts: tuple[Path, ...],
    host: str,
    port: int,
    allowed_hosts: tuple[str, ...],
    server: str | None,
    open_browser: bool,
) -> None:
    """Show releases, key versions, recipients, traces and the ledger's verification in a browser.

    The page only reads ledgers, which hold names and digests and no secret. It asks for no password: keep it on this
    machine, or behind a server that asks for one. Without arguments the current folder is searched for ledgers, and
    without --owner-key they are shown as not verified.
    """
    from medlocker.audit import read_receipt
    from medlocker_mlflow.steward import LedgerShelf, StewardSettings
    from medlocker_mlflow.steward.app import create_page, listen, remote_run_link

    settings = StewardSettings(
        ledgers=tuple(map(_ledger_place, places or (Path(),))),
        owner_keys=owner_keys,
        receipts=tuple(read_receipt(path) for path in receipts),
    )
    names = LedgerShelf(settings).names()
    hosts = frozenset((*LOCAL_NAMES, host, *allowed_hosts))
    page = create_page(settings, hosts, remote_run_link(server.rstrip("/")) if server else lambda run_id: None)
    try:
        serving = listen(page, host, port)
    except OSError as error:
        raise SettingsError(
            f"--host {host} --port {port}: cannot listen there", why=error.strerror, fix="choose another --port"
        ) from error
    url = f"http://{'localhost' if host in LOCAL_NAMES else host}:{serving.effective_port}/"
    click.echo(f"{len(names)} {'ledger' if len(names) == 1 else 'ledgers'} on {url}  (Ctrl-C ends)")
    if open_browser:
        webbrowser.open(url)
    serving.run()


def _ledger_place(place: Path) -> Path:
    """A release stands for the owner's folder beside it."""
    from medlocker.release import MANIFEST_NAME
    from medlocker.workspace import default_owner_dir

    if (place / MANIFEST_NAME).is_file():
        return default_owner_dir(place.resolve())
    if not place.exists():
        raise SettingsError(f"{place}: no such file or folder", fix="name a release, a ledger, or a folder of them")
    return place
