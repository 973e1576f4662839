"""信息服务: its front page, advisories (农技) and news, with their lists."""

from __future__ import annotations

from datetime import date
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dates import MONTHS
from django.utils.translation import gettext_lazy as _
from modelcluster.fields import ParentalManyToManyField
from wagtail.admin.panels import FieldPanel, FieldRowPanel, MultiFieldPanel
from wagtail.fields import StreamField
from wagtail.search import index

from cms import selectors
from cms.blocks import BodyBlock
from cms.models.base import BasePage
from cms.models.snippets import Subject
from places.models import Unit

PAGE_SIZE = 10


class ServiceIndexPage(BasePage):
    """Front page of the information service: its sections with the newest of each."""

    parent_page_types: ClassVar[list[str]] = ["cms.HomePage"]
    subpage_types: ClassVar[list[str]] = ["cms.AdvisoryIndexPage", "cms.NewsIndexPage"]
    max_count_per_parent = 1
    kind_label = _("栏目")

    class Meta:
        verbose_name = verbose_name_plural = "信息服务"

    def get_context(self, request: HttpRequest, *args: Any, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(request, *args, **kwargs)
        context["sections"] = [
            {"page": section, "newest": selectors.newest_below(section, limit=4)}
            for section in self.get_children().live().public().specific()
        ]
        return context


class AdvisoryIndexPage(BasePage):
    """List of advisories, narrowed by crop and by what is in season."""

    parent_page_types: ClassVar[list[str]] = ["cms.ServiceIndexPage"]
    subpage_types: ClassVar[list[str]] = ["cms.AdvisoryPage"]
    max_count_per_parent = 1
    kind_label = _("栏目")

    class Meta:
        verbose_name = verbose_name_plural = "农技栏目"

    def get_context(self, request: HttpRequest, *args: Any, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(request, *args, **kwargs)
        advisories = selectors.advisories_below(self)
        context["subjects"] = Subject.objects.filter(advisorypage__in=advisories).distinct()
        # An unknown crop or month narrows nothing: the list is still of use.
        subject = context["subjects"].filter(code=request.GET.get("subject", "")[:40]).first()
        if subject is not None:
            advisories = advisories.filter(subjects=subject)
        in_season = request.GET.get("season") == "now"
        if in_season:
            advisories = selectors.in_season(advisories, month=timezone.localdate().month)
        context["subject"], context["in_season"] = subject, in_season
        context["page_obj"] = Paginator(advisories, PAGE_SIZE).get_page(request.GET.get("page"))
        return context


class AdvisoryPage(BasePage):
    """One piece of advice: for which crop, where and when, from whom, and until when it was checked."""

    subjects = ParentalManyToManyField(Subject, blank=True, verbose_name="作物与畜禽")
    counties = ParentalManyToManyField(
        Unit,
        blank=True,
        limit_choices_to={"level": Unit.Level.COUNTY},
        verbose_name="适用县（市、区）",
        help_text="全市适用就不选。",
    )
    stage = models.CharField(
        "生育期或农时", max_length=40, blank=True, help_text="如：花期、返青期、越冬前、犊牛断奶。"
    )
    from_month = models.PositiveSmallIntegerField(
        "从几月", choices=MONTHS, null=True, blank=True, help_text="当季文章显示在首页“今天该做什么”。"
    )
    to_month = models.PositiveSmallIntegerField(
        "到几月", choices=MONTHS, null=True, blank=True, help_text="可以跨年，如 11 月到 2 月。"
    )
    published_on = models.DateField("发布日期", default=timezone.localdate)
    reviewed_on = models.DateField(
        "最近审核日期", default=timezone.localdate, help_text="最近一次由农技人员通读核对的日期。"
    )
    review_on = models.DateField(
        "下次复核日期", null=True, blank=True, help_text="到期还没有复核，页面会提醒读者。一般不超过一年。"
    )
    author = models.CharField("撰写", max_length=60, help_text="姓名和单位。")
    source = models.CharField("依据", max_length=200, help_text="技术规程、文件或试验，写全名和编号。")
    body = StreamField(BodyBlock(), verbose_name="正文")

    content_panels = [
        *BasePage.content_panels,
        MultiFieldPanel(
            [
                FieldPanel("subjects"),
                FieldPanel("counties"),
                FieldPanel("stage"),
                FieldRowPanel([FieldPanel("from_month"), FieldPanel("to_month")]),
            ],
            heading="给谁、什么时候用",
        ),
        FieldPanel("body"),
        MultiFieldPanel(
            [
                FieldRowPanel([FieldPanel("author"), FieldPanel("source")]),
                FieldRowPanel(
                    [FieldPanel("published_on"), FieldPanel("reviewed_on"), FieldPanel("review_on")]
                ),
            ],
            heading="来源与复核",
        ),
    ]

    parent_page_types: ClassVar[list[str]] = ["cms.AdvisoryIndexPage"]
    subpage_types: ClassVar[list[str]] = []
    kind_label = _("农技")

    class Meta:
        verbose_name = verbose_name_plural = "农技文章"

    def clean(self) -> None:
        """Months come in pairs; a review lies after the last one."""
        super().clean()
        errors: dict[str, str] = {}
        if (self.from_month is None) != (self.to_month is None):
            errors["to_month"] = "起止月份要么都填，要么都不填。"
        if self.review_on and self.reviewed_on and self.review_on <= self.reviewed_on:
            errors["review_on"] = "下次复核日期要晚于最近审核日期。"
        if errors:
            raise ValidationError(errors)

    def save(self, *args: Any, **kwargs: Any) -> Any:
        """Save, then index: Wagtail indexes before crops and counties are written."""
        result = super().save(*args, **kwargs)
        self.forget_words()
        index.insert_or_update_object(self)
        return result

    def text_for_search(self) -> str:
        """Crop, stage and county names too: 静宁苹果 finds a text that says only 果园."""
        names = [subject.name for subject in self.subjects.all()] + [
            unit.name for unit in self.counties.all()
        ]
        english = [subject.name_en for subject in self.subjects.all()]
        return "\n".join([" ".join([*names, *english, self.stage]), super().text_for_search()])

    @property
    def season_months(self) -> int:
        """Length of the season in months; the whole year where none is given."""
        if self.from_month is None or self.to_month is None:
            return 12
        return (self.to_month - self.from_month) % 12 + 1

    @property
    def review_overdue(self) -> bool:
        """Whether the day of the next check has passed."""
        return self.review_on is not None and self.review_on < timezone.localdate()

    @property
    def dated(self) -> date:
        return self.published_on


class NewsIndexPage(BasePage):
    """News, newest first."""

    parent_page_types: ClassVar[list[str]] = ["cms.ServiceIndexPage"]
    subpage_types: ClassVar[list[str]] = ["cms.NewsPage"]
    max_count_per_parent = 1
    kind_label = _("栏目")

    class Meta:
        verbose_name = verbose_name_plural = "新闻栏目"

    def get_context(self, request: HttpRequest, *args: Any, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(request, *args, **kwargs)
        context["page_obj"] = Paginator(selectors.news_below(self), PAGE_SIZE).get_page(
            request.GET.get("page")
        )
        return context


class NewsPage(BasePage):
    """Something that happened or was announced."""

    published_on = models.DateField("发布日期", default=timezone.localdate)
    source = models.CharField("来源", max_length=100, help_text="发布单位；转载写原单位。")
    body = StreamField(BodyBlock(), verbose_name="正文")

    content_panels = [
        *BasePage.content_panels,
        FieldRowPanel([FieldPanel("published_on"), FieldPanel("source")]),
        FieldPanel("body"),
    ]

    parent_page_types: ClassVar[list[str]] = ["cms.NewsIndexPage"]
    subpage_types: ClassVar[list[str]] = []
    kind_label = _("新闻")

    class Meta:
        verbose_name = verbose_name_plural = "新闻"

    @property
    def dated(self) -> date:
        return self.published_on
