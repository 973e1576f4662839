"""Sellers, their products, and the grades and packs (SKU) that a product is sold in."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from farms.models import ProductKind, in_language
from shop.money import unit_price_fen

SKU_CODE = RegexValidator(r"^[A-Z0-9-]+$", _("规格编号只用大写字母、数字和连字符。"))


class Illustration(models.TextChoices):
    """Drawings of `shop.illustrations`, shown where a product has no photograph."""

    APPLE_RED = "apple-red", _("红苹果插图")
    APPLE_BOX = "apple-box", _("一箱苹果插图")
    APPLE_BRANCH = "apple-branch", _("枝头苹果插图")
    APPLE_GIFT = "apple-gift", _("苹果礼盒插图")
    APPLE_DARK = "apple-dark", _("深红苹果插图")
    APPLE_GOLD = "apple-gold", _("黄苹果插图")
    BEEF_CUT = "beef-cut", _("牛肉块插图")
    BEEF_SHANK = "beef-shank", _("牛腱插图")
    POTATO = "potato", _("马铃薯插图")
    POTATO_NOODLE = "potato-noodle", _("马铃薯粉条插图")
    HONEY = "honey", _("蜂蜜插图")
    BUCKWHEAT = "buckwheat", _("荞麦插图")


class Seller(models.Model):
    """The booth of one grower. E-Commerce Law art. 15: who sells is shown on every product page."""

    grower = models.OneToOneField(
        "farms.Grower", models.PROTECT, related_name="seller", verbose_name="生产主体"
    )
    members = models.ManyToManyField(
        "accounts.User",
        blank=True,
        related_name="sellers",
        verbose_name="管理人员",
        help_text="能查看本商家订单的账号。",
    )
    licence_name = models.CharField(
        "营业执照名称", max_length=80, blank=True, help_text="与营业执照一致；自产自销农户留空。"
    )
    licence_number = models.CharField(
        "其他许可", max_length=60, blank=True, help_text="例如食品经营备案号、SC 编号；没有则留空。"
    )
    self_declaration = models.CharField(
        "免登记说明",
        max_length=160,
        blank=True,
        help_text="自产自销农户填写：依据电子商务法第十条免于登记的说明。",
    )
    service_phone = models.CharField("客服电话", max_length=20, blank=True)
    active = models.BooleanField("营业", default=True)

    class Meta:
        ordering = ["grower__code"]
        verbose_name = verbose_name_plural = "商家"
        constraints = [
            models.CheckConstraint(
                condition=~Q(licence_name="") | ~Q(self_declaration=""),
                name="seller_shows_licence_or_exemption",
                violation_error_message="请填写营业执照名称；自产自销农户请填写免登记说明。",
            )
        ]

    def __str__(self) -> str:
        return str(self.grower)


class Product(models.Model):
    """What a buyer looks at: one kind of produce of one seller."""

    slug = models.SlugField(
        "网址名", max_length=60, unique=True, help_text="小写字母、数字和连字符，发布后不要改。"
    )
    name = models.CharField("名称", max_length=60)
    name_en = models.CharField("英文名称", max_length=100, blank=True)
    kind = models.CharField("种类", max_length=12, choices=ProductKind.choices)
    seller = models.ForeignKey(Seller, models.PROTECT, related_name="products", verbose_name="商家")
    county = models.ForeignKey(
        "places.Unit",
        models.PROTECT,
        related_name="+",
        verbose_name="产地",
        limit_choices_to={"level": "county"},
    )
    summary = models.CharField("一句话介绍", max_length=80, help_text="如实描述，不写功效，不用“最”“第一”。")
    summary_en = models.CharField("一句话介绍（英文）", max_length=160, blank=True)
    description = models.TextField("介绍", max_length=2000, help_text="品种、种养方式、口感、储存方法。")
    description_en = models.TextField("介绍（英文）", max_length=3000, blank=True)
    image = models.ForeignKey(
        "wagtailimages.Image",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name="照片（4:3）",
    )
    illustration = models.CharField("插图", max_length=16, choices=Illustration.choices)
    fresh = models.BooleanField(
        "鲜活易腐", default=True, help_text="鲜活易腐商品不适用七日无理由退货，下单前会提示。"
    )
    gi = models.BooleanField(
        "地理标志", default=False, help_text="只给获准使用专用标志的商家、乡镇、品种和批次。"
    )
    gi_certificate = models.CharField("专用标志使用编号", max_length=60, blank=True)
    published = models.BooleanField("上架", default=False)
    sample = models.BooleanField("示例", default=False)
    created_at = models.DateTimeField("上架时间", auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "pk"]
        verbose_name = verbose_name_plural = "商品"
        constraints = [
            models.CheckConstraint(
                condition=Q(gi=False) | ~Q(gi_certificate=""),
                name="product_gi_needs_certificate",
                violation_error_message="标注地理标志须填写专用标志使用编号。",
            )
        ]
        indexes = [models.Index(fields=["published", "kind", "county"], name="product_showroom")]

    def __str__(self) -> str:
        return in_language(self.name, self.name_en)

    def get_absolute_url(self) -> str:
        return reverse("shop:product", args=[self.slug])

    @property
    def summary_label(self) -> str:
        return in_language(self.summary, self.summary_en)

    @property
    def description_label(self) -> str:
        return in_language(self.description, self.description_en)


class Sku(models.Model):
    """One grade in one pack of a product, from one batch. Its stock moves only through `shop.services`."""

    product = models.ForeignKey(Product, models.PROTECT, related_name="skus", verbose_name="商品")
    code = models.CharField("规格编号", max_length=24, unique=True, validators=[SKU_CODE])
    grade = models.CharField("等级", max_length=20, help_text="例如 80#（果径 80 毫米）。")
    grade_en = models.CharField("等级（英文）", max_length=40, blank=True)
    pack = models.CharField("包装", max_length=30, help_text="例如 5 公斤箱装。")
    pack_en = models.CharField("包装（英文）", max_length=40, blank=True)
    net_weight_g = models.PositiveIntegerField("净含量（克）", validators=[MinValueValidator(1)])
    price_fen = models.PositiveIntegerField(
        "价格（分）", validators=[MinValueValidator(1)], help_text="6800 即 68.00 元。"
    )
    batch = models.ForeignKey(
        "farms.Batch", models.PROTECT, null=True, blank=True, related_name="skus", verbose_name="批次"
    )
    stock = models.IntegerField("库存（件）", default=0, editable=False)
    low_stock = models.PositiveIntegerField("低库存提示（件）", default=10)
    active = models.BooleanField("在售", default=True)

    class Meta:
        ordering = ["price_fen", "pk"]
        verbose_name = verbose_name_plural = "规格"
        constraints = [
            # The last wall against overselling: it holds against every path, raw SQL too.
            models.CheckConstraint(condition=Q(stock__gte=0), name="sku_stock_not_below_zero"),
            models.CheckConstraint(
                condition=Q(price_fen__gt=0),
                name="sku_price_positive",
                violation_error_message="价格须大于 0。",
            ),
            models.CheckConstraint(
                condition=Q(net_weight_g__gt=0),
                name="sku_weight_positive",
                violation_error_message="净含量须大于 0 克。",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.product} {self.label}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save everything but the stock.

        A form that read the row a minute ago would else write its old stock over the sales made since.
        """
        if self._state.adding:
            if self.stock:
                raise ValueError(
                    "a new SKU starts at stock 0; bring goods in with shop.services.receive_stock"
                )
        elif kwargs.get("update_fields") is None:
            kwargs["update_fields"] = [
                field.name
                for field in self._meta.concrete_fields
                if not field.primary_key and field.name != "stock"
            ]
        elif "stock" in kwargs["update_fields"]:
            raise ValueError("stock moves only through shop.services, never by save()")
        super().save(*args, **kwargs)

    def clean(self) -> None:
        if self.batch_id and self.batch and self.batch.grower_id != self.product.seller.grower_id:
            raise ValidationError(
                {"batch": f"批次 {self.batch.code} 不是 {self.product.seller} 的，请改选。"}
            )

    @property
    def label(self) -> str:
        return f"{in_language(self.grade, self.grade_en)} · {in_language(self.pack, self.pack_en)}"

    @property
    def unit_price_fen(self) -> int:
        """Price of 500 g in fen."""
        return unit_price_fen(price_fen=self.price_fen, net_weight_g=self.net_weight_g)

    @property
    def is_low(self) -> bool:
        return 0 < self.stock <= self.low_stock
