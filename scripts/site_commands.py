"""Run several management commands in one process: starting Django takes longer than most of them do.

    .venv/bin/python scripts/site_commands.py "migrate -v 0" "load_demo_places"

They run in the order given; the first that fails ends it with its exit code.
"""

import os
import shlex
import sys
from pathlib import Path

import django
from django.core.management import ManagementUtility


def main() -> None:
    """Run each argument as `manage.py` would."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.development")
    django.setup()
    for line in sys.argv[1:]:
        ManagementUtility(["manage.py", *shlex.split(line)]).execute()


if __name__ == "__main__":
    main()
