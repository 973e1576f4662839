"""Where GRD shows the ground: against the places that ESA's own annotation gives, and with broken ones."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from eo_pipeline.errors import SourceError
from eo_pipeline.scenes.range_doppler import read_geometry, undulation, upright


@pytest.fixture(scope="module")
def annotation(shared_data: Path) -> bytes:
    """A real one: the eastern Alps, 2021-04-01, from above."""
    return next((shared_data / "safe-metadata/sentinel1").rglob("*-vv-*.xml")).read_bytes()


@pytest.mark.realdata
def test_the_places_that_esa_tells_are_found_on_their_lines_and_pixels(annotation: bytes) -> None:
    geometry = read_geometry(annotation, "real.xml")
    assert (geometry.shape, geometry.heading) == ((16685, 25788), "Descending")
    points = [
        {part.tag: float(part.text or "") for part in point if part.tag != "azimuthTime"}
        for point in ElementTree.fromstring(annotation).iter("geolocationGridPoint")
    ]
    assert len(points) == 210 and max(point["height"] for point in points) > 2800
    aside = []
    for point in points:
        corners = np.broadcast_to(upright(point["longitude"], point["latitude"]), (2, 2, 6))
        line, pixel = geometry.find(corners, np.array([[point["height"]]]))
        aside.append((line[0, 0] - point["line"], pixel[0, 0] - point["pixel"]))
    found = np.array(aside)[np.isfinite(aside).all(axis=1)]
    assert len(found) > 160  # those on the very border may lie a millimetre beyond it
    # pixels of 10 m; ESA's table takes the nearest conversion to ground range, here two are mixed
    assert np.abs(found[:, 0]).max() < 0.25 and np.abs(found[:, 1]).max() < 1.5
    assert np.sqrt((found**2).mean(axis=0)).max() < 0.5


@pytest.mark.realdata
def test_a_window_is_as_exact_as_each_of_its_points(annotation: bytes) -> None:
    geometry = read_geometry(annotation, "real.xml")
    # 2.6 km, heights of 500 to 2500 m
    lon, lat = np.meshgrid([12.0, 12.034], [47.0, 46.977])
    heights = np.random.default_rng(1).uniform(500, 2500, (256, 256))
    lines, pixels = geometry.find(upright(lon, lat), heights)
    for y, x in ((0, 0), (128, 128), (255, 17), (60, 200)):
        here = upright(12 + 0.034 * (x + 0.5) / 256, 47 - 0.023 * (y + 0.5) / 256)
        line, pixel = geometry.find(np.broadcast_to(here, (2, 2, 6)), heights[y : y + 1, x : x + 1])
        assert abs(line[0, 0] - lines[y, x]) < 0.06 and abs(pixel[0, 0] - pixels[y, x]) < 0.06
    # 100 m more of height is 100 m / tan of the incidence nearer to the satellite
    higher = geometry.find(upright(lon, lat), heights + 100)[1] - pixels
    assert np.abs(-10 / np.tan(np.radians(np.array([31.5, 33.5])))).round(1).tolist() == [16.3, 15.1]
    assert (higher > -16.3).all() and (higher < -15.1).all()
    # without heights those between the table's own are taken
    assert (np.abs(geometry.ground_heights(upright(lon, lat)) - 2250) < 150).all()
    heights[3, 4] = np.nan
    assert np.isnan(geometry.find(upright(lon, lat), heights)[0]).sum() == 1


@pytest.mark.realdata
def test_over_the_date_line_the_outline_stays_in_one_piece(annotation: bytes) -> None:
    root = ElementTree.fromstring(annotation)
    for place in root.iter("longitude"):
        place.text = str((float(place.text or "") + 169 + 180) % 360 - 180)
    outline = read_geometry(ElementTree.tostring(root), "moved.xml").outline
    assert outline[:, 0].min() < -180 < outline[:, 0].max()
    assert np.ptp(outline[:, 0]) < 5


@pytest.mark.realdata
def test_a_broken_annotation_is_refused(annotation: bytes) -> None:
    with pytest.raises(SourceError, match=r"cut\.xml is no whole XML"):
        read_geometry(annotation[:-900], "cut.xml")
    for tag, told in (
        ("orbitList", "0 positions of the orbit"),
        ("geolocationGridPointList", "0 places"),
        ("coordinateConversionList", "0 conversions"),
        ("imageInformation", "no productFirstLineUtcTime"),
    ):
        root = ElementTree.fromstring(annotation)
        element = next(root.iter(tag))
        element.clear()
        with pytest.raises(SourceError, match=told):
            read_geometry(ElementTree.tostring(root), "made.xml")
    root = ElementTree.fromstring(annotation)
    points = next(root.iter("geolocationGridPointList"))
    points.remove(points[7])
    with pytest.raises(SourceError, match="geometry cannot be read"):
        read_geometry(ElementTree.tostring(root), "made.xml")
    late = annotation.replace(
        b"<productFirstLineUtcTime>2021-04-01T05", b"<productFirstLineUtcTime>2021-04-01T09"
    )
    with pytest.raises(SourceError, match="its orbit does not span the image"):
        read_geometry(late, "made.xml")
    with pytest.raises(SourceError, match=r"made\.xml: its geometry cannot be read \(could not convert"):
        read_geometry(annotation.replace(b"4.299854769000000e+06", b"far"), "made.xml")
    with pytest.raises(SourceError, match=r"made\.xml: its geometry cannot be read \(.* in order of time"):
        read_geometry(annotation.replace(b"4.299854769000000e+06", b"nan"), "made.xml")


def test_the_sea_lies_where_egm96_puts_it() -> None:
    # NGA's calculator: Pingliang −36.0, Everest −28.8, south of Sri Lanka −104.2, the eastern Alps 49.1
    found = undulation([106.7, 86.92, 78.0, 12.4], [35.5, 27.98, 4.0, 47.1])
    assert np.allclose(found, [-36.0, -28.8, -104.2, 49.1], atol=1.5)
    assert np.allclose(
        undulation([180.0, -180.0, 0.0, 90.0], [10.0, 10.0, 90.0, 90.0])[::2],
        [undulation(-180, 10), 13.6],
        atol=0.3,
    )
    assert undulation(179.999, -89.999).shape == ()
