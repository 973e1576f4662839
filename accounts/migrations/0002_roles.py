"""The four roles as groups, with what Wagtail needs of them. Rights over pages come with the pages (cms)."""

from __future__ import annotations

from typing import Any

from django.db import migrations

#: Who enters the staff interface (工作台). Sellers and buyers work on the site itself.
STAFF = ("bureau", "county", "editor")


def create_roles(apps: Any, schema_editor: Any) -> None:
    Group = apps.get_model("auth", "Group")
    Permission = apps.get_model("auth", "Permission")
    ContentType = apps.get_model("contenttypes", "ContentType")
    # Django makes permissions after all migrations; a group that is filled in one has to make its own first.
    admin_type, _ = ContentType.objects.get_or_create(app_label="wagtailadmin", model="admin")
    access, _ = Permission.objects.get_or_create(
        content_type=admin_type, codename="access_admin", defaults={"name": "Can access Wagtail admin"}
    )
    for name in (*STAFF, "seller"):
        group, _ = Group.objects.get_or_create(name=name)
        if name in STAFF:
            group.permissions.add(access)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("wagtailadmin", "0001_create_admin_access_permissions"),
    ]

    # The groups stay on the way back: people may be in them.
    operations = [migrations.RunPython(create_roles, migrations.RunPython.noop)]
