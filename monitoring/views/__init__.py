"""Views of the monitoring portal."""

from monitoring.views.estimates import estimates_csv, estimates_page, review_estimates
from monitoring.views.layers import outlines, parcels, tile
from monitoring.views.portal import curve_page, map_page

__all__ = [
    "curve_page",
    "estimates_csv",
    "estimates_page",
    "map_page",
    "outlines",
    "parcels",
    "review_estimates",
    "tile",
]
