"""Growers, their orchards and the batches picked there: what stands behind a product's origin."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from farms.validators import validate_credit_code

CODE = RegexValidator(r"^[A-Z0-9-]+$", _("编号只用大写字母、数字和连字符，例如 JN-GY-01。"))


class ProductKind(models.TextChoices):
    """Kinds of produce, used by batches and by the showroom."""

    APPLE = "apple", _("苹果")
    BEEF = "beef", _("牛肉")
    POTATO = "potato", _("马铃薯")
    HONEY = "honey", _("蜂蜜")
    BUCKWHEAT = "buckwheat", _("荞麦")


def in_language(zh: str, en: str) -> str:
    """English text on English pages where there is one, else Chinese."""
    return en if en and (get_language() or "").startswith("en") else zh


class Grower(models.Model):
    """A co-op, family farm, firm or self-producing farmer who answers for what is sold."""

    class Kind(models.TextChoices):
        COOP = "coop", _("农民专业合作社")
        FAMILY_FARM = "family_farm", _("家庭农场")
        FIRM = "firm", _("企业")
        # E-commerce Law art. 10: sellers of their own farm produce need not register.
        SELF_PRODUCER = "self_producer", _("自产自销农户")

    code = models.CharField("编号", max_length=20, unique=True, validators=[CODE])
    name = models.CharField("名称", max_length=60)
    name_en = models.CharField("英文名称", max_length=100, blank=True)
    kind = models.CharField("主体类型", max_length=16, choices=Kind.choices)
    credit_code = models.CharField(
        "统一社会信用代码",
        max_length=18,
        blank=True,
        validators=[validate_credit_code],
        help_text="18 位，见营业执照；自产自销农户可留空。",
    )
    county = models.ForeignKey(
        "places.Unit",
        models.PROTECT,
        related_name="+",
        verbose_name="所在县（市、区）",
        limit_choices_to={"level": "county"},
    )
    township = models.ForeignKey(
        "places.Unit",
        models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        verbose_name="所在乡镇",
        limit_choices_to={"level": "township"},
    )
    intro = models.TextField(
        "简介", max_length=300, blank=True, help_text="两三句话：种什么、多少亩、怎么种。"
    )
    intro_en = models.TextField("英文简介", max_length=500, blank=True)
    sample = models.BooleanField("示例", default=False, help_text="虚构的示例主体，页面上注明“示例”。")

    class Meta:
        ordering = ["code"]
        verbose_name = verbose_name_plural = "生产主体"
        constraints = [
            models.UniqueConstraint(
                fields=["credit_code"],
                condition=~Q(credit_code=""),
                name="grower_credit_code_once",
                violation_error_message="这个统一社会信用代码已登记在另一生产主体名下。",
            ),
            models.CheckConstraint(
                condition=Q(kind="self_producer") | ~Q(credit_code=""),
                name="grower_registered_has_credit_code",
                violation_error_message="合作社、家庭农场和企业须填写统一社会信用代码。",
            ),
        ]

    def __str__(self) -> str:
        return in_language(self.name, self.name_en)

    @property
    def intro_label(self) -> str:
        return in_language(self.intro, self.intro_en)

    def clean(self) -> None:
        if self.township_id and self.township and self.township.parent_id != self.county_id:
            raise ValidationError({"township": f"{self.township} 不属于 {self.county}，请改选乡镇或县。"})


class Orchard(models.Model):
    """One orchard on one contracted parcel; its season curve is the parcel's in accepted runs."""

    code = models.CharField("果园编号", max_length=20, unique=True, validators=[CODE])
    name = models.CharField("名称", max_length=60)
    name_en = models.CharField("英文名称", max_length=100, blank=True)
    grower = models.ForeignKey(Grower, models.PROTECT, related_name="orchards", verbose_name="生产主体")
    township = models.ForeignKey(
        "places.Unit",
        models.PROTECT,
        related_name="+",
        verbose_name="乡镇",
        limit_choices_to={"level": "township"},
    )
    parcel_code = models.CharField(
        "地块编号",
        max_length=40,
        blank=True,
        db_index=True,
        help_text="遥感监测里的地块编号；留空则没有长势曲线。",
    )
    area_mu = models.DecimalField("面积（亩）", max_digits=8, decimal_places=2)
    variety = models.CharField("品种", max_length=40)
    variety_en = models.CharField("品种（英文）", max_length=60, blank=True)
    rootstock = models.CharField("砧木", max_length=40, blank=True)
    planting_year = models.PositiveSmallIntegerField(
        "栽植年份", validators=[MinValueValidator(1950), MaxValueValidator(2100)]
    )
    hail_net = models.BooleanField("有防雹网", default=False)
    elevation_m = models.PositiveSmallIntegerField("海拔（米）", null=True, blank=True)
    sample = models.BooleanField("示例", default=False)

    class Meta:
        ordering = ["code"]
        verbose_name = verbose_name_plural = "果园"
        constraints = [
            models.CheckConstraint(
                condition=Q(area_mu__gt=0),
                name="orchard_area_positive",
                violation_error_message="果园面积须大于 0 亩。",
            )
        ]

    def __str__(self) -> str:
        return in_language(self.name, self.name_en)

    def get_absolute_url(self) -> str:
        return reverse("farms:orchard", args=[self.code])

    @property
    def variety_label(self) -> str:
        return in_language(self.variety, self.variety_en)

    def clean(self) -> None:
        if self.township_id and self.grower_id and self.township.parent_id != self.grower.county_id:
            raise ValidationError(
                {"township": f"{self.township} 不在生产主体所在的 {self.grower.county}，请核对。"}
            )


