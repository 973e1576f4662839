"""Writes of accounts: the demo's invented people."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from accounts.models import User
from accounts.roles import BUREAU, COUNTY, EDITOR, ROLE_LABELS, SELLER
from places.models import Unit

#: Ordinary words, so that a visitor of the demo can type the password from a sheet of paper.
_WORDS: Final = (
    "apple", "barley", "cedar", "clover", "creek", "dawn", "field", "flax", "garden",
    "harvest", "hill", "honey", "juniper", "lark", "loess", "maple", "meadow", "millet",
    "oats", "orchard", "pear", "plough", "poplar", "potato", "rain", "ridge", "river",
    "seed", "spring", "straw", "terrace", "valley", "wheat", "willow", "wind", "winter",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DemoPerson:
    """One invented person: sign-in name, shown name, role (a group's name, or none), county."""

    username: str
    display_name: str
    role: str = ""
    county: str = ""
    superuser: bool = False

    @property
    def role_label(self) -> str:
        """The role in words."""
        if self.superuser:
            return "系统管理员"
        return ROLE_LABELS.get(self.role, "买家")


DEMO_PEOPLE: Final = (
    DemoPerson("admin-demo", "示例管理员", superuser=True),
    DemoPerson("bureau-demo", "示例·市局审核人", BUREAU),
    DemoPerson("county-jingning", "示例·静宁农技员", COUNTY, "620826"),
    DemoPerson("county-zhuanglang", "示例·庄浪农技员", COUNTY, "620825"),
    DemoPerson("editor-demo", "示例·网站编辑", EDITOR),
    DemoPerson("seller-demo", "示例·果业合作社", SELLER),
    DemoPerson("buyer-demo", "示例·买家"),
)


@dataclass(frozen=True, slots=True)
class DemoLogin:
    """What a visitor needs to sign in as one of the people."""

    person: DemoPerson
    password: str


def new_password() -> str:
    """Three words and four digits: about 28 bits, for a demo on this machine only."""
    return "-".join([*(secrets.choice(_WORDS) for _ in range(3)), f"{secrets.randbelow(10_000):04d}"])


@transaction.atomic
def load_demo_users(*, file: Path) -> list[DemoLogin]:
    """Make the invented people and write their passwords to a file that only its owner can read.

    Run again, passwords in the file are kept; where the file is gone every demo person gets a new one.

    Raises
    ------
    ImproperlyConfigured
        This is not a demo (`DEMO` is off): invented people have no place on a public server.
    """
    if not settings.DEMO:
        raise ImproperlyConfigured(
            "load_demo_users makes people with printed passwords and works only where DEMO is on "
            "(config.settings.development). On a public server create staff with `manage.py createsuperuser`."
        )
    known = read_passwords(file)
    counties = Unit.objects.in_bulk([person.county for person in DEMO_PEOPLE if person.county])
    logins = []
    for person in DEMO_PEOPLE:
        password = known.get(person.username) or new_password()
        user, _ = User.objects.get_or_create(username=person.username)
        user.display_name = person.display_name
        user.county = counties.get(person.county)
        user.is_active = True
        user.is_superuser = user.is_staff = person.superuser
        if not user.check_password(password):
            user.set_password(password)
        user.save()
        user.groups.set(Group.objects.filter(name=person.role))
        logins.append(DemoLogin(person=person, password=password))
    _write_passwords(file, logins)
    return logins


def read_passwords(file: Path) -> dict[str, str]:
    """Passwords by sign-in name of an earlier run; none where there was none."""
    if not file.exists():
        return {}
    rows = (
        line.split() for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    )
    return {row[0]: row[1] for row in rows if len(row) >= 2}


def _write_passwords(file: Path, logins: list[DemoLogin]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.chmod(0o600)
    lines = [f"{login.person.username}\t{login.password}" for login in logins]
    file.write_text(
        "\n".join(["# name, tab, password of the demo's invented people", *lines, ""]), encoding="utf-8"
    )
