"""Who may do what: every role against every action, in one table."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, Group
from django.test import Client
from wagtail.models import Page, Site
from wagtail.test.utils.form_data import inline_formset, nested_form_data

from accounts import roles
from cms.models import ServiceIndexPage
from places.models import Unit

pytestmark = pytest.mark.django_db

#: Role → (sees undecided numbers, decides on 静宁, on 庄浪, on the prefecture, enters the staff interface).
MATRIX = {
    "bureau": (True, True, True, True, True),
    "county": (True, True, False, False, True),
    "editor": (False, False, False, False, True),
    "seller": (False, False, False, False, False),
    "": (False, False, False, False, False),
}


@pytest.mark.parametrize("role", MATRIX)
def test_matrix(role: str, make_user, jingning: Unit, client: Client) -> None:
    user = make_user(role, county=jingning if role == "county" else None)
    sees, own, other, prefecture, staff = MATRIX[role]
    assert roles.can_see_unaccepted(user) is sees
    assert roles.can_review(user, county_code="620826") is own
    assert roles.can_review(user, county_code="620825") is other
    assert roles.can_review(user, county_code="620800") is prefecture
    client.force_login(user)
    assert client.get("/admin/").status_code == (200 if staff else 302)


def test_nobody_else_may_anything(make_user, jingning: Unit) -> None:
    stranger = AnonymousUser()
    assert not roles.can_see_unaccepted(stranger)
    assert not roles.can_review(stranger, county_code="620826")
    gone = make_user("bureau", is_active=False)
    assert not roles.can_review(gone, county_code="620826")


def test_county_staff_without_a_county_decide_on_nothing(make_user) -> None:
    user = make_user("county")
    assert not roles.can_review(user, county_code="620826")
    assert not roles.can_review(user, county_code="")


def test_superuser_has_every_role(make_user) -> None:
    user = make_user(username="root", is_superuser=True)
    assert all(roles.has_role(user, role) for role in roles.ROLES)


def test_every_role_is_a_group() -> None:
    assert set(roles.ROLES) <= set(Group.objects.values_list("name", flat=True))


@pytest.mark.parametrize(
    ("role", "may"), [("editor", True), ("bureau", False), ("county", False), ("seller", False)]
)
def test_only_editors_write_pages(role: str, may: bool, make_user, jingning: Unit, client: Client) -> None:
    user = make_user(role, county=jingning if role == "county" else None)
    home = Site.objects.get(is_default_site=True).root_page
    tester = home.permissions_for_user(user)
    assert tester.can_add_subpage() is may
    assert tester.can_publish() is may
    client.force_login(user)
    response = client.get(f"/admin/pages/add/cms/standardpage/{home.pk}/")
    assert response.status_code == (200 if may else 302)


def test_editor_publishes_through_the_admin(make_user, client: Client) -> None:
    """The whole way: form, publish, public page."""
    client.force_login(make_user("editor"))
    home = Site.objects.get(is_default_site=True).root_page
    response = client.post(
        f"/admin/pages/add/cms/serviceindexpage/{home.pk}/",
        nested_form_data(
            {
                "title": "服务窗口",
                "slug": "window",
                "introduction": "一句话",
                "action-publish": "1",
                "comments": inline_formset([]),
            }
        ),
    )
    assert response.status_code == 302
    page = ServiceIndexPage.objects.get(slug="window")
    assert page.live
    assert "服务窗口" in client.get("/window/").content.decode()


def test_bureau_manages_warnings_and_county_does_not(make_user, jingning: Unit, client: Client) -> None:
    client.force_login(make_user("bureau"))
    assert client.get("/admin/snippets/cms/warningnotice/add/").status_code == 200
    client.force_login(make_user("county", county=jingning))
    assert client.get("/admin/snippets/cms/warningnotice/add/").status_code == 302


def test_home_page_exists_from_the_first_migration() -> None:
    site = Site.objects.get(is_default_site=True)
    assert site.root_page.specific_class.__name__ == "HomePage"
    assert Page.objects.get(depth=1).numchild >= 1
