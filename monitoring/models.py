"""Imported runs, their estimates and curves, parcels, and the log of every review decision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.gis.db import models
from django.core.validators import RegexValidator
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class Run(models.Model):
    """One imported run folder. A run id imported again with other content is a new version of it."""

    run_id = models.CharField("运行编号", max_length=80, validators=[RegexValidator(r"^[a-z0-9-]+$")])
    version = models.PositiveIntegerField("版次", default=1)
    digest = models.CharField("内容校验值", max_length=64, unique=True)
    title = models.CharField("标题", max_length=200)
    simulated = models.BooleanField("模拟数据", default=False)
    season_start = models.DateField("季节开始")
    season_end = models.DateField("季节结束")
    region_name = models.CharField("区域", max_length=200, blank=True)
    extent = models.PolygonField("范围", srid=4326, null=True)
    manifest = models.JSONField("运行说明")
    folder = models.CharField("文件夹", max_length=200, help_text="RUNS_DIR 下的文件夹名")
    created_at = models.DateTimeField("生成时间")
    imported_at = models.DateTimeField("导入时间", auto_now_add=True)
    current = models.BooleanField("最新版次", default=True)

    class Meta:
        ordering = ["-season_end", "-imported_at"]
        verbose_name = verbose_name_plural = "监测运行"
        constraints = [
            models.UniqueConstraint(fields=["run_id", "version"], name="run_version_once"),
            models.UniqueConstraint(fields=["run_id"], condition=Q(current=True), name="one_current_version"),
        ]

    def __str__(self) -> str:
        return self.title if self.version == 1 else f"{self.title}（第 {self.version} 版）"

    @property
    def key(self) -> str:
        """The run in addresses: other content, other address, so tiles may be cached."""
        return f"{self.run_id}.{self.digest[:10]}"

    @property
    def path(self) -> Path:
        """Where the run folder's copy lies."""
        return Path(settings.RUNS_DIR) / self.folder

    @property
    def crops(self) -> list[dict[str, Any]]:
        """The map's classes as the run folder lists them: code, name, zh, en, colour."""
        crops: list[dict[str, Any]] = self.manifest["crops"]
        return crops


class RunRaster(models.Model):
    """One COG of a run."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="rasters", verbose_name="监测运行")
    kind = models.CharField("种类", max_length=20)
    tile = models.CharField("图幅", max_length=60)
    path = models.CharField("路径", max_length=300)
    title = models.CharField("标题", max_length=200, blank=True)
    dates = models.JSONField("日期", default=list)
    scale = models.FloatField("比例系数", default=1.0)
    classes = models.JSONField("类别", default=list)
    # Bounds of the image in degrees, WGS 84.
    west = models.FloatField("西")
    south = models.FloatField("南")
    east = models.FloatField("东")
    north = models.FloatField("北")

    class Meta:
        ordering = ["kind", "tile"]
        verbose_name = verbose_name_plural = "栅格"
        constraints = [models.UniqueConstraint(fields=["run", "path"], name="raster_once_a_run")]

    def __str__(self) -> str:
        return f"{self.run.run_id} {self.kind} {self.tile}"


class Estimate(models.Model):
    """One number of a run, as written in its estimates.parquet, and what the reviewers decided on it."""

    class State(models.TextChoices):
        DRAFT = "draft", _("待审核")
        ACCEPTED = "accepted", _("已通过")
        RETURNED = "returned", _("已退回")
        SUPERSEDED = "superseded", _("已被新版替代")

    run = models.ForeignKey(Run, models.PROTECT, related_name="estimates", verbose_name="监测运行")
    product = models.CharField("产品", max_length=20)
    crop = models.CharField("作物", max_length=40, blank=True)
    class_name = models.CharField("类别", max_length=40, blank=True)
    unit_adcode = models.CharField(
        "单元代码", max_length=80, help_text="区划代码、region 或 parcel:<地块编号>"
    )
    place = models.ForeignKey("places.Unit", models.PROTECT, null=True, blank=True, verbose_name="行政区划")
    period_start = models.DateField("时段开始")
    period_end = models.DateField("时段结束")
    value = models.FloatField("数值", null=True)
    unit = models.CharField("单位", max_length=20)
    se = models.FloatField("标准误", null=True)
    ci_low = models.FloatField("区间下限", null=True)
    ci_high = models.FloatField("区间上限", null=True)
    method = models.CharField("方法", max_length=60)
    n_samples = models.BigIntegerField("样本数")
    monitorable_share = models.FloatField("可监测比例", null=True)
    state = models.CharField("状态", max_length=12, choices=State.choices, default=State.DRAFT)
    # Counts decisions; a form that was opened before another reviewer's decision carries an older number.
    row_version = models.PositiveIntegerField("修订号", default=0)

    class Meta:
        ordering = ["product", "crop", "unit_adcode", "class_name", "method", "pk"]
        verbose_name = verbose_name_plural = "监测结果"
        constraints = [
            models.UniqueConstraint(
                fields=[
                    "run",
                    "product",
                    "crop",
                    "class_name",
                    "unit_adcode",
                    "period_start",
                    "period_end",
                    "method",
                ],
                name="estimate_once_a_run",
            )
        ]
        indexes = [models.Index(fields=["state", "product", "crop"]), models.Index(fields=["unit_adcode"])]

    def __str__(self) -> str:
        return f"{self.run.run_id} {self.product} {self.crop} {self.class_name} {self.unit_adcode}".replace(
            "  ", " "
        )


class Series(models.Model):
    """One curve of a run: a unit's, a parcel's or a class's index over the season."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="series", verbose_name="监测运行")
    scope = models.CharField("范围种类", max_length=10)
    scope_id = models.CharField("范围编号", max_length=80)
    crop = models.CharField("作物", max_length=40, blank=True)
    index = models.CharField("指数", max_length=20)
    points = models.JSONField(
        "曲线点", help_text="[日期, 观测, 平滑, 25% 分位, 75% 分位, 晴空比例]，缺测为 null"
    )

    class Meta:
        ordering = ["scope", "scope_id", "crop", "index"]
        verbose_name = verbose_name_plural = "曲线"
        constraints = [
            models.UniqueConstraint(
                fields=["run", "scope", "scope_id", "crop", "index"], name="series_once_a_run"
            )
        ]
        indexes = [models.Index(fields=["scope", "scope_id"])]

    def __str__(self) -> str:
        return f"{self.scope} {self.scope_id} {self.index}"


