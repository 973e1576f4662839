"""GCJ-02: known size of the shift, and a round trip below a metre (far below: a centimetre)."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod

from places.datum import gcj02_to_wgs84, wgs84_to_gcj02

GEOD = Geod(ellps="WGS84")


@given(lon=st.floats(105.3, 107.9), lat=st.floats(34.8, 35.8))
def test_inverse_closes_within_a_centimetre(lon: float, lat: float) -> None:
    back_lon, back_lat = gcj02_to_wgs84(*wgs84_to_gcj02(lon, lat))
    distance = GEOD.inv(lon, lat, float(back_lon), float(back_lat))[2]
    assert distance < 0.01


@given(lon=st.floats(73.0, 135.0), lat=st.floats(3.0, 53.0))
def test_inverse_closes_all_over_china(lon: float, lat: float) -> None:
    back_lon, back_lat = gcj02_to_wgs84(*wgs84_to_gcj02(lon, lat))
    assert GEOD.inv(lon, lat, float(back_lon), float(back_lat))[2] < 1.0


def test_shift_in_pingliang_is_about_390_metres() -> None:
    lon, lat = wgs84_to_gcj02(106.665, 35.544)
    azimuth, _, metres = GEOD.inv(106.665, 35.544, float(lon), float(lat))
    assert 300 < metres < 500
    # GCJ-02 lies east of WGS 84 here; an inverse with the wrong sign would double the error.
    assert 60 < azimuth < 135


def test_arrays_keep_their_shape_and_points_abroad_stay() -> None:
    lon, lat = wgs84_to_gcj02(np.array([[106.0, 11.6]]), np.array([[35.0, 48.1]]))
    assert lon.shape == (1, 2)
    assert (lon[0, 1], lat[0, 1]) == (11.6, 48.1)
    assert lon[0, 0] != 106.0
