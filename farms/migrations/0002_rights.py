"""What bureau staff may do with growers, orchards and batches in the staff interface."""

from __future__ import annotations

from typing import Any

from django.db import migrations

RIGHTS = dict.fromkeys(("grower", "orchard", "batch"), ("add", "change", "view"))


def grant(apps: Any, schema_editor: Any) -> None:
    Group = apps.get_model("auth", "Group")
    Permission = apps.get_model("auth", "Permission")
    ContentType = apps.get_model("contenttypes", "ContentType")
    bureau, _ = Group.objects.get_or_create(name="bureau")
    for model, actions in RIGHTS.items():
        content_type, _ = ContentType.objects.get_or_create(app_label="farms", model=model)
        for action in actions:
            # Django would make it after all migrations; the group needs it now.
            permission, _ = Permission.objects.get_or_create(
                content_type=content_type,
                codename=f"{action}_{model}",
                defaults={"name": f"{action} {model}"},
            )
            bureau.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [
        ("farms", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