class Parcel(models.Model):
    """A field whose curve a run gives under the same code."""

    code = models.CharField(
        "地块编号", max_length=60, primary_key=True, validators=[RegexValidator(r"^[\w.-]+$")]
    )
    name = models.CharField("名称", max_length=80, blank=True)
    crop = models.CharField("作物", max_length=40, blank=True)
    place = models.ForeignKey("places.Unit", models.PROTECT, null=True, blank=True, verbose_name="所在区划")
    outline = models.MultiPolygonField("界线", srid=4326)
    area_ha = models.FloatField("面积（公顷）")
    simulated = models.BooleanField("模拟数据", default=False)
    source = models.CharField("来源", max_length=200, blank=True)

    class Meta:
        ordering = ["code"]
        verbose_name = verbose_name_plural = "地块"

    def __str__(self) -> str:
        return self.name or self.code


class Review(models.Model):
    """One decision on one estimate. Rows are only ever added: a trigger refuses change and deletion."""

    class Decision(models.TextChoices):
        ACCEPT = "accept", _("通过")
        RETURN = "return", _("退回")
        SUPERSEDE = "supersede", _("被新版替代")

    class Reason(models.TextChoices):
        NONE = "", _("无")
        CONFUSION = "confusion", _("作物混淆")
        BOUNDARY = "boundary", _("边界不符")
        CLOUD = "cloud", _("云影响")
        SEASON = "season", _("时段不对")
        LOCAL = "local", _("与实地不符")
        OTHER = "other", _("其他")

    estimate = models.ForeignKey(Estimate, models.PROTECT, related_name="reviews", verbose_name="监测结果")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, verbose_name="审核人")
    decided_at = models.DateTimeField("时间", auto_now_add=True)
    decision = models.CharField("决定", max_length=10, choices=Decision.choices)
    reason = models.CharField("原因", max_length=20, choices=Reason.choices, blank=True)
    comment = models.CharField("说明", max_length=500, blank=True)
    state_before = models.CharField("原状态", max_length=12)

    class Meta:
        ordering = ["-decided_at", "-pk"]
        verbose_name = verbose_name_plural = "审核记录"

    def __str__(self) -> str:
        return f"{self.get_decision_display()} {self.estimate}"
