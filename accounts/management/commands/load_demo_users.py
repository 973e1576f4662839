"""`manage.py load_demo_users`: one invented person a role, with the passwords printed."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from accounts.services import load_demo_users


class Command(BaseCommand):
    help = (
        "Make the demo's invented people and print how to sign in as each (also kept in var/demo_users.txt)."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            logins = load_demo_users(file=settings.DEMO_USERS_FILE)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        for login in logins:
            self.stdout.write(f"{login.person.username:<18} {login.password:<30} {login.person.role_label}")
