"""What the showroom keeps in a session: the cart of a guest and the tokens of orders placed here."""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest

from shop.models import Cart, Order
from shop.services import merge_carts

CART_KEY: Final = "shop_cart"
ORDERS_KEY: Final = "shop_orders"
#: Orders a session remembers; older ones are found through their link or the account.
MAX_REMEMBERED: Final = 50


def _guest_cart(request: HttpRequest) -> Cart | None:
    cart_id = request.session.get(CART_KEY)
    return Cart.objects.filter(pk=cart_id, user__isnull=True).first() if cart_id else None


def find_cart(request: HttpRequest) -> Cart | None:
    """The visitor's cart if there is one; after sign-in the guest's cart is merged into the user's."""
    guest = _guest_cart(request)
    if not request.user.is_authenticated:
        return guest
    if guest is not None:
        del request.session[CART_KEY]
        return merge_carts(guest=guest, user=request.user)
    return Cart.objects.filter(user=request.user).first()


def need_cart(request: HttpRequest) -> Cart:
    """The visitor's cart, made where there is none."""
    cart = find_cart(request)
    if cart is not None:
        return cart
    if request.user.is_authenticated:
        return Cart.objects.get_or_create(user=request.user)[0]
    cart = Cart.objects.create()
    request.session[CART_KEY] = cart.pk
    return cart


def remember_orders(request: HttpRequest, orders: tuple[Order, ...]) -> None:
    """Let this session see the orders it placed."""
    held: dict[str, str] = request.session.get(ORDERS_KEY, {})
    held.update({order.number: order.token for order in orders})
    request.session[ORDERS_KEY] = dict(list(held.items())[-MAX_REMEMBERED:])


def held_token(request: HttpRequest, number: str) -> str:
    """Token this session holds for an order, or nothing."""
    return str(request.session.get(ORDERS_KEY, {}).get(number, ""))
