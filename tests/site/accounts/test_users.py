"""Signing in, the demo's people, and the user form's own rule."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import User
from accounts.services import DEMO_PEOPLE, load_demo_users, new_password, read_passwords
from accounts.viewsets import AddUserForm
from places.models import Unit

pytestmark = pytest.mark.django_db


def test_sign_in_and_out(client: Client, make_user) -> None:
    make_user("editor", username="wang")
    # when a wrong password is given
    refused = client.post("/accounts/login/", {"username": "wang", "password": "wrong"})
    # then the form comes back with a summary and what was typed, and nobody is signed in
    assert refused.status_code == 200
    assert "还有内容需要修改" in refused.content.decode()
    assert 'value="wang"' in refused.content.decode()
    assert "_auth_user_id" not in client.session
    # and with the right one the visitor goes where he wanted
    taken = client.post(
        "/accounts/login/?next=/search/",
        {"username": "wang", "password": "a long password 1", "next": "/search/"},
    )
    assert taken.status_code == 302
    assert taken["Location"] == "/search/"
    page = client.get("/search/").content.decode()
    assert "退出" in page
    assert "工作台" in page
    assert client.get("/accounts/logout/").status_code == 405
    assert client.post("/accounts/logout/").status_code == 302
    assert "_auth_user_id" not in client.session


def test_sign_in_never_leads_to_another_host(client: Client, make_user) -> None:
    make_user(username="li")
    response = client.post(
        "/accounts/login/",
        {"username": "li", "password": "a long password 1", "next": "https://example.com/"},
    )
    assert response["Location"] == "/"


def test_inactive_people_stay_outside(client: Client, make_user) -> None:
    make_user("bureau", username="gone", is_active=False)
    client.post("/accounts/login/", {"username": "gone", "password": "a long password 1"})
    assert "_auth_user_id" not in client.session


def test_demo_users_keep_their_passwords(tmp_path: Path, client: Client, jingning: Unit) -> None:
    file = tmp_path / "demo_users.txt"
    first = load_demo_users(file=file)
    again = load_demo_users(file=file)
    assert [login.password for login in first] == [login.password for login in again]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_passwords(file) == {login.person.username: login.password for login in first}
    assert User.objects.filter(username__in=[person.username for person in DEMO_PEOPLE]).count() == len(
        DEMO_PEOPLE
    )
    for login in first:
        assert client.login(username=login.person.username, password=login.password)
    county = User.objects.get(username="county-jingning")
    assert county.county_id == "620826"
    assert list(county.groups.values_list("name", flat=True)) == ["county"]
    assert User.objects.get(username="bureau-demo").is_superuser is False


def test_lost_file_means_new_passwords(tmp_path: Path) -> None:
    file = tmp_path / "demo_users.txt"
    first = load_demo_users(file=file)
    file.unlink()
    second = load_demo_users(file=file)
    assert all(a.password != b.password for a, b in zip(first, second, strict=True))


def test_demo_users_are_refused_on_a_public_server(tmp_path: Path, settings) -> None:
    settings.DEMO = False
    file = tmp_path / "demo_users.txt"
    with pytest.raises(ImproperlyConfigured, match="createsuperuser"):
        load_demo_users(file=file)
    with pytest.raises(CommandError):
        call_command("load_demo_users")
    assert not file.exists()
    assert User.objects.filter(username__endswith="-demo").count() == 0


def test_passwords_differ() -> None:
    assert len({new_password() for _ in range(200)}) == 200


def test_county_staff_need_a_county(jingning: Unit) -> None:
    data = {
        "username": "zhang",
        "display_name": "张",
        "password1": "terrace-loess-7731",
        "password2": "terrace-loess-7731",
        "groups": [Group.objects.get(name="county").pk],
    }
    form = AddUserForm(data)
    assert not form.is_valid()
    assert "county" in form.errors
    form = AddUserForm({**data, "county": "620826"})
    assert form.is_valid(), form.errors
    form = AddUserForm({**data, "groups": [Group.objects.get(name="bureau").pk]})
    assert form.is_valid(), form.errors


def test_administrator_sees_name_and_county_in_the_user_form(client: Client, make_user) -> None:
    client.force_login(make_user(username="root", is_superuser=True))
    text = client.get("/admin/users/new/").content.decode()
    assert 'name="display_name"' in text
    assert 'name="county"' in text
