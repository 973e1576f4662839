"""Pages of the showroom: they check what came in, call a service or selector, and choose the page."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.roles import SELLER, has_role
from farms.models import Orchard
from farms.selectors import orchard_curve
from shop import selectors, services
from shop.errors import EmptyCartError, PriceChangedError, ShopError
from shop.forms import AddToCartForm, CartLineForm, CheckoutForm, FilterForm
from shop.models import Cart, Order, Sku
from shop.visitor import find_cart, held_token, need_cart, remember_orders

PAGE_SIZE = 12
ORDERS_A_PAGE = 20


@require_GET
def showroom(request: HttpRequest) -> HttpResponse:
    """Everything for sale, filtered and sorted without regard to who is looking."""
    english = (get_language() or "").startswith("en")
    form = FilterForm(request.GET, english=english)
    chosen = form.chosen()
    products = selectors.showroom(**chosen)
    page = Paginator(products, PAGE_SIZE).get_page(request.GET.get("page"))
    filtered = any(value for name, value in chosen.items() if name != "sort")
    return render(
        request,
        "shop/showroom.html",
        {"form": form, "page_obj": page, "chosen": chosen, "filtered": filtered},
    )


@require_http_methods(["GET", "HEAD", "POST"])
def product(request: HttpRequest, slug: str) -> HttpResponse:
    """One product with its origin; POST puts a grade of it into the cart."""
    shown = selectors.shown_products().filter(slug=slug).first()
    if shown is None:
        raise Http404(_("没有这个商品，或已下架。"))
    skus: list[Sku] = shown.for_sale
    form = AddToCartForm(request.POST or None, skus=skus)
    if request.method == "POST" and form.is_valid():
        try:
            services.add_to_cart(cart=need_cart(request), **_cart_line(form))
        except ShopError as error:
            form.add_error("quantity", str(error))
        else:
            messages.success(request, _("已把“%(name)s”加入购物车。") % {"name": shown})
            return redirect("shop:cart")
    context = {
        "product": shown,
        "skus": skus,
        "form": form,
        "chosen": _chosen_sku(form, skus),
        **_origin(skus),
    }
    return render(request, "shop/product.html", context)


def _cart_line(form: AddToCartForm) -> dict[str, int]:
    return {"sku_id": form.cleaned_data["sku"], "quantity": form.cleaned_data["quantity"]}


def _chosen_sku(form: AddToCartForm, skus: list[Sku]) -> Sku:
    """The grade that stands chosen in the form: its price is the large one."""
    value = str(form["sku"].value())
    return next((sku for sku in skus if str(sku.pk) == value), skus[0])


def _origin(skus: list[Sku]) -> dict[str, Any]:
    """Batches of the grades, and the season curve of each orchard they come from."""
    batches = list({sku.batch_id: sku.batch for sku in skus if sku.batch}.values())
    orchards: dict[int, Orchard] = {batch.orchard_id: batch.orchard for batch in batches if batch.orchard}
    return {
        "batches": batches,
        "curves": [(orchard, orchard_curve(orchard)) for orchard in orchards.values()],
    }


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def cart(request: HttpRequest) -> HttpResponse:
    """What is in the cart; POST changes or removes one line."""
    found = find_cart(request)
    errors: dict[int, tuple[str, str]] = {}
    if request.method == "POST" and found is not None:
        sku_id, error = _change_line(request, found)
        if not error:
            return redirect("shop:cart")
        errors[sku_id] = (request.POST.get("quantity", ""), error)
    content = selectors.cart_content(found)
    for line in content.lines:
        line.typed, line.error = errors.get(line.sku_id, (str(line.quantity), ""))
    return render(request, "shop/cart.html", {"content": content})


def _change_line(request: HttpRequest, found: Cart) -> tuple[int, str]:
    """SKU of the line and what is wrong, if something is."""
    try:
        sku_id = int(request.POST.get("sku", ""))
    except ValueError:
        return 0, ""
    if request.POST.get("action") == "remove":
        services.remove_from_cart(cart=found, sku_id=sku_id)
        return sku_id, ""
    form = CartLineForm(request.POST)
    if not form.is_valid():
        return sku_id, " ".join(form.errors["quantity"])
    try:
        services.set_cart_quantity(cart=found, sku_id=sku_id, quantity=form.cleaned_data["quantity"])
    except ShopError as error:
        return sku_id, str(error)
    except Sku.DoesNotExist:
        return sku_id, ""
    return sku_id, ""


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def checkout(request: HttpRequest) -> HttpResponse:
    """Contact form; POST places the orders. The form's key makes a second submit harmless."""
    found = find_cart(request)
    content = selectors.cart_content(found)
    if request.method == "POST" and found is not None:
        services.expire_orders()  # goods of overdue orders come back even where no timer runs
        # A second submit of a form finds an emptied cart: the key decides, not the cart.
        form = CheckoutForm(request.POST, has_fresh=content.has_fresh)
        if form.is_valid():
            try:
                orders = _place(request, form, found)
            except EmptyCartError as error:
                messages.info(request, str(error))
                return redirect("shop:cart")
            except PriceChangedError as error:
                # The sum shown now is the one the next submit agrees to.
                content = selectors.cart_content(found)
                form.data = form.data.copy()
                form.data["seen_total_fen"] = str(content.total_fen)
                form.add_error(None, str(error))
            except ShopError as error:
                content = selectors.cart_content(found)
                form.add_error(None, str(error))
            else:
                remember_orders(request, orders)
                return redirect(orders[0])
    elif not content.lines:
        messages.info(request, _("购物车是空的，请先选购商品。"))
        return redirect("shop:cart")
    else:
        form = CheckoutForm(
            has_fresh=content.has_fresh, initial={"key": uuid.uuid4(), "seen_total_fen": content.total_fen}
        )
    return render(request, "shop/checkout.html", {"form": form, "content": content})


