"""STAC items as products: which asset is which band, where it lies, and what the provider says of it.

Pure functions on the items' JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urljoin, urlsplit

from eo_pipeline.acquire.checks import multihash
from eo_pipeline.acquire.products import Collection, Product, RemoteFile
from eo_pipeline.acquire.sources.catalogue import (
    NATIVE,
    direction_of,
    footprint_of,
    read_name,
    read_time,
    size_of,
)
from eo_pipeline.errors import ArchiveError

#: Names and common names of bands in STAC, as Sentinel-2 calls them. The common name "rededge" belongs to
#: three bands and is therefore left out.
_BANDS: Final[Mapping[str, str]] = {
    "coastal": "B01", "blue": "B02", "green": "B03", "red": "B04", "rededge1": "B05", "rededge2": "B06",
    "rededge3": "B07", "rededge071": "B05", "rededge075": "B06", "rededge078": "B07", "nir": "B08",
    "nir08": "B8A", "nir09": "B09", "swir16": "B11", "swir22": "B12", "scl": "SCL",
}  # fmt: skip
_METADATA: Final[Mapping[str, tuple[str, str]]] = {
    "product_metadata": ("MTD_MSIL2A", "MTD_MSIL2A.xml"),
    "granule_metadata": ("MTD_TL", "MTD_TL.xml"),
    "safe_manifest": ("manifest", "manifest.safe"),
}
_RADAR: Final = ("vv", "vh", "hh", "hv")
#: A cell of Copernicus DEM by its south-western corner in whole degrees.
_CELL: Final = re.compile(r"Copernicus_DSM_COG_10_([NS]\d{2})_00_([EW]\d{3})_00_DEM")
#: Buckets that bill no reader and need no account, by their address over https.
_OPEN: Final = {"s3://copernicus-dem-30m/": "https://copernicus-dem-30m.s3.eu-central-1.amazonaws.com/"}
_KEPT: Final = (
    "s2:", "earthsearch:", "proj:", "view:", "sat:", "sar:", "s1:", "mgrs:", "grid:", "processing:",
    "eo:cloud_cover", "eo:snow_cover", "platform", "datetime", "created", "updated", "sentinel:", "product:",
    "eopf:datastrip_id", "simulated",
)  # fmt: skip
_PATHS: Final = dict(_METADATA.values())


def product_of_item(item: Mapping[str, Any], *, source: str, collection: Collection) -> Product:
    """A STAC item as a product, whoever's it is.

    The time of sensing is that of the product's own name where the item tells it: providers write either the
    start of the data take or the time of the granule, and products of one observation must be known as such.

    Raises
    ------
    ArchiveError
        The item lacks its id or time.
    """
    properties = item.get("properties") or {}
    try:
        name = str(item["id"])
        taken = str(properties.get("datetime") or properties["start_datetime"])
        assets = cast(Mapping[str, Mapping[str, Any]], item["assets"])
    except (KeyError, TypeError) as error:
        raise ArchiveError(
            f"{source} lists an item without {error}: {str(item)[:200]!r}. Its answers have changed; please "
            "report it."
        ) from error
    said = str(properties.get("s2:product_uri") or properties.get("sentinel:product_id") or name)
    told = read_name(said)
    files = _files(item, assets)
    sizes = [file.size for file in files if file.key != "item"]
    orbit = properties.get("sat:relative_orbit")
    cloud = properties.get("eo:cloud_cover")
    baseline = str(properties.get("s2:processing_baseline") or "")
    if not baseline and collection == "sentinel-2-l2a":
        baseline = told.baseline or str(properties.get("processing:version") or "")
    kept = {key: value for key, value in properties.items() if key.startswith(_KEPT)}
    kept["raster:bands"] = _rasters(assets)
    if href := _self(item):
        kept["self"] = href
    return Product(
        source=source,
        id=name,
        name=name,
        collection=collection,
        tile=_tile(properties) or told.tile or _cell(name),
        sensed=told.sensed or read_time(taken, source=source),
        footprint=footprint_of(item.get("geometry")),
        baseline=baseline,
        orbit=int(orbit) if orbit is not None else told.orbit,
        direction=direction_of(properties.get("sat:orbit_state")),
        cloud_cover=None if cloud is None else float(cloud),
        size=None if None in sizes or not sizes else sum(cast(list[int], sizes)),
        properties=kept,
        files=files,
    )


def _tile(properties: Mapping[str, Any]) -> str:
    grid = str(properties.get("grid:code") or "")
    if grid.startswith("MGRS-"):
        return grid.removeprefix("MGRS-").rjust(5, "0")
    if tile := properties.get("s2:mgrs_tile"):
        return str(tile)
    zone, band, square = (
        properties.get(f"mgrs:{part}") for part in ("utm_zone", "latitude_band", "grid_square")
    )
    return f"{int(zone):02d}{band}{square}" if zone and band and square else ""


def _cell(name: str) -> str:
    found = _CELL.fullmatch(name)
    return found[1] + found[2] if found else ""


def _self(item: Mapping[str, Any]) -> str:
    links = item.get("links") or ()
    return next((str(link["href"]) for link in links if link.get("rel") == "self"), "")


def _files(item: Mapping[str, Any], assets: Mapping[str, Mapping[str, Any]]) -> tuple[RemoteFile, ...]:
    base = _self(item)
    found: dict[str, RemoteFile] = {}
    for key, asset in _keyed(assets).items():
        href = _web(asset, base)
        if not href:
            continue
        path = _PATHS.get(key) or key + _ending(href)
        found[key] = RemoteFile(
            key, path, href, size_of(asset.get("file:size")), multihash(str(asset.get("file:checksum") or ""))
        )
    if base.startswith(("http://", "https://")):
        found["item"] = RemoteFile("item", "item.json", base)
    return tuple(found[key] for key in sorted(found))


def _keyed(assets: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Assets by our keys: first by their own names, then by the name of the one band they hold.

    An asset "nir" that says it holds B8A is B8A.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for name, asset in assets.items():
        key = _key_by_name(name)
        if not key or key in found or (name in _BANDS and _key_by_band(asset) not in ("", key)):
            continue
        found[key] = asset
    by_band: dict[str, list[Mapping[str, Any]]] = {}
    for asset in assets.values():
        if _raster(asset) and (key := _key_by_band(asset)) and key not in found:
            by_band.setdefault(key, []).append(asset)
    for key, candidates in by_band.items():
        found[key] = min(candidates, key=lambda a: (_gsd(a) != NATIVE.get(key), _gsd(a)))
    return found


def _key_by_name(name: str) -> str:
    plain = name.replace("-", "_")
    if plain in _METADATA:
        return _METADATA[plain][0]
    if name in _RADAR:
        return name
    if name in ("data", "dem", "elevation"):
        return "DEM"
    if match := re.fullmatch(r"(?P<band>B\d[\dA]|SCL)(?:_(?P<metres>\d{2})m)?", name):
        metres = match["metres"]
        return match["band"] if not metres or NATIVE.get(match["band"]) == int(metres) else ""
    if re.fullmatch(r"schema_(product|calibration|noise)_[vh]{2}", plain):
        return name.replace("_", "-")
    return _BANDS.get(name, "")


def _key_by_band(asset: Mapping[str, Any]) -> str:
    bands: Sequence[Mapping[str, Any]] = asset.get("eo:bands") or asset.get("bands") or ()
    if len(bands) != 1:
        return ""
    words = [bands[0].get(word) for word in ("name", "common_name", "eo:common_name", "description")]
    keys = [word if word in NATIVE else _BANDS.get(str(word), "") for word in words if word]
    return next((str(key) for key in keys if key), "")


def _raster(asset: Mapping[str, Any]) -> bool:
    return str(asset.get("type") or "image/tiff").startswith(("image/tiff", "image/jp2", "image/vnd.stac"))


def _gsd(asset: Mapping[str, Any]) -> float:
    value = asset.get("gsd") or next((b.get("gsd") for b in asset.get("bands") or () if b.get("gsd")), None)
    return float(value) if value else 999.0


def _web(asset: Mapping[str, Any], base: str) -> str:
    """The address over https; empty where the file is only in a bucket that bills the reader."""
    alternate = asset.get("alternate") or {}
    https = alternate.get("https") or {} if isinstance(alternate, Mapping) else {}
    href = str(asset.get("href") or "")
    for bucket, address in _OPEN.items():
        if href.startswith(bucket):
            return address + href.removeprefix(bucket)
    for found in (href, str(https.get("href") or "")):
        if found.startswith(("http://", "https://")):
            return found
    if href and "://" not in href and base.startswith(("http://", "https://")):
        return urljoin(base, href)
    return ""


def _ending(href: str) -> str:
    suffix = Path(urlsplit(href).path).suffix.lower()
    if suffix in (".tif", ".tiff"):
        return ".tif"
    # CDSE's addresses end in "Nodes(…_B04_10m.jp2)/$value"
    inner = re.search(r"\.(jp2|tiff?|xml)\)?(?:/\$value)?$", urlsplit(href).path)
    return f".{inner[1].replace('tiff', 'tif')}" if inner else suffix or ".tif"


def _rasters(assets: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Scale, offset and nodata of each band as the provider tells them."""
    found = {}
    for key, asset in sorted(_keyed(assets).items()):
        bands = asset.get("raster:bands") or asset.get("bands") or [{}]
        first = bands[0] if bands else {}
        facts = {}
        for word in ("scale", "offset", "nodata"):
            values = (
                first.get(word),
                first.get(f"raster:{word}"),
                asset.get(f"raster:{word}"),
                asset.get(word),
            )
            value = next((v for v in values if v is not None), None)
            if value is not None:
                facts[word] = value
        if facts:
            found[key] = facts
    return found
