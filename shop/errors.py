"""What the showroom refuses. `str()` of each is a sentence fit to be shown to the buyer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _


class ShopError(Exception):
    """Root of everything this app refuses."""


class QuantityError(ShopError):
    """A quantity that is no whole number from 1 to the largest that one order may hold."""


class NotForSaleError(ShopError):
    """A grade that is off sale: hidden, its seller suspended, or its batch held or recalled."""


class EmptyCartError(ShopError):
    """A checkout of nothing."""


class PriceChangedError(ShopError):
    """The sum the buyer saw is not the sum the order would have."""


class OrderStateError(ShopError):
    """An order was to go to a state that does not follow its own."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """A line that cannot be filled: what was asked for and what is left."""

    sku_id: int
    name: str
    wanted: int
    left: int

    def __str__(self) -> str:
        if self.left <= 0:
            return _("“%(name)s”已售完，请从购物车中移除。") % {"name": self.name}
        return _("“%(name)s”只剩 %(left)d 件，您要 %(wanted)d 件，请减少数量。") % {
            "name": self.name,
            "left": self.left,
            "wanted": self.wanted,
        }


class OutOfStockError(ShopError):
    """An order that the stock cannot fill; nothing of it was placed and the cart is as it was."""

    def __init__(self, shortages: Sequence[Shortage]) -> None:
        self.shortages = tuple(shortages)
        super().__init__("".join(str(shortage) for shortage in self.shortages))