def _place(request: HttpRequest, form: CheckoutForm, found: Cart) -> tuple[Order, ...]:
    data = form.cleaned_data
    return services.place_orders(
        key=data["key"],
        cart=found,
        contact=services.Contact(
            name=data["name"], phone=data["phone"], address=data["address"], note=data["note"]
        ),
        seen_total_fen=data["seen_total_fen"],
        user=request.user if request.user.is_authenticated else None,
    )


def _order_or_404(request: HttpRequest, number: str) -> tuple[Order, str]:
    order = selectors.order_by_number(number)
    access = order and selectors.order_access(
        order,
        user=request.user,
        held_token=held_token(request, number),
        link_token=request.GET.get("t", ""),
    )
    if order is None or access is None:
        # One answer for "not yours" and "not there": numbers can't be tried out.
        raise Http404(_("没有这个订单，或您不能查看它。"))
    return order, access


@never_cache
@require_GET
def order(request: HttpRequest, number: str) -> HttpResponse:
    """An order for its buyer (whole), by its link or for its seller (contact masked)."""
    found, access = _order_or_404(request, number)
    siblings = (
        found.checkout.orders.exclude(pk=found.pk).select_related("seller__grower")
        if access == "buyer"
        else []
    )
    link = (
        request.build_absolute_uri(f"{found.get_absolute_url()}?t={found.token}") if access == "buyer" else ""
    )
    return render(
        request,
        "shop/order.html",
        {"order": found, "access": access, "siblings": siblings, "order_link": link},
    )


@require_POST
def cancel(request: HttpRequest, number: str) -> HttpResponse:
    """The buyer calls an unpaid order off."""
    found, access = _order_or_404(request, number)
    if access != "buyer":
        raise PermissionDenied(_("只有下单的人可以取消订单。"))
    try:
        services.cancel_order(order=found)
    except ShopError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("订单已取消，商品已退回库存。"))
    return redirect(found)


@login_required
@never_cache
@require_GET
def seller(request: HttpRequest) -> HttpResponse:
    """Orders and stock of the booths a seller works for."""
    if not has_role(request.user, SELLER):
        raise PermissionDenied(_("这一页只给商家使用；如需开通，请联系市农业农村局。"))
    page = Paginator(selectors.orders_of_sellers(request.user), ORDERS_A_PAGE).get_page(
        request.GET.get("page")
    )
    return render(
        request,
        "shop/seller.html",
        {
            "sellers": selectors.sellers_of(request.user),
            "page_obj": page,
            "skus": selectors.stock_of_sellers(request.user),
        },
    )
