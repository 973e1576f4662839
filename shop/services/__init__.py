"""Every write of the showroom: one function a use case, one transaction each, keyword-only arguments."""

from shop.services.carts import add_to_cart, merge_carts, remove_from_cart, set_cart_quantity
from shop.services.catalogue import add_sku, create_product, open_booth
from shop.services.orders import PAYMENT_WINDOW, Contact, cancel_order, expire_orders, place_orders
from shop.services.stock import correct_stock, receive_stock

__all__ = [
    "PAYMENT_WINDOW",
    "Contact",
    "add_sku",
    "add_to_cart",
    "cancel_order",
    "correct_stock",
    "create_product",
    "expire_orders",
    "merge_carts",
    "open_booth",
    "place_orders",
    "receive_stock",
    "remove_from_cart",
    "set_cart_quantity",
]
