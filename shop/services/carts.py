"""What visitors put into their carts. Nothing is reserved before an order is placed."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from accounts.models import User
from shop.errors import NotForSaleError, OutOfStockError, QuantityError, Shortage
from shop.models import Cart, CartLine, Sku
from shop.models.orders import MAX_QUANTITY
from shop.selectors import is_for_sale


def _checked_quantity(quantity: int) -> int:
    if not 1 <= quantity <= MAX_QUANTITY:
        raise QuantityError(
            _("数量应为 1 到 %(most)d 的整数，不能是 %(given)s。") % {"most": MAX_QUANTITY, "given": quantity}
        )
    return quantity


def _checked_line(*, sku: Sku, quantity: int) -> None:
    if not is_for_sale(sku):
        raise NotForSaleError(_("“%(name)s”现在不出售，请换一个规格。") % {"name": sku})
    if quantity > sku.stock:
        raise OutOfStockError([Shortage(sku_id=sku.pk, name=str(sku), wanted=quantity, left=sku.stock)])


def _sku(sku_id: int) -> Sku:
    return Sku.objects.select_related("product__seller__grower", "batch").get(pk=sku_id)


@transaction.atomic
def add_to_cart(*, cart: Cart, sku_id: int, quantity: int) -> CartLine:
    """Add packs of a SKU to what the cart holds of it already.

    Raises
    ------
    QuantityError, NotForSaleError, OutOfStockError
        The cart stays as it was.
    """
    _checked_quantity(quantity)
    Cart.objects.select_for_update().get(pk=cart.pk)
    line = CartLine.objects.filter(cart=cart, sku_id=sku_id).first()
    wanted = _checked_quantity(quantity + (line.quantity if line else 0))
    _checked_line(sku=_sku(sku_id), quantity=wanted)
    if line is None:
        return CartLine.objects.create(cart=cart, sku_id=sku_id, quantity=wanted)
    line.quantity = wanted
    line.save(update_fields=["quantity"])
    return line


@transaction.atomic
def set_cart_quantity(*, cart: Cart, sku_id: int, quantity: int) -> None:
    """Set how many packs of a SKU the cart holds; a SKU that is not in it is left out.

    Raises
    ------
    QuantityError, NotForSaleError, OutOfStockError
        The cart stays as it was.
    """
    _checked_quantity(quantity)
    _checked_line(sku=_sku(sku_id), quantity=quantity)
    CartLine.objects.filter(cart=cart, sku_id=sku_id).update(quantity=quantity)


@transaction.atomic
def remove_from_cart(*, cart: Cart, sku_id: int) -> None:
    """Take a SKU out of the cart; one that is not in it is no error."""
    CartLine.objects.filter(cart=cart, sku_id=sku_id).delete()


@transaction.atomic
def merge_carts(*, guest: Cart, user: User) -> Cart:
    """Move a guest's cart into the user's at sign-in; of a SKU in both the larger quantity stays."""
    own, _created = Cart.objects.get_or_create(user=user)
    if guest.pk == own.pk:
        return own
    # Both in order of primary key, as every lock of more than one row.
    list(Cart.objects.select_for_update().filter(pk__in=[guest.pk, own.pk]).order_by("pk"))
    held = {line.sku_id: line for line in own.lines.all()}
    for line in guest.lines.all():
        if (mine := held.get(line.sku_id)) is None:
            CartLine.objects.create(cart=own, sku_id=line.sku_id, quantity=line.quantity)
        elif line.quantity > mine.quantity:
            mine.quantity = line.quantity
            mine.save(update_fields=["quantity"])
    guest.delete()
    return own
