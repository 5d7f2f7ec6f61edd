"""The steward's page in headless Chromium: accessible, without scripts and network, usable by keyboard.

`MEDLOCKER_SCREENSHOTS=FOLDER` keeps what it looks like.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from steward_ledger import RUNS, release_id, write_ledgers

from medlocker.signing import new_signing_identity
from medlocker_mlflow.steward import StewardSettings
from medlocker_mlflow.steward.app import create_page, listen

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PAGES = {
    "index": "/",
    "ledger": "/ledgers/retina/",
    "fault": "/ledgers/oct-pilot/",
    "release": f"/ledgers/retina/copies/{release_id('2026')}",
    "edition": f"/ledgers/retina/copies/{release_id('edition Vision Analytics Ltd.')}",
    "recipient": "/ledgers/retina/recipients/Vision%20Analytics%20Ltd.",
    "events": "/ledgers/retina/events",
    "revoked": "/ledgers/retina/events?kind=key.revoked",
    "absent": "/ledgers/retina/copies/none",
}
LOOKS = {"desktop": ({"width": 1280, "height": 800}, "light"), "phone": ({"width": 390, "height": 844}, "dark")}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright."""
    driver = pytest.importorskip("playwright.sync_api", reason="no Playwright (pip install -e '.[test]')")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with driver.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page, served as `medlocker ui` serves it."""
    folder = tmp_path_factory.mktemp("ledgers")
    owner = new_signing_identity(folder / "signing.pem")
    settings = StewardSettings(ledgers=(write_ledgers(folder, owner),), owner_keys=(owner.public,))
    page = create_page(settings, frozenset({"127.0.0.1"}), lambda run_id: f"http://mlflow.example/#/runs/{run_id}")
    serving = listen(page, "127.0.0.1", 0)
    threading.Thread(target=serving.run, daemon=True).start()
    yield f"http://127.0.0.1:{serving.effective_port}"
    serving.close()


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_accessible_complete_in_itself_and_fits(browser: Any, address: str, name: str, look: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    viewport, scheme = LOOKS[look]
    # Only the checker needs the policy lifted; what the page itself asks for is recorded.
    context = browser.new_context(viewport=viewport, color_scheme=scheme, bypass_csp=True)
    tab, asked, complaints = context.new_page(), [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: complaints.append(message.text))
    answer = tab.goto(address + PAGES[name])
    assert answer.status == (404 if name == "absent" else 200)
    assert {url for url in asked if not url.endswith("/favicon.ico")} == {address + PAGES[name]}
    assert [text for text in complaints if "404" not in text] == []
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"
    if folder := os.environ.get("MEDLOCKER_SCREENSHOTS"):
        tab.screenshot(path=Path(folder) / f"steward-{name}-{look}.png", full_page=True)
    found = axe.run(tab)
    assert found.violations_count == 0, found.generate_report()
    context.close()


def test_the_checker_would_find_a_fault(browser: Any, address: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    tab = browser.new_page(bypass_csp=True)
    tab.goto(address)
    tab.evaluate("document.documentElement.removeAttribute('lang')")
    tab.evaluate("document.querySelector('h1').style.color = '#dddddd'")
    assert {one["id"] for one in axe.run(tab).response["violations"]} == {"html-has-lang", "color-contrast"}
    tab.close()


def test_everything_is_reached_by_keyboard_without_scripts(browser: Any, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(address)
    tab.keyboard.press("Tab")
    assert tab.locator(":focus").inner_text() == "Skip to content"
    assert tab.locator(":focus").bounding_box()["x"] >= 0
    tab.keyboard.press("Enter")
    assert tab.url.endswith("#main")
    tab.keyboard.press("Tab")  # the table, which scrolls on a narrow screen
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/ledgers/retina/")
    assert tab.get_by_role("heading", level=1).inner_text() == "retina"
    assert "The ledger proves itself" in tab.get_by_role("status").inner_text()
    tab.get_by_role("row").filter(has_text="revoked").get_by_role("link", name="Vision Analytics Ltd.").click()
    assert "contract ended" in tab.get_by_role("region", name="Key versions").inner_text()
    context.close()


def test_a_run_is_linked_and_a_fault_is_an_alert(browser: Any, address: str) -> None:
    tab = browser.new_page()
    tab.goto(f"{address}/ledgers/oct-pilot/")
    assert "Line 19" in tab.get_by_role("alert").inner_text()
    run = RUNS["retina-2026"]
    links = tab.get_by_role("link", name=run[:12])
    assert links.first.get_attribute("href") == f"http://mlflow.example/#/runs/{run}"
    tab.close()
