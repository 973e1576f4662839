"""The states of an order and what may follow what: the whole pipeline in one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _


class OrderStatus(models.TextChoices):
    """Where an order stands. Payment comes with a later version, so nothing follows it yet."""

    PENDING_PAYMENT = "pending_payment", _("待付款")
    CANCELLED = "cancelled", _("已取消")
    EXPIRED = "expired", _("已过期")


FOLLOWS: Final[Mapping[str, frozenset[str]]] = {
    OrderStatus.PENDING_PAYMENT: frozenset({OrderStatus.CANCELLED, OrderStatus.EXPIRED}),
    OrderStatus.CANCELLED: frozenset(),
    OrderStatus.EXPIRED: frozenset(),
}


def may_follow(current: str, new: str) -> bool:
    """Whether an order in state `current` may go to `new`."""
    return new in FOLLOWS[current]
