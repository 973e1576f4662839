"""GCJ-02 ↔ WGS 84. Only boundaries and phone positions that come in as GCJ-02 pass here; nothing of ours
is stored so.

GCJ-02 shifts coordinates inside China by a published-in-practice polynomial of 300–700 m; about 390 m in
Pingliang. CGCS2000 (EPSG:4490) and WGS 84 differ by centimetres and need no step of ours.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Krasovsky 1940, on which the obfuscation is defined.
_SEMI_MAJOR: Final = 6378245.0
_ECCENTRICITY_2: Final = 0.00669342162296594323
_ITERATIONS: Final = 30
_TOLERANCE_DEGREES: Final = 1e-10  # 0.01 mm


def wgs84_to_gcj02(lon: Any, lat: Any) -> tuple[Array, Array]:
    """Shift WGS 84 degrees to GCJ-02.

    Parameters
    ----------
    lon, lat
        Degrees, any shape. Points outside China (72.004–137.8347° E,
        0.8293–55.8271° N) are returned unchanged, as GCJ-02 leaves them.
    """
    lon, lat = np.asarray(lon, float), np.asarray(lat, float)
    x, y = lon - 105.0, lat - 35.0
    waves = 20.0 * np.sin(6.0 * np.pi * x) + 20.0 * np.sin(2.0 * np.pi * x)
    d_lat = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * np.sqrt(np.abs(x))
    d_lat += (waves + 20.0 * np.sin(np.pi * y) + 40.0 * np.sin(np.pi / 3.0 * y)) * 2.0 / 3.0
    d_lat += (160.0 * np.sin(np.pi / 12.0 * y) + 320.0 * np.sin(np.pi / 30.0 * y)) * 2.0 / 3.0
    d_lon = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * np.sqrt(np.abs(x))
    d_lon += (waves + 20.0 * np.sin(np.pi * x) + 40.0 * np.sin(np.pi / 3.0 * x)) * 2.0 / 3.0
    d_lon += (150.0 * np.sin(np.pi / 12.0 * x) + 300.0 * np.sin(np.pi / 30.0 * x)) * 2.0 / 3.0
    radians = np.radians(lat)
    magic = 1.0 - _ECCENTRICITY_2 * np.sin(radians) ** 2
    meridian = _SEMI_MAJOR * (1.0 - _ECCENTRICITY_2) / magic**1.5
    d_lat = np.degrees(d_lat / meridian)
    d_lon = np.degrees(d_lon / (_SEMI_MAJOR / np.sqrt(magic) * np.cos(radians)))
    inside = (lon >= 72.004) & (lon <= 137.8347) & (lat >= 0.8293) & (lat <= 55.8271)
    return np.where(inside, lon + d_lon, lon), np.where(inside, lat + d_lat, lat)


def gcj02_to_wgs84(lon: Any, lat: Any) -> tuple[Array, Array]:
    """Invert `wgs84_to_gcj02` by fixed-point iteration; the round trip closes to well under a metre.

    Examples
    --------
    >>> lon, lat = gcj02_to_wgs84(*wgs84_to_gcj02(106.665, 35.544))
    >>> round(float(lon), 7), round(float(lat), 7)
    (106.665, 35.544)
    """
    target_lon, target_lat = np.asarray(lon, float), np.asarray(lat, float)
    guess_lon, guess_lat = target_lon.copy(), target_lat.copy()
    for _ in range(_ITERATIONS):
        shifted_lon, shifted_lat = wgs84_to_gcj02(guess_lon, guess_lat)
        error_lon, error_lat = shifted_lon - target_lon, shifted_lat - target_lat
        guess_lon, guess_lat = guess_lon - error_lon, guess_lat - error_lat
        if max(np.abs(error_lon).max(initial=0.0), np.abs(error_lat).max(initial=0.0)) < _TOLERANCE_DEGREES:
            break
    return guess_lon, guess_lat
