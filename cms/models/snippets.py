"""Small shared records: what advice is about, and warnings at the head of the home page."""

from __future__ import annotations

from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone, translation
from django.utils.translation import gettext_lazy as _
from wagtail.admin.panels import FieldPanel, FieldRowPanel


class Subject(models.Model):
    """A crop or kind of livestock that advice can be about; coded as in the crop map."""

    code = models.SlugField("代码", max_length=40, unique=True)
    name = models.CharField("名称", max_length=20)
    name_en = models.CharField("英文名称", max_length=40)
    order = models.PositiveSmallIntegerField("次序", default=0)

    panels = [FieldPanel("code"), FieldPanel("name"), FieldPanel("name_en"), FieldPanel("order")]

    class Meta:
        ordering = ["order", "code"]
        verbose_name = verbose_name_plural = "作物与畜禽"

    def __str__(self) -> str:
        return self.name

    @property
    def label(self) -> str:
        """Name in the language of the reader."""
        return self.name if (translation.get_language() or "zh").startswith("zh") else self.name_en


class WarningQuerySet(models.QuerySet["WarningNotice"]):
    def current(self, at: datetime | None = None) -> WarningQuerySet:
        """Warnings in force at a moment (now), the gravest first. Expired ones must never be shown."""
        moment = at or timezone.now()
        return self.filter(issued_at__lte=moment, expires_at__gt=moment).order_by("-severity", "-issued_at")


class WarningNotice(models.Model):
    """A warning for farmers: relayed word for word from a weather station, or the bureau's own advice.

    Weather warning signals are issued by weather stations only; a relay must be the latest text with the
    station's name and issue time, and goes when it expires (气象灾害预警信号发布与传播办法). So the two kinds
    are kept apart, and only relayed ones carry a colour level.
    """

    class Kind(models.TextChoices):
        RELAYED = "relayed", _("气象部门预警（转发）")
        BUREAU = "bureau", _("农业农村局提醒")

    class Severity(models.IntegerChoices):
        NONE = 0, _("提醒")
        BLUE = 1, _("蓝色")
        YELLOW = 2, _("黄色")
        ORANGE = 3, _("橙色")
        RED = 4, _("红色")

    kind = models.CharField("种类", max_length=10, choices=Kind.choices, default=Kind.BUREAU)
    severity = models.PositiveSmallIntegerField(
        "级别", choices=Severity.choices, default=Severity.NONE, help_text="只有转发的气象预警有颜色级别。"
    )
    title = models.CharField("标题", max_length=60, help_text="如：霜冻橙色预警；或：强降温，果窖注意保温。")
    text = models.TextField(
        "内容", max_length=300, help_text="转发时用发布单位的原文；提醒写要做什么，不超过 300 字。"
    )
    title_en = models.CharField("英文标题", max_length=120, blank=True)
    text_en = models.TextField("英文内容", max_length=600, blank=True)
    issuer = models.CharField("发布单位", max_length=60, help_text="如：静宁县气象台。")
    issued_at = models.DateTimeField("发布时间")
    expires_at = models.DateTimeField("失效时间", help_text="到时自动不再显示。")
    link = models.ForeignKey(
        "wagtailcore.Page",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name="怎么应对（文章）",
    )
    is_example = models.BooleanField("示例内容", default=False)

    objects = WarningQuerySet.as_manager()

    panels = [
        FieldRowPanel([FieldPanel("kind"), FieldPanel("severity")]),
        FieldPanel("title"),
        FieldPanel("text"),
        FieldPanel("issuer"),
        FieldRowPanel([FieldPanel("issued_at"), FieldPanel("expires_at")]),
        FieldPanel("link"),
        FieldPanel("title_en"),
        FieldPanel("text_en"),
        FieldPanel("is_example"),
    ]

    class Meta:
        ordering = ["-issued_at"]
        verbose_name = verbose_name_plural = "预警与提醒"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(expires_at__gt=models.F("issued_at")), name="warning_expires_after_issue"
            ),
        ]

    def __str__(self) -> str:
        return self.title

    def clean(self) -> None:
        """Colours belong to weather stations; a warning ends after it began."""
        errors: dict[str, str] = {}
        if self.kind == self.Kind.BUREAU and self.severity:
            errors["severity"] = "颜色级别只用于转发的气象预警；本局提醒请选“提醒”。"
        if self.kind == self.Kind.RELAYED and not self.severity:
            errors["severity"] = "转发的气象预警要选发布单位给出的颜色级别。"
        if self.issued_at and self.expires_at and self.expires_at <= self.issued_at:
            errors["expires_at"] = "失效时间要晚于发布时间。"
        if errors:
            raise ValidationError(errors)

    @property
    def colour(self) -> str:
        """Name of the level in the style sheet."""
        return self.Severity(self.severity).name.lower()

    @property
    def shown_title(self) -> str:
        return self._shown(self.title, self.title_en)

    @property
    def shown_text(self) -> str:
        return self._shown(self.text, self.text_en)

    @staticmethod
    def _shown(chinese: str, english: str) -> str:
        if (translation.get_language() or "zh").startswith("zh"):
            return chinese
        return english or chinese
