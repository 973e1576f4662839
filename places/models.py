"""Administrative units: the prefecture, its counties and townships, with their outlines."""

from __future__ import annotations

from django.contrib.gis.db import models
from django.core.validators import RegexValidator


class Unit(models.Model):
    """One administrative unit, known by its GB/T 2260 code (6 digits; townships 9, GB/T 10114)."""

    class Level(models.TextChoices):
        PREFECTURE = "prefecture", "地级市"
        COUNTY = "county", "县（市、区）"
        TOWNSHIP = "township", "乡镇（街道）"

    adcode = models.CharField(
        "行政区划代码", max_length=9, primary_key=True, validators=[RegexValidator(r"^\d{6}(\d{3})?$")]
    )
    name = models.CharField("名称", max_length=40)
    name_en = models.CharField("英文名称", max_length=60, blank=True)
    level = models.CharField("级别", max_length=12, choices=Level.choices)
    parent = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="children", verbose_name="上级"
    )
    outline = models.MultiPolygonField("界线", srid=4326, null=True, blank=True)
    schematic = models.BooleanField("示意界线", default=True, help_text="界线为自绘示意，不是勘定行政界线。")
    source = models.CharField("界线来源", max_length=200, blank=True)
    former_codes = models.JSONField("曾用代码", default=list, blank=True)

    class Meta:
        ordering = ["adcode"]
        verbose_name = verbose_name_plural = "行政区划"

    def __str__(self) -> str:
        return self.name
