"""Who may do what, in one place. Views, tasks and templates ask here and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from accounts.models import User

    AnyUser: TypeAlias = User | AnonymousUser

#: Group names in the database, by role.
BUREAU: Final = "bureau"
COUNTY: Final = "county"
EDITOR: Final = "editor"
SELLER: Final = "seller"
ROLES: Final = (BUREAU, COUNTY, EDITOR, SELLER)
ROLE_LABELS: Final = {BUREAU: "市农业农村局", COUNTY: "县级农技", EDITOR: "网站编辑", SELLER: "商家"}


def has_role(user: AnyUser, *roles: str) -> bool:
    """Whether an active user belongs to one of the roles; a superuser belongs to all."""
    if not user.is_authenticated or not user.is_active:
        return False
    if user.is_superuser:
        return True
    # One query a request: the names are kept on the user object.
    names: set[str] | None = getattr(user, "_role_names", None)
    if names is None:
        names = set(user.groups.values_list("name", flat=True))
        user._role_names = names  # type: ignore[attr-defined]
    return not names.isdisjoint(roles)


def can_see_unaccepted(user: AnyUser) -> bool:
    """Bureau and county staff see estimates before they are accepted."""
    return has_role(user, BUREAU, COUNTY)


def can_review(user: AnyUser, *, county_code: str) -> bool:
    """The bureau decides on every unit, county staff on units of their own county.

    Parameters
    ----------
    county_code
        Six-digit code of the county a unit belongs to, or of the prefecture.
    """
    if has_role(user, BUREAU):
        return True
    return has_role(user, COUNTY) and getattr(user, "county_id", None) == county_code
