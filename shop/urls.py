"""Addresses of the online showroom, below /shop/."""

from __future__ import annotations

from django.urls import path

from shop import views

app_name = "shop"
urlpatterns = [
    path("", views.showroom, name="showroom"),
    path("p/<slug:slug>/", views.product, name="product"),
    path("cart/", views.cart, name="cart"),
    path("checkout/", views.checkout, name="checkout"),
    path("orders/<slug:number>/", views.order, name="order"),
    path("orders/<slug:number>/cancel/", views.cancel, name="cancel"),
    path("seller/", views.seller, name="seller"),
]
