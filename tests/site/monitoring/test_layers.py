"""Tiles, outlines and parcels: exact colours, the edges of the image, and who may fetch what."""

from __future__ import annotations

import io

import morecantile
import numpy as np
import pytest
import rasterio
from django.test import Client
from PIL import Image
from rasterio.warp import transform

from accounts.models import User
from monitoring.models import Estimate, Run
from monitoring.rasters import palette, pixel_points
from monitoring.services import accept_estimate, return_estimate

pytestmark = pytest.mark.django_db
TMS = morecantile.tms.get("WebMercatorQuad")
COLOURS = {1: (0xDD, 0xCC, 0x77), 2: (0xCC, 0x66, 0x77), 3: (0x88, 0x22, 0x55), 4: (0xDD, 0xDD, 0xDD)}
ZOOM = 15


def address(run: Run, kind: str, lon: float, lat: float, zoom: int = ZOOM, fmt: str = "png") -> str:
    tile = TMS.tile(lon, lat, zoom)
    return f"/monitoring/tiles/{run.key}/{kind}/{zoom}/{tile.x}/{tile.y}.{fmt}"


def middle(run: Run) -> tuple[float, float]:
    west, south, east, north = run.extent.extent
    return (west + east) / 2, (south + north) / 2


def colour_at(
    client: Client, run: Run, kind: str, lon: float, lat: float, fmt: str = "png"
) -> tuple[int, ...]:
    """Colour of the tile's pixel that holds a point."""
    tile = TMS.tile(lon, lat, ZOOM)
    answer = client.get(address(run, kind, lon, lat, fmt=fmt))
    assert answer.status_code == 200
    image = Image.open(io.BytesIO(answer.content)).convert("RGBA")
    assert image.size == (256, 256)
    box = TMS.xy_bounds(tile)
    x, y = TMS.xy(lon, lat)
    column = int((x - box.left) / (box.right - box.left) * 256)
    row = int((box.top - y) / (box.top - box.bottom) * 256)
    return image.getpixel((column, row))  # type: ignore[return-value]


def points(run: Run, kind: str, path: str) -> list[tuple[float, float, int]]:
    """Centres of some image pixels: longitude, latitude, value."""
    with rasterio.open(run.path / path) as image:
        data = image.read(1)
        found = []
        for row, column in ((10, 10), (30, 50), (48, 48), (70, 20), (90, 90), (60, 80), (20, 85)):
            x, y = image.xy(row, column)
            lon, lat = transform(image.crs, "EPSG:4326", [x], [y])
            found.append((lon[0], lat[0], int(data[row, column])))
    return found


@pytest.mark.parametrize("fmt", ["png", "webp"])
def test_values_have_exactly_their_class_colour(
    client: Client, bureau: User, imported: Run, fmt: str
) -> None:
    client.force_login(bureau)
    checked = set()
    for lon, lat, value in points(imported, "crop_type", "crop_type/T1/crop_type.tif"):
        # at zoom 15 a tile pixel is 3.9 m: the centre of a 10 m pixel is always its own colour
        assert colour_at(client, imported, "crop_type", lon, lat, fmt) == (*COLOURS[value], 255)
        checked.add(value)
    assert len(checked) >= 3


def test_nodata_and_outside_are_transparent(client: Client, bureau: User, imported: Run) -> None:
    client.force_login(bureau)
    with rasterio.open(imported.path / "crop_type/T1/crop_type.tif") as image:
        lon, lat = transform(image.crs, "EPSG:4326", *[[v] for v in image.xy(4, 4)])
    assert colour_at(client, imported, "crop_type", lon[0], lat[0])[3] == 0
    answer = client.get(address(imported, "crop_type", 107.0, 35.0))
    assert answer.status_code == 200
    assert np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))[..., 3].max() == 0
    assert len(answer.content) < 1500


def test_growth_is_coloured_and_what_could_not_be_monitored_is_hatched(
    client: Client, bureau: User, imported: Run
) -> None:
    client.force_login(bureau)
    lut = palette("growth", [])
    seen = set()
    for lon, lat, value in points(imported, "growth", "growth/T1/growth.tif"):
        if value != 6:
            assert colour_at(client, imported, "growth", lon, lat) == tuple(lut[value])
            seen.add(value)
    assert len(seen) >= 2
    image = Image.open(
        io.BytesIO(client.get(address(imported, "growth", *middle(imported))).content)
    ).convert("RGBA")
    pixels = np.asarray(image).reshape(-1, 4)
    hatch = (pixels == (0x8F, 0x8A, 0x7C, 255)).all(axis=1)
    assert hatch.any()


