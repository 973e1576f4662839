"""Tables of the showroom: who sells, what is sold, how much is left, what was ordered."""

from shop.models.catalogue import Illustration, Product, Seller, Sku
from shop.models.orders import Cart, CartLine, Checkout, Order, OrderLine
from shop.models.stock import StockMovement

__all__ = [
    "Cart",
    "CartLine",
    "Checkout",
    "Illustration",
    "Order",
    "OrderLine",
    "Product",
    "Seller",
    "Sku",
    "StockMovement",
]
