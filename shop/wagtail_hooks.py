"""Booths, products, grades and orders in the staff interface; orders change through services only."""

from __future__ import annotations

from typing import Any

from wagtail.permission_policies import ModelPermissionPolicy
from wagtail.permissions import register_permission_policy
from wagtail.snippets.models import register_snippet
from wagtail.snippets.views.snippets import SnippetViewSet, SnippetViewSetGroup

from shop.models import Order, Product, Seller, Sku


class SellerViewSet(SnippetViewSet):
    model = Seller
    icon = "user"
    menu_label = "商家"
    list_display = ["grower", "licence_name", "service_phone", "active"]


class ProductViewSet(SnippetViewSet):
    model = Product
    icon = "tag"
    menu_label = "商品"
    list_display = ["name", "seller", "kind", "county", "published", "sample"]
    list_filter = ["kind", "county", "published", "seller"]
    search_fields = ["name", "name_en", "slug"]


class SkuViewSet(SnippetViewSet):
    model = Sku
    icon = "list-ul"
    menu_label = "规格和库存"
    list_display = ["code", "product", "grade", "price_fen", "stock", "batch", "active"]
    list_filter = ["active", "product__seller"]
    search_fields = ["code"]


class LookOnlyPolicy(ModelPermissionPolicy):
    """Whoever may view may look; nobody adds, changes or deletes here."""

    def user_has_permission(self, user: Any, action: str) -> bool:
        return action == "view" and super().user_has_permission(user, action)

    def user_has_any_permission(self, user: Any, actions: Any) -> bool:
        return "view" in actions and self.user_has_permission(user, "view")


# Before the view set, which looks it up.
register_permission_policy(Order, LookOnlyPolicy(Order))


class OrderViewSet(SnippetViewSet):
    model = Order
    icon = "form"
    menu_label = "订单"
    list_display = ["number", "seller", "status", "masked_name", "masked_phone", "total_fen", "created_at"]
    list_filter = ["status", "seller"]
    search_fields = ["number"]
    inspect_view_enabled = True
    inspect_view_fields = ["number", "seller", "status", "total_fen", "expires_at", "created_at", "closed_at"]


class ShopGroup(SnippetViewSetGroup):
    items = (ProductViewSet, SkuViewSet, SellerViewSet, OrderViewSet)
    menu_label = "网上展厅"
    menu_icon = "tag"
    menu_order = 270


register_snippet(ShopGroup)
