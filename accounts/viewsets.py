"""Forms of the user administration: Wagtail's, plus name and county."""

from __future__ import annotations

from typing import Any

from django import forms
from wagtail.users.forms import UserCreationForm, UserEditForm
from wagtail.users.views.users import UserViewSet as WagtailUserViewSet

from accounts.roles import COUNTY

EXTRA_FIELDS = {"display_name", "county"}


class _CountyStaffHaveACounty:
    """County staff without a county could decide on nothing, and nobody would see why."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # One field holds a Chinese name; Wagtail's two stay for those who want them.
        for name in ("first_name", "last_name", "email"):
            self.fields[name].required = False  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean()  # type: ignore[misc]
        groups = cleaned.get("groups") or ()
        if any(group.name == COUNTY for group in groups) and not cleaned.get("county"):
            message = "县级人员要选所属县（市、区），否则不能审核任何数据。"
            self.add_error("county", message)  # type: ignore[attr-defined]
        return cleaned


class AddUserForm(_CountyStaffHaveACounty, UserCreationForm):
    class Meta(UserCreationForm.Meta):
        fields = UserCreationForm.Meta.fields | EXTRA_FIELDS


class ChangeUserForm(_CountyStaffHaveACounty, UserEditForm):
    class Meta(UserEditForm.Meta):
        fields = UserEditForm.Meta.fields | EXTRA_FIELDS


class UserViewSet(WagtailUserViewSet):
    def get_form_class(self, for_update: bool = False) -> type[forms.ModelForm[Any]]:
        return ChangeUserForm if for_update else AddUserForm
