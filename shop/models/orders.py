"""Carts, checkouts and orders. An order keeps what was true when it was placed: names, prices, batches."""

from __future__ import annotations

import secrets
import uuid

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.urls import reverse

from shop.money import line_total_fen
from shop.privacy import mask_address, mask_name, mask_phone
from shop.states import OrderStatus

#: The most packs of one SKU in a cart or an order.
MAX_QUANTITY = 999


def new_token() -> str:
    """128 random bits: whoever holds them may see the order."""
    return secrets.token_urlsafe(16)


class Cart(models.Model):
    """What a visitor means to buy; found by the session, or by the user once signed in."""

    user = models.OneToOneField(
        "accounts.User", models.CASCADE, null=True, blank=True, related_name="cart", verbose_name="用户"
    )
    updated_at = models.DateTimeField("最近改动", auto_now=True)

    class Meta:
        verbose_name = verbose_name_plural = "购物车"

    def __str__(self) -> str:
        return f"cart {self.pk}"


class CartLine(models.Model):
    """One SKU in a cart."""

    cart = models.ForeignKey(Cart, models.CASCADE, related_name="lines", verbose_name="购物车")
    sku = models.ForeignKey("shop.Sku", models.CASCADE, related_name="+", verbose_name="规格")
    quantity = models.PositiveIntegerField(
        "数量", validators=[MinValueValidator(1), MaxValueValidator(MAX_QUANTITY)]
    )

    class Meta:
        ordering = ["pk"]
        verbose_name = verbose_name_plural = "购物车明细"
        constraints = [
            # One line a SKU, so the sum of what is asked for is in one place.
            models.UniqueConstraint(fields=["cart", "sku"], name="cart_line_once_per_sku"),
            models.CheckConstraint(
                condition=Q(quantity__gte=1, quantity__lte=MAX_QUANTITY), name="cart_quantity_range"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.sku_id} × {self.quantity}"

    @property
    def total_fen(self) -> int:
        return line_total_fen(price_fen=self.sku.price_fen, quantity=self.quantity)


class Checkout(models.Model):
    """One submission of the checkout form, known by the key the form carried.

    The key is the primary key: a second submit of a form waits for the first and then finds its orders.
    """

    key = models.UUIDField("提交编号", primary_key=True, default=uuid.uuid4)
    cart = models.ForeignKey(
        Cart, models.SET_NULL, null=True, related_name="checkouts", verbose_name="购物车"
    )
    consent_at = models.DateTimeField("同意处理个人信息的时间")
    created_at = models.DateTimeField("提交时间", auto_now_add=True)

    class Meta:
        verbose_name = verbose_name_plural = "结算"

    def __str__(self) -> str:
        return str(self.key)


class Order(models.Model):
    """What one buyer ordered of one seller at one checkout."""

    number = models.CharField("订单号", max_length=20, unique=True)
    token = models.CharField("查看凭证", max_length=22, default=new_token, editable=False)
    checkout = models.ForeignKey(Checkout, models.PROTECT, related_name="orders", verbose_name="结算")
    seller = models.ForeignKey("shop.Seller", models.PROTECT, related_name="orders", verbose_name="商家")
    user = models.ForeignKey(
        "accounts.User", models.PROTECT, null=True, blank=True, related_name="orders", verbose_name="买家账号"
    )
    status = models.CharField(
        "状态",
        max_length=16,
        choices=OrderStatus.choices,
        default=OrderStatus.PENDING_PAYMENT,
        editable=False,
    )
    contact_name = models.CharField("收货人", max_length=40)
    phone = models.CharField("电话", max_length=20)
    address = models.CharField("收货地址", max_length=200)
    note = models.CharField("备注", max_length=200, blank=True)
    total_fen = models.PositiveIntegerField("合计（分）")
    expires_at = models.DateTimeField("付款期限")
    created_at = models.DateTimeField("下单时间", auto_now_add=True)
    closed_at = models.DateTimeField("关闭时间", null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-pk"]
        verbose_name = verbose_name_plural = "订单"
        constraints = [
            models.UniqueConstraint(fields=["checkout", "seller"], name="order_once_per_checkout_and_seller"),
            models.CheckConstraint(condition=Q(total_fen__gt=0), name="order_total_positive"),
        ]
        indexes = [
            models.Index(fields=["seller", "-created_at"], name="order_of_seller"),
            models.Index(
                fields=["expires_at"], condition=Q(status="pending_payment"), name="order_to_expire"
            ),
        ]

    def __str__(self) -> str:
        return self.number

    def get_absolute_url(self) -> str:
        return reverse("shop:order", args=[self.number])

    @property
    def is_pending(self) -> bool:
        return self.status == OrderStatus.PENDING_PAYMENT

    @property
    def masked_name(self) -> str:
        return mask_name(self.contact_name)

    @property
    def masked_phone(self) -> str:
        return mask_phone(self.phone)

    @property
    def masked_address(self) -> str:
        return mask_address(self.address)


class OrderLine(models.Model):
    """A line of an order with the name, price, weight and batch it was sold under."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="lines", verbose_name="订单")
    sku = models.ForeignKey("shop.Sku", models.PROTECT, related_name="order_lines", verbose_name="规格")
    batch = models.ForeignKey(
        "farms.Batch", models.PROTECT, null=True, blank=True, related_name="order_lines", verbose_name="批次"
    )
    product_name = models.CharField("商品", max_length=60)
    sku_label = models.CharField("规格", max_length=60)
    net_weight_g = models.PositiveIntegerField("净含量（克）")
    price_fen = models.PositiveIntegerField("单价（分）")
    quantity = models.PositiveIntegerField("数量")

    class Meta:
        ordering = ["pk"]
        verbose_name = verbose_name_plural = "订单明细"
        constraints = [
            models.UniqueConstraint(fields=["order", "sku"], name="order_line_once_per_sku"),
            models.CheckConstraint(
                condition=Q(quantity__gte=1, quantity__lte=MAX_QUANTITY), name="order_quantity_range"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.product_name} {self.sku_label} × {self.quantity}"

    @property
    def total_fen(self) -> int:
        return line_total_fen(price_fen=self.price_fen, quantity=self.quantity)
