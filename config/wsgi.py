"""WSGI entry point, served by granian."""

import os
import threading

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.production")
application = get_wsgi_application()


def _warm_up() -> None:
    """Load the Chinese dictionary before the first search asks for it (about a second)."""
    from cms.chinese import tokenizer

    tokenizer()


threading.Thread(target=_warm_up, name="dictionary", daemon=True).start()
