"""A seller with goods, a cart, and a real server on a database whose rows are committed."""

from __future__ import annotations

import datetime as dt
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from html import unescape
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import setup_databases

from farms.models import Batch, Grower, ProductKind
from farms.services import record_batch, register_grower, release_batch
from farms.validators import credit_code_check_character
from places.models import Unit
from shop.models import Cart, Illustration, Order, Product, Seller, Sku
from shop.selectors import cart_content
from shop.services import Contact, add_sku, create_product, open_booth, place_orders

ROOT = Path(__file__).resolve().parents[3]
CONTACT = Contact(name="示例买家", phone="13800001234", address="甘肃省平凉市崆峒区柳湖镇示例路 1 号")


def _make_seller(number: int = 1) -> Seller:
    county = Unit.objects.get_or_create(adcode="620826", defaults={"name": "静宁县", "level": "county"})[0]
    body = f"93620826DEMA{number:05d}"
    grower = register_grower(
        code=f"T-C{number:02d}",
        name=f"示例合作社{number}",
        kind=Grower.Kind.COOP,
        credit_code=body + credit_code_check_character(body),
        county=county,
    )
    return open_booth(grower=grower, licence_name=f"示例合作社{number}")


def _make_batch(seller: Seller, code: str = "T-2610") -> Batch:
    batch = record_batch(
        code=f"{code}-{seller.pk}",
        grower=seller.grower,
        kind=ProductKind.APPLE,
        harvest_date=dt.date(2026, 10, 18),
        quantity_kg=Decimal(5000),
        pledge_certificate="示例-0001",
    )
    release_batch(batch=batch)
    return batch


def _make_product(seller: Seller, slug: str = "red-fuji", **changes: Any) -> Product:
    fields: dict[str, Any] = {
        "name": "静宁红富士",
        "kind": ProductKind.APPLE,
        "illustration": Illustration.APPLE_RED,
        "summary": "梯田果园",
        "description": "示例介绍",
        "published": True,
    }
    return create_product(seller=seller, slug=slug, **fields | changes)


def _make_sku(product: Product, code: str = "T-80", stock: int = 10, **changes: Any) -> Sku:
    fields: dict[str, Any] = {
        "grade": "80#",
        "pack": "5 公斤箱装",
        "net_weight_g": 5000,
        "price_fen": 6800,
        "batch": None,
    }
    return add_sku(product=product, code=code, stock=stock, **fields | changes)


@dataclass(frozen=True)
class Make:
    """Builders of rows, each through the services that the site uses."""

    seller: Callable[..., Seller] = _make_seller
    batch: Callable[..., Batch] = _make_batch
    product: Callable[..., Product] = _make_product
    sku: Callable[..., Sku] = _make_sku


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def seller(db: None) -> Seller:
    return _make_seller()


@pytest.fixture
def product(seller: Seller) -> Product:
    return _make_product(seller)


@pytest.fixture
def sku(product: Product) -> Sku:
    return _make_sku(product, batch=_make_batch(product.seller))


@pytest.fixture
def cart(db: None) -> Cart:
    return Cart.objects.create()


@pytest.fixture
def contact() -> Contact:
    return CONTACT


def _place(cart: Cart, **changes: Any) -> tuple[Order, ...]:
    """Order what the cart holds, agreeing to the sum that it has."""
    fields: dict[str, Any] = {
        "key": uuid.uuid4(),
        "cart": cart,
        "contact": CONTACT,
        "seen_total_fen": cart_content(cart).total_fen,
    }
    return place_orders(**fields | changes)


@pytest.fixture
def place() -> Callable[..., tuple[Order, ...]]:
    return _place


# The real server


