"""Shared by the site's tests: people of every role, made once a test."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group

from accounts.models import User
from accounts.roles import ROLES
from places.models import Unit

MakeUser = Callable[..., User]


@pytest.fixture
def jingning(db: None) -> Unit:
    """静宁县 below 平凉市."""
    prefecture, _ = Unit.objects.get_or_create(
        adcode="620800", defaults={"name": "平凉市", "name_en": "Pingliang", "level": Unit.Level.PREFECTURE}
    )
    county, _ = Unit.objects.get_or_create(
        adcode="620826",
        defaults={
            "name": "静宁县",
            "name_en": "Jingning",
            "level": Unit.Level.COUNTY,
            "parent": prefecture,
        },
    )
    return county


@pytest.fixture
def make_user(db: None) -> MakeUser:
    """Make a person: `make_user("bureau")`, `make_user("county", county=unit)`, `make_user()` for a buyer."""

    def make(role: str = "", *, county: Unit | None = None, **fields: object) -> User:
        assert not role or role in ROLES, f"unknown role {role!r}"
        username = str(fields.pop("username", role or "buyer"))
        user = User.objects.create_user(username, password="a long password 1", county=county, **fields)
        if role:
            user.groups.add(Group.objects.get(name=role))
        return user

    return make