class Batch(models.Model):
    """One lot of produce of one harvest, the unit that is certified, sold and, when it must be, recalled."""

    class State(models.TextChoices):
        HELD = "held", _("待放行")
        RELEASED = "released", _("已放行")
        RECALLED = "recalled", _("已召回")

    code = models.CharField("批次号", max_length=24, unique=True, validators=[CODE])
    grower = models.ForeignKey(Grower, models.PROTECT, related_name="batches", verbose_name="生产主体")
    orchard = models.ForeignKey(
        Orchard, models.PROTECT, related_name="batches", null=True, blank=True, verbose_name="果园"
    )
    kind = models.CharField("产品种类", max_length=12, choices=ProductKind.choices)
    harvest_date = models.DateField("采收（出栏、取蜜）日期")
    quantity_kg = models.DecimalField("数量（公斤）", max_digits=10, decimal_places=2)
    grade = models.CharField("等级", max_length=20, blank=True, help_text="例如 80# 以上一级。")
    state = models.CharField("状态", max_length=10, choices=State.choices, default=State.HELD, editable=False)
    pledge_certificate = models.CharField(
        "承诺达标合格证编号",
        max_length=40,
        blank=True,
        # MARA Order 2025-4, in force 2026-02-01: firms and co-ops issue one certificate a batch.
        help_text="企业、合作社和家庭农场放行批次前必填；自产自销农户自愿。",
    )
    recall_reason = models.CharField("召回原因", max_length=200, blank=True, editable=False)
    sample = models.BooleanField("示例", default=False)

    class Meta:
        ordering = ["-harvest_date", "code"]
        verbose_name = verbose_name_plural = "批次"
        constraints = [
            models.CheckConstraint(
                condition=Q(quantity_kg__gt=0),
                name="batch_mass_positive",
                violation_error_message="批次数量须大于 0 公斤。",
            ),
            models.CheckConstraint(
                condition=~Q(state="recalled") | ~Q(recall_reason=""), name="batch_recall_has_reason"
            ),
        ]
        indexes = [models.Index(F("orchard"), F("harvest_date").desc(), name="batch_by_orchard")]

    def __str__(self) -> str:
        return self.code

    def clean(self) -> None:
        if self.orchard_id and self.orchard and self.orchard.grower_id != self.grower_id:
            raise ValidationError(
                {"orchard": f"果园 {self.orchard.code} 不属于 {self.grower}，请改选果园或生产主体。"}
            )

    @property
    def is_released(self) -> bool:
        return self.state == self.State.RELEASED
