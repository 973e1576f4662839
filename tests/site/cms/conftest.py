"""The sample site, loaded once a module: building it takes seconds, reading it takes milliseconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import transaction

from cms.services import load_demo_content


@pytest.fixture(scope="module")
def demo_site(django_db_setup: None, django_db_blocker: object) -> Iterator[None]:
    """Sample places and pages inside one transaction that is rolled back after the module."""
    from django.core.management import call_command

    with django_db_blocker.unblock(), transaction.atomic():  # type: ignore[attr-defined]
        call_command("load_demo_places", verbosity=0)
        load_demo_content()
        yield
        transaction.set_rollback(True)
