"""Filters of the showroom's templates."""

from __future__ import annotations

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.translation import gettext as _

from shop import money
from shop.models import Order, Product, Sku
from shop.selectors import is_for_sale

register = template.Library()


@register.filter
def yuan(fen: int | None) -> str:
    """Fen as ¥68.00."""
    return "" if fen is None else f"¥{money.yuan(fen)}"


@register.filter
def unit_price(fen: int) -> str:
    """Price of 500 g as it must stand beside the price: ¥6.80/500克."""
    return _("%(price)s/500克") % {"price": yuan(fen)}


@register.filter
def mass(grams: int) -> str:
    """Grams in the unit people use: 5公斤, below a kilogram 500克."""
    if grams < 1000:
        return _("%(grams)d克") % {"grams": grams}
    return _("%(kilograms)s公斤") % {"kilograms": f"{grams / 1000:g}"}


@register.filter
def lead_sku(product: Product) -> Sku:
    """The SKU whose price stands on the card: the cheapest in stock, or the cheapest where all is sold."""
    return next((sku for sku in product.for_sale if sku.stock > 0), product.for_sale[0])


@register.filter
def illustration(product: Product) -> str:
    """Address of the drawing of a product."""
    return static(f"img/shop/{product.illustration}.svg")


@register.filter
def picture_alt(product: Product) -> str:
    """Text in place of a product's picture."""
    if product.image_id and product.image:
        return str(product.image.description or product.image.title)
    return _("%(name)s（插图，不是实物照片）") % {"name": product}


@register.filter
def sold_out(product: Product) -> bool:
    """Whether none of a product's SKUs for sale has stock left."""
    return all(sku.stock <= 0 for sku in product.for_sale)


@register.filter
def for_sale(sku: Sku) -> bool:
    """Whether a SKU may be ordered at all."""
    return is_for_sale(sku)


@register.filter
def overdue(order: Order) -> bool:
    """Whether an order's time to pay has passed."""
    return order.expires_at <= timezone.now()
