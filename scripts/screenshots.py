"""Take the README's pictures of the demo (`make screenshots`): serves it on a free port, and stops after."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "screenshots"
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1366, "height": 768}
#: Name, address, width, who looks, whole page or first screen.
SHOTS = [
    ("home-phone", "/", PHONE, "", False),
    ("home-desktop", "/", DESKTOP, "", False),
    ("home-en-desktop", "/en/", DESKTOP, "", False),
    ("map-desktop", "/monitoring/", DESKTOP, "bureau-demo", False),
    ("map-phone", "/monitoring/", PHONE, "", False),
    ("estimates-desktop", "/monitoring/estimates/?product=area", DESKTOP, "bureau-demo", False),
    ("growth-desktop", "/monitoring/estimates/?product=growth", DESKTOP, "", False),
    ("estimates-phone", "/monitoring/estimates/?product=area", PHONE, "", False),
    ("showroom-desktop", "/shop/", DESKTOP, "", False),
    ("product-desktop", "@product", DESKTOP, "", True),
    ("product-phone", "@product", PHONE, "", False),
    ("orchard-desktop", "@orchard", DESKTOP, "", False),
    ("order-phone", "@order", PHONE, "", False),
    ("search-phone", "/search/?q=静宁苹果", PHONE, "", False),
]


@contextmanager
def served() -> Iterator[str]:
    """The demo's site on a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = {"DJANGO_SETTINGS_MODULE": "config.settings.development", **os.environ, "PORT": str(port)}
    server = subprocess.Popen([ROOT / "scripts" / "serve.sh"], cwd=ROOT, env=environment)
    try:
        for _ in range(360):
            try:
                with urllib.request.urlopen(url, timeout=5):
                    break
            except OSError:
                if server.poll() is not None:
                    sys.exit("screenshots: the site did not start; run `make demo SERVE=0` first.")
                time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        server.wait(60)


def password_of(username: str) -> str:
    for line in (ROOT / "var" / "demo_users.txt").read_text().splitlines():
        name, _, password = line.partition("\t")
        if name == username:
            return password.strip()
    sys.exit(f"screenshots: no {username} in var/demo_users.txt; run `make demo SERVE=0` first.")


def place_order(page: Page, url: str) -> None:
    """Buy one box of the first apples as an invented buyer."""
    page.goto(url + product_address(page, url))
    page.click("text=加入购物车")
    page.goto(url + "/shop/checkout/")
    page.fill("input[name=name]", "示例·张小果")
    page.fill("input[name=phone]", "13800000000")
    page.fill("textarea[name=address]", "甘肃省平凉市崆峒区示例路 1 号")
    for box in page.locator("main form input[type=checkbox]").all():
        box.check()
    page.click("text=提交订单")


def product_address(page: Page, url: str) -> str:
    """The first apples whose orchard has a season curve."""
    page.goto(url + "/shop/?kind=apple")
    links = page.eval_on_selector_all(
        "main a[href*='/shop/p/']", "all => all.map(a => a.getAttribute('href'))"
    )
    for link in dict.fromkeys(links):
        page.goto(url + link)
        if page.locator("main svg.season-curve").count():
            return str(link)
    return str(links[0])


def orchard_address(page: Page, url: str) -> str:
    page.goto(url + product_address(page, url))
    return str(page.get_attribute("main a[href*='/farms/orchards/']", "href"))


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    with served() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-quic"]
        )
        for name, address, viewport, user, whole in SHOTS:
            context = browser.new_context(viewport=viewport, locale="zh-CN", device_scale_factor=1.5)
            page = context.new_page()
            if user:
                page.goto(url + "/accounts/login/")
                page.fill("input[name=username]", user)
                page.fill("input[name=password]", password_of(user))
                page.click("main button[type=submit]")
            match address:
                case "@order":
                    place_order(page, url)
                case "@product":
                    page.goto(url + product_address(page, url))
                case "@orchard":
                    page.goto(url + orchard_address(page, url))
                case _:
                    page.goto(url + address)
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(2500 if "monitoring" in page.url else 200)
            picture = Image.open(io.BytesIO(page.screenshot(full_page=whole)))
            picture.save(OUT / f"{name}.webp", quality=80, method=6)
            print(f"{name}.webp  {(OUT / f'{name}.webp').stat().st_size / 1000:.0f} kB")
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
