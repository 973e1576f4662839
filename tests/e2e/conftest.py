"""A whole product for the browser: a small simulated season, the real pipeline, its own database, granian.

Built once a session (about a minute). Every test gets a fresh browser context at phone or desktop width.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1366, "height": 768}
AXE = ROOT / "frontend" / "vendor" / "axe" / "axe.min.js"
YEAR = 2026


@dataclass(frozen=True)
class LiveSite:
    """A running site: its address, its database and the folder that holds its files."""

    url: str
    database_url: str
    var: Path
    environment: dict[str, str]

    def manage(self, *arguments: str) -> str:
        """Run a management command against this site and return what it printed."""
        return _run([sys.executable, "manage.py", *arguments], self.environment)

    def password(self, username: str) -> str:
        """The demo password of one of the invented users."""
        for line in (self.var / "demo_users.txt").read_text().splitlines():
            name, _, password = line.partition("\t")
            if name == username:
                return password.strip()
        raise KeyError(username)


def _run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (
        f"{' '.join(command)} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def live_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    """Simulate, run, import, load sample content, serve."""
    from django.conf import settings

    database = settings.DATABASES["default"]
    name = f"pingliang_e2e_{secrets.token_hex(4)}"
    login = f"{database['USER']}:{database['PASSWORD']}@{database['HOST']}:{database['PORT']}"
    admin = f"postgresql://{login}/postgres"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'create database "{name}"')
    var = tmp_path_factory.mktemp("var")
    environment = {
        **os.environ,
        "DATABASE_URL": f"postgis://{login}/{name}",
        "DJANGO_SETTINGS_MODULE": "config.settings.development",
        "PINGLIANG_VAR": str(var),
        "OMP_NUM_THREADS": "2",
    }
    server: subprocess.Popen[bytes] | None = None
    try:
        eo = str(Path(sys.executable).parent / "eo")
        twin = var / "twin"
        _run(
            [eo, "simulate", "--out", str(twin), "--size-km", "1.5", "--seasons", "2", "--year", str(YEAR)],
            environment,
        )
        for year in (YEAR - 1, YEAR):
            season = twin / str(year) / "season.toml"
            # fewer folds: the site's tests need a map, not its accuracy
            season.write_text(season.read_text().replace("folds = 4", "folds = 2"))
            _run([eo, "run", str(season)], environment)
        site = LiveSite(f"http://127.0.0.1:{_free_port()}", environment["DATABASE_URL"], var, environment)
        site.manage("migrate", "-v", "0")
        site.manage("load_demo_places")
        site.manage("load_demo_users")
        for year in (YEAR - 1, YEAR):
            run = twin / "runs" / f"jingning-{year}"
            site.manage("import_run", str(run), "--parcels", str(twin / str(year) / "parcels.geojson"))
        for command in ("load_demo_review", "load_demo_content", "load_demo_farms", "load_demo_shop"):
            site.manage(command)
        site.manage("collectstatic", "--noinput", "-v", "0")
        log = (var / "granian.log").open("wb")
        server = subprocess.Popen(
            [
                str(Path(sys.executable).parent / "granian"),
                *("--interface", "wsgi", "--host", "127.0.0.1", "--port", site.url.rsplit(":", 1)[1]),
                *("--workers", "1", "--no-ws", "config.wsgi:application"),
            ],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )
        _wait_until_up(site.url, server, var / "granian.log")
        yield site
    finally:
        if server is not None:
            server.terminate()
            server.wait(20)
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f'drop database if exists "{name}" with (force)')


def _wait_until_up(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"the site did not come up:\n{log.read_text()}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    assert executable, "Chromium is not installed; run scripts/setup.sh"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGS)
        yield chromium
        chromium.close()


@pytest.fixture(params=["phone", "desktop"])
def size(request: pytest.FixtureRequest) -> dict[str, int]:
    return PHONE if request.param == "phone" else DESKTOP


@pytest.fixture
def open_page(browser: Browser, live_site: LiveSite) -> Iterator[Callable[..., Page]]:
    """Open a page in a context of its own; a console error or a request to another host fails the test."""
    contexts = []
    problems: list[str] = []

    def watch(page: Page) -> None:
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda request: (
                problems.append(f"foreign host: {request.url}")
                if not request.url.startswith((live_site.url, "data:", "blob:"))
                else None
            ),
        )

    def opener(path: str = "/", *, viewport: dict[str, int] | None = None, **options: Any) -> Page:
        context = browser.new_context(
            viewport=viewport or DESKTOP, locale="zh-CN", base_url=live_site.url, **options
        )
        contexts.append(context)
        page = context.new_page()
        watch(page)
        page.goto(path, wait_until="networkidle")
        return page

    yield opener
    for context in contexts:
        context.close()
    assert not problems, "\n".join(problems)


def sign_in(page: Page, site: LiveSite, username: str) -> None:
    """Sign in through the page as a visitor would."""
    page.goto("/accounts/login/")
    page.fill("input[name=username]", username)
    page.fill("input[name=password]", site.password(username))
    page.click("main button[type=submit]")
    page.wait_for_load_state("networkidle")
    assert "/login/" not in page.url, page.inner_text("main")


def accessibility_problems(page: Page) -> list[str]:
    """What axe-core finds against WCAG 2.2 AA, one line a rule."""
    # evaluate() is not bound by the page's content security policy, so axe needs no exception in it.
    page.evaluate(AXE.read_text())
    found = page.evaluate(
        "() => axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})"
        ".then(result => result.violations.map("
        "v => v.id + ': ' + v.nodes.map(n => n.target.join(' ')).join(' | ')))"
    )
    return list(found)
