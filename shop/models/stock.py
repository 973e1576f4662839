"""The ledger of stock: one row a movement, never changed and never removed."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class StockMovement(models.Model):
    """A change of a SKU's stock. The sum of a SKU's movements is its stock.

    A trigger (migration 0002) refuses UPDATE and DELETE in the database itself; a mistake is mended by a
    movement the other way.
    """

    class Reason(models.TextChoices):
        RECEIVE = "receive", _("入库")
        ORDER = "order", _("下单占用")
        CANCEL = "cancel", _("取消退回")
        EXPIRE = "expire", _("超时退回")
        CORRECT = "correct", _("盘点更正")

    sku = models.ForeignKey("shop.Sku", models.PROTECT, related_name="movements", verbose_name="规格")
    quantity = models.IntegerField("数量（件）", help_text="入库为正，出库为负。")
    reason = models.CharField("原因", max_length=8, choices=Reason.choices)
    order = models.ForeignKey(
        "shop.Order", models.PROTECT, null=True, blank=True, related_name="movements", verbose_name="订单"
    )
    note = models.CharField("说明", max_length=120, blank=True)
    by = models.ForeignKey(
        "accounts.User", models.PROTECT, null=True, blank=True, related_name="+", verbose_name="经办人"
    )
    created_at = models.DateTimeField("时间", auto_now_add=True)

    class Meta:
        ordering = ["pk"]
        verbose_name = verbose_name_plural = "库存流水"
        constraints = [
            models.CheckConstraint(condition=~Q(quantity=0), name="movement_moves_something"),
            models.CheckConstraint(
                condition=Q(order__isnull=False) | Q(reason__in=["receive", "correct"]),
                name="movement_names_its_order",
            ),
            # Goods of one order leave once and come back once.
            models.UniqueConstraint(
                fields=["order", "sku", "reason"], name="movement_once_per_order_and_reason"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.sku_id} {self.quantity:+d} {self.get_reason_display()}"