def test_low_zoom_reads_too(client: Client, bureau: User, imported: Run) -> None:
    client.force_login(bureau)
    answer = client.get(address(imported, "crop_type", *middle(imported), zoom=9))
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/png"


@pytest.mark.parametrize(
    "tail",
    ["crop_type/19/0/0.png", "crop_type/3/8/0.png", "crop_type/3/0/8.webp", "crop_type/3/1/1.tif",
        "index/3/1/1.png", "x/3/1/1.png"],
)  # fmt: skip
def test_addresses_that_are_no_tile(client: Client, bureau: User, imported: Run, tail: str) -> None:
    client.force_login(bureau)
    assert client.get(f"/monitoring/tiles/{imported.key}/{tail}").status_code == 404
    assert client.get(f"/monitoring/tiles/nothing.0123456789/{tail}").status_code == 404


def test_unaccepted_layers_are_for_staff_only(
    client: Client, bureau: User, county: User, others: dict[str, User], imported: Run, wheat: Estimate
) -> None:
    crop, growth = (address(imported, kind, *middle(imported)) for kind in ("crop_type", "growth"))
    for user in (None, others["editor"], others["seller"], others["buyer"]):
        if user:
            client.force_login(user)
        assert client.get(crop).status_code == 404
        assert client.get(f"/monitoring/parcels/{imported.key}.geojson").status_code == 404
    for user in (bureau, county, others["other county"]):
        client.force_login(user)
        assert client.get(crop).status_code == 200
    # an accepted area makes the crop map public, and nothing else
    accepted = accept_estimate(user=bureau, estimate=wheat)
    client.logout()
    answer = client.get(crop)
    assert answer.status_code == 200
    assert "public" in answer.headers["Cache-Control"]
    assert client.get(growth).status_code == 404
    # and taking it back closes it again
    return_estimate(user=bureau, estimate=accepted, reason="cloud")
    assert client.get(crop).status_code == 404


def test_tiles_are_validated_not_sent_again(client: Client, bureau: User, imported: Run) -> None:
    client.force_login(bureau)
    url = address(imported, "crop_type", *middle(imported))
    first = client.get(url)
    assert "private" in first.headers["Cache-Control"]
    again = client.get(url, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = client.get(
        address(imported, "growth", *middle(imported)), headers={"If-None-Match": first.headers["ETag"]}
    )
    assert other.status_code == 200


def test_outlines_carry_review_state_for_staff_only(
    client: Client, bureau: User, imported: Run, wheat: Estimate
) -> None:
    def states() -> dict[str, str]:
        document = client.get(f"/monitoring/outlines.geojson?run={imported.key}").json()
        return {
            feature["properties"]["code"]: feature["properties"]["state"] for feature in document["features"]
        }

    client.force_login(bureau)
    assert (states()["620826"], states()["620802"]) == ("todo", "none")
    for row in Estimate.objects.filter(run=imported, unit_adcode="620822"):
        accept_estimate(user=bureau, estimate=row)
    assert states()["620822"] == "accepted"
    client.logout()
    found = states()
    assert set(found.values()) == {"none"}
    assert len(found) == 51


def test_outlines_without_a_run(client: Client, units: None) -> None:
    document = client.get("/monitoring/outlines.geojson").json()
    jingning = next(f for f in document["features"] if f["properties"]["code"] == "620826")
    assert jingning["properties"]["name"] == "静宁县"
    assert jingning["properties"]["schematic"] is True
    assert jingning["geometry"]["type"] == "MultiPolygon"


def test_parcels_of_a_run(client: Client, bureau: User, imported: Run, parcels: int) -> None:
    client.force_login(bureau)
    document = client.get(f"/monitoring/parcels/{imported.key}.geojson").json()
    assert [feature["properties"]["code"] for feature in document["features"]] == ["P-001", "P-002"]


def test_a_pixels_curve_is_its_bands(imported: Run) -> None:
    with rasterio.open(imported.path / "index/T1/ndvi.tif") as image:
        lon, lat = transform(image.crs, "EPSG:4326", *[[v] for v in image.xy(10, 10)])
        expected = image.read()[:, 10, 10] / 1e4
    found = pixel_points(imported, lon[0], lat[0])
    assert [point.smoothed for point in found] == pytest.approx(list(expected), abs=1e-4)
    assert pixel_points(imported, 107.0, 35.0) == ()
    with rasterio.open(imported.path / "index/T1/ndvi.tif") as image:
        lon, lat = transform(image.crs, "EPSG:4326", *[[v] for v in image.xy(4, 4)])
    assert pixel_points(imported, lon[0], lat[0]) == ()  # nodata all season