@pytest.fixture(scope="module")
def committed(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """A copy of the test database whose rows are committed, so that another process sees them.

    Not pytest-django's `transactional_db`, which empties every table, among them what migrations filled.
    One copy and one server serve a module; its tests use goods of their own.
    """
    with django_db_blocker.unblock():
        if not connection.settings_dict["NAME"].startswith("test_"):
            # pytest-django makes the database only when it sees a marked test among those chosen.
            setup_databases(verbosity=0, interactive=False, aliases={"default"}, keepdb=True)
        original = connection.settings_dict["NAME"]
        assert original.startswith("test_"), f"{original} is no test database"
        copy = f"{original}_committed"
        connection.close()  # a database with a connection is no template
        with connection._nodb_cursor() as cursor:
            cursor.execute(f'drop database if exists "{copy}" with (force)')
            cursor.execute(f'create database "{copy}" template "{original}"')
        connection.settings_dict["NAME"] = copy
        try:
            yield
        finally:
            connection.close()
            connection.settings_dict["NAME"] = original
            with connection._nodb_cursor() as cursor:
                cursor.execute(f'drop database if exists "{copy}" with (force)')


@pytest.fixture(scope="module")
def server(committed: None) -> Iterator[str]:
    """Address of the site served by granian in processes of its own, on loopback."""
    database = connection.settings_dict
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "DATABASE_URL": "postgis://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database),
        "DJANGO_SETTINGS_MODULE": "config.settings.test",
    }
    command = [
        sys.executable,
        "-m",
        "granian",
        "--interface",
        "wsgi",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    command += ["--workers", "2", "--blocking-threads", "12", "--no-ws", "config.wsgi:application"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/shop/", timeout=30).read()
                break
            except (urllib.error.URLError, ConnectionError):
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    pytest.fail(f"the server did not start:\n{process.communicate()[0]}")
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()


@dataclass
class Buyer:
    """A visitor with cookies of its own who fills in the site's real forms."""

    url: str
    _opener: urllib.request.OpenerDirector = field(init=False)

    def __post_init__(self) -> None:
        jar = urllib.request.HTTPCookieProcessor(CookieJar())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)

    def get(self, path: str) -> tuple[str, str]:
        """Final path and text of a page."""
        with self._opener.open(self.url + path, timeout=60) as answer:
            return urllib.parse.urlsplit(answer.url).path, answer.read().decode()

    def post(self, path: str, fields: dict[str, str]) -> tuple[str, str]:
        """Send a form and follow where it leads; final path and text."""
        data = urllib.parse.urlencode(fields).encode()
        request = urllib.request.Request(self.url + path, data, {"Referer": self.url + path})
        with self._opener.open(request, timeout=60) as answer:
            return urllib.parse.urlsplit(answer.url).path, answer.read().decode()

    def fill_cart(self, slug: str, *, quantity: int = 1) -> str:
        """Take the first grade of a product into the cart; the text of the page that follows."""
        path = f"/shop/p/{slug}/"
        page = self.get(path)[1]
        sku = re.search(r'name="sku" value="(\d+)"', page)
        assert sku, page
        fields = {"csrfmiddlewaretoken": _hidden(page, "csrfmiddlewaretoken"), "sku": sku[1]}
        return self.post(path, fields | {"quantity": str(quantity)})[1]

    def checkout_fields(self) -> dict[str, str]:
        """The checkout form as the page gave it, filled in."""
        page = self.get("/shop/checkout/")[1]
        hidden = {name: _hidden(page, name) for name in ("csrfmiddlewaretoken", "key", "seen_total_fen")}
        typed = {"name": CONTACT.name, "phone": CONTACT.phone, "address": CONTACT.address}
        return hidden | typed | {"fresh": "on", "consent": "on"}


def _hidden(page: str, name: str) -> str:
    tag = next((tag for tag in re.findall(r"<input[^>]*>", page) if f'name="{name}"' in tag), "")
    value = re.search(r'value="([^"]*)"', tag)
    assert value, f"no field {name} in:\n{page[:2000]}"
    return unescape(value[1])


@pytest.fixture
def new_buyer(server: str) -> Callable[[], Buyer]:
    return lambda: Buyer(server)
