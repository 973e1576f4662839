"""A small folder of products as the twin makes them, and one radar product of level GRD; made once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint

from eo_pipeline.simulate import twin
from eo_pipeline.simulate.archive import Archive, serve

GRD = "S1A_IW_GRDH_1SDV_20220203T224152_20220203T224217_041784_04F8E5_2B9C.SAFE"
_MANIFEST = """<?xml version="1.0" encoding="UTF-8"?>
<xfdu:XFDU xmlns:gml="http://www.opengis.net/gml" xmlns:xfdu="urn:ccsds:schema:xfdu:1"
 xmlns:safe="http://www.esa.int/safe/sentinel-1.0" xmlns:s1="http://www.esa.int/safe/sentinel-1.0/sentinel-1">
  <metadataSection>
    <safe:orbitReference>
      <safe:orbitNumber type="start">41784</safe:orbitNumber>
      <safe:relativeOrbitNumber type="start">62</safe:relativeOrbitNumber>
      <safe:extension><s1:orbitProperties><s1:pass>ASCENDING</s1:pass></s1:orbitProperties></safe:extension>
    </safe:orbitReference>
    <safe:acquisitionPeriod>
      <safe:startTime>2022-02-03T22:41:52.104213</safe:startTime>
      <safe:stopTime>2022-02-03T22:42:17.103129</safe:stopTime>
    </safe:acquisitionPeriod>
    <safe:footPrint srsName="http://www.opengis.net/gml/srs/epsg.xml#4326">
      <gml:coordinates>34.5,107.3 34.9,104.5 36.4,104.2 36.0,107.1</gml:coordinates>
    </safe:footPrint>
  </metadataSection>
</xfdu:XFDU>
"""

_CORNERS = [
    GroundControlPoint(row, column, lon, lat)
    for row, column, lon, lat in (
        (0, 0, 104.5, 34.9),
        (0, 64, 107.3, 34.5),
        (64, 0, 104.2, 36.4),
        (64, 64, 107.1, 36.0),
    )
]


def make_grd(folder: Path) -> Path:
    """A GRD product: manifest, annotations and 64 x 64 pixels of each polarisation."""
    root = folder / GRD
    (root / "annotation/calibration").mkdir(parents=True)
    (root / "measurement").mkdir()
    (root / "manifest.safe").write_text(_MANIFEST, encoding="utf-8")
    for number, polarisation in enumerate(("vv", "vh"), 1):
        stem = f"s1a-iw-grd-{polarisation}-20220203t224152-20220203t224217-041784-04f8e5-00{number}"
        (root / f"annotation/{stem}.xml").write_text("<product/>")
        (root / f"annotation/calibration/calibration-{stem}.xml").write_text("<calibration/>")
        (root / f"annotation/calibration/noise-{stem}.xml").write_text("<noise/>")
        profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 1, "dtype": "uint16"}
        profile |= {"gcps": _CORNERS, "crs": "EPSG:4326"}
        with rasterio.open(root / f"measurement/{stem}.tiff", "w", **profile) as raster:
            raster.write(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64), 1)
    return root


@pytest.fixture(scope="session")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Optical products of baselines 02.14 and 05.10 in two tiles, radar RTC and GRD."""
    out = tmp_path_factory.mktemp("archived") / "twin"
    options = twin.TwinOptions(size_km=0.6, seasons=1, year=2022, seed=5, every=40, format="safe")
    twin.simulate(out, options)
    make_grd(out / "archive" / "sentinel-1-grd")
    return out / "archive"


@pytest.fixture(scope="session")
def names(products: Path) -> list[str]:
    """Names of the optical products in time."""
    return sorted((path.name for path in products.glob("S2?_MSIL2A_*.SAFE")), key=lambda name: name[11:])


@pytest.fixture(scope="module")
def archive(products: Path) -> Iterator[Archive]:
    """Without faults."""
    with serve(products) as running:
        yield running


@pytest.fixture
def few(products: Path, names: list[str], tmp_path: Path) -> Path:
    """Three of the products in a folder of their own."""
    for name in names[-3:]:
        shutil.copytree(products / name, tmp_path / "few" / name)
    return tmp_path / "few"
