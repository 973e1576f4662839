"""`manage.py load_demo_content`: sample pages of the information service, each marked 示例."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from cms.services import load_demo_content


class Command(BaseCommand):
    help = "Put sample pages (marked 示例) into the site. Existing pages stay as they are."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--reset", action="store_true", help="write the sample text over existing sample pages"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        report = load_demo_content(reset=options["reset"])
        self.stdout.write(f"示例文章：新建或更新 {report.made} 页，保留 {report.kept} 页。")
