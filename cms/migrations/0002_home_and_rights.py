"""The home page instead of Wagtail's welcome page, the subjects of advice, and what editors may do.

A fresh installation so has a site that stands; sample articles come from `load_demo_content`.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations

SUBJECTS = (
    ("apple", "苹果", "apple"),
    ("winter_wheat", "冬小麦", "winter wheat"),
    ("spring_maize", "玉米", "maize"),
    ("potato", "马铃薯", "potato"),
    ("cattle", "肉牛", "cattle"),
    ("rapeseed", "冬油菜", "winter rapeseed"),
    ("flax", "胡麻", "flax"),
    ("millet_buckwheat", "谷子、糜子、荞麦", "millet and buckwheat"),
    ("alfalfa", "苜蓿", "alfalfa"),
    ("vegetables", "蔬菜", "vegetables"),
)
PAGE_RIGHTS = ("add", "change", "publish", "lock", "unlock")
MODEL_RIGHTS = {
    "editor": (
        ("warningnotice", ("add", "change", "delete", "view")),
        ("subject", ("add", "change", "view")),
    ),
    "bureau": (("warningnotice", ("add", "change", "delete", "view")),),
}
COLLECTION_RIGHTS = (("wagtailimages", "image"), ("wagtaildocs", "document"))


def create_home(apps: Any, schema_editor: Any) -> None:
    ContentType = apps.get_model("contenttypes", "ContentType")
    Page = apps.get_model("wagtailcore", "Page")
    Site = apps.get_model("wagtailcore", "Site")
    Locale = apps.get_model("wagtailcore", "Locale")
    HomePage = apps.get_model("cms", "HomePage")
    if HomePage.objects.exists():
        return
    page_type = ContentType.objects.get(app_label="wagtailcore", model="page")
    # The page of wagtailcore.0002; the only one below the root on a new site.
    Page.objects.filter(content_type=page_type, slug="home", depth=2).delete()
    if Page.objects.filter(depth=2).exists():
        return  # an existing tree is not ours to rearrange
    home_type, _ = ContentType.objects.get_or_create(app_label="cms", model="homepage")
    home = HomePage.objects.create(
        title="首页",
        draft_title="首页",
        headline="看农情，学农技，买平凉好果",
        introduction="平凉市的作物长势、农技信息和农产品，都在这里。",
        slug="home",
        content_type=home_type,
        locale=Locale.objects.order_by("pk").first(),
        path="00010001",
        depth=2,
        numchild=0,
        url_path="/home/",
    )
    Page.objects.filter(depth=1).update(numchild=1)
    Site.objects.create(
        hostname="localhost", port=80, site_name="智慧平凉农业", root_page_id=home.pk, is_default_site=True
    )


def create_subjects(apps: Any, schema_editor: Any) -> None:
    Subject = apps.get_model("cms", "Subject")
    for order, (code, name, name_en) in enumerate(SUBJECTS):
        Subject.objects.get_or_create(code=code, defaults={"name": name, "name_en": name_en, "order": order})


def _permission(apps: Any, app_label: str, model: str, codename: str) -> Any:
    ContentType = apps.get_model("contenttypes", "ContentType")
    Permission = apps.get_model("auth", "Permission")
    content_type, _ = ContentType.objects.get_or_create(app_label=app_label, model=model)
    # Django would make it after all migrations; the group needs it now.
    permission, _ = Permission.objects.get_or_create(
        content_type=content_type, codename=codename, defaults={"name": codename.replace("_", " ")}
    )
    return permission


def grant(apps: Any, schema_editor: Any) -> None:
    Group = apps.get_model("auth", "Group")
    Page = apps.get_model("wagtailcore", "Page")
    GroupPagePermission = apps.get_model("wagtailcore", "GroupPagePermission")
    Collection = apps.get_model("wagtailcore", "Collection")
    GroupCollectionPermission = apps.get_model("wagtailcore", "GroupCollectionPermission")
    editor = Group.objects.get(name="editor")
    # On the root, because every language has a home page of its own.
    root = Page.objects.get(depth=1)
    for right in PAGE_RIGHTS:
        permission = _permission(apps, "wagtailcore", "page", f"{right}_page")
        GroupPagePermission.objects.get_or_create(group=editor, page=root, permission=permission)
    collection = Collection.objects.get(depth=1)
    for app_label, model in COLLECTION_RIGHTS:
        for right in ("add", "change", "choose"):
            permission = _permission(apps, app_label, model, f"{right}_{model}")
            GroupCollectionPermission.objects.get_or_create(
                group=editor, collection=collection, permission=permission
            )
    editor.permissions.add(_permission(apps, "simple_translation", "simpletranslation", "submit_translation"))
    for name, rights in MODEL_RIGHTS.items():
        group = Group.objects.get(name=name)
        for model, actions in rights:
            group.permissions.add(
                *(_permission(apps, "cms", model, f"{action}_{model}") for action in actions)
            )


class Migration(migrations.Migration):
    dependencies = [
        ("cms", "0001_initial"),
        ("accounts", "0002_roles"),
        ("wagtailcore", "0098_apitoken"),
        ("wagtailimages", "0027_image_description"),
        ("wagtaildocs", "0014_alter_document_file_size"),
        ("simple_translation", "0001_initial"),
    ]

    operations = [
        migrations.RunPython(create_home, migrations.RunPython.noop),
        migrations.RunPython(create_subjects, migrations.RunPython.noop),
        migrations.RunPython(grant, migrations.RunPython.noop),
    ]
