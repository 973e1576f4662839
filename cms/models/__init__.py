"""Page types and snippets of the information service."""

from cms.models.base import BasePage
from cms.models.home import HomePage
from cms.models.information import AdvisoryIndexPage, AdvisoryPage, NewsIndexPage, NewsPage, ServiceIndexPage
from cms.models.snippets import Subject, WarningNotice
from cms.models.standard import StandardPage

__all__ = [
    "AdvisoryIndexPage",
    "AdvisoryPage",
    "BasePage",
    "HomePage",
    "NewsIndexPage",
    "NewsPage",
    "ServiceIndexPage",
    "StandardPage",
    "Subject",
    "WarningNotice",
]
