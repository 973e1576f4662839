"""Addresses of the monitoring portal, below /monitoring/."""

from __future__ import annotations

from django.urls import path

from monitoring import views

app_name = "monitoring"
urlpatterns = [
    path("", views.map_page, name="map"),
    path("curve/", views.curve_page, name="curve"),
    path("estimates/", views.estimates_page, name="estimates"),
    path("estimates.csv", views.estimates_csv, name="estimates_csv"),
    path("estimates/review/", views.review_estimates, name="review"),
    path("outlines.geojson", views.outlines, name="outlines"),
    path("parcels/<str:key>.geojson", views.parcels, name="parcels"),
    path("tiles/<str:key>/<slug:kind>/<int:z>/<int:x>/<int:y>.<str:fmt>", views.tile, name="tile"),
]
