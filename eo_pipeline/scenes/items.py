"""What a STAC item says of a Sentinel-2 L2A product: Earth Search (v1, collection 1, and the old v0),
Planetary Computer, CDSE, and whatever stactools made.

Items are believed in what they say of place, time and files. What they say of the offset is handed on to
`radiometry` as one source among four.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from eo_pipeline.acquire.products import Product, strip_in
from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Grid
from eo_pipeline.mgrs import cut_at_date_line
from eo_pipeline.scenes.safe import ProductFacts, read_metadata
from eo_pipeline.scenes.sentinel2 import (
    METADATA_FILES,
    NATIVE_METRES,
    BandFile,
    Sentinel2Product,
    finest_first,
    over_tile,
    read_name,
    tile_grid,
    utm_wkt,
)

#: Names Earth Search gives to bands.
COMMON_NAMES: Final[Mapping[str, str]] = {
    "coastal": "B01", "blue": "B02", "green": "B03", "red": "B04", "rededge1": "B05", "rededge2": "B06",
    "rededge3": "B07", "nir": "B08", "nir08": "B8A", "nir09": "B09", "swir16": "B11", "swir22": "B12",
    "scl": "SCL",
}  # fmt: skip
_KEY: Final = re.compile(r"(?P<band>[A-Za-z0-9]+?)(?:_(?P<metres>10|20|60)m)?")
_TILE: Final = re.compile(r"\d{2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V]")


def load_item(file: Path) -> dict[str, Any]:
    """Read an item's file.

    Raises
    ------
    SourceError
        No such file, or it is no STAC item.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SourceError(f"{file} cannot be read as a STAC item ({error}). Fetch it again.") from error
    parts = [found.get(key, {}) for key in ("assets", "properties")] if isinstance(found, dict) else []
    if not any(parts) or not all(isinstance(part, dict) for part in parts):
        raise SourceError(f"{file} is no STAC item: it has neither assets nor properties. Fetch it again.")
    return {"assets": {}, **found}


def read_item(
    item: Mapping[str, Any],
    *,
    folder: Path | None = None,
    provider: str = "",
) -> Sentinel2Product:
    """The product an item describes.

    Parameters
    ----------
    item : mapping
        The STAC item.
    folder : Path, optional
        Where its rasters lie; assets without a file there are left out. Without it they go by the addresses
        the item gives.
    provider : str
        Who wrote the rasters, where that is known better than the item tells.

    Raises
    ------
    SourceError
        It is no item of Sentinel-2 L2A, or lacks its place, time or tile.
    """
    where = str(folder or item.get("id", "item"))
    properties = item.get("properties") or {}
    name = _name(item, properties)
    named = read_name(name)
    kind = str(properties.get("s2:product_type") or properties.get("product:type") or "")
    if (named and named.level == "L1C") or "1C" in kind.upper():
        raise SourceError(
            f"{where}: {name} is of level L1C (top of atmosphere). Fetch the L2A product of the same "
            "observation."
        )
    tile = _tile(properties, named.tile if named else "", where)
    facts = _esa_metadata(folder)
    bands = finest_first(_bands(item, folder))
    return Sentinel2Product(
        name=name,
        simulated="simulated" in properties,
        path=str(folder) if folder else str(item.get("id", name)),
        provider=provider or provider_of(item),
        platform=_platform(properties, named.platform if named else ""),
        # an item's datetime is that of the tile's middle; observations are told apart by the datatake's
        sensed=named.sensed if named else _time(properties.get("datetime"), where),
        baseline=_baseline(properties) or (named.baseline if named else ""),
        orbit=_whole(properties.get("sat:relative_orbit")) or (named.orbit if named else None),
        direction=_direction(properties.get("sat:orbit_state")),
        tile=tile,
        grid=_grid(item, properties, tile, where),
        bands=bands,
        quantification=facts.quantification if facts else 10_000.0,
        offsets=facts.offsets if facts else None,
        special=facts.special if facts else {"NODATA": 0, "SATURATED": 65535},
        footprint=over_tile(_geometry(item, where), tile, where),
        cloud_cover=_number(properties.get("eo:cloud_cover")),
        empty_share=_number(properties.get("s2:nodata_pixel_percentage")),
        sun=_sun(properties),
        applied=_flag(properties.get("earthsearch:boa_offset_applied")),
        advertised=_advertised(item),
        strip=facts.strip if facts else strip_in(properties),
    )


def read_remote(product: Product, paths: Mapping[str, str]) -> Sentinel2Product:
    """A product of an archive whose bands are read in windows, without a download.

    Parameters
    ----------
    product : Product
        As the archive's `search` gave it.
    paths : mapping
        The path of each band's raster, as `Archive.open` gives them.
    """
    named = read_name(product.name) or read_name(str(product.properties.get("s2:product_uri", "")))
    bands = {
        key: [BandFile(key, path, NATIVE_METRES[key])] for key, path in paths.items() if key in NATIVE_METRES
    }
    where = f"{product.source}: {product.name}"
    tile = product.tile or (named.tile if named else "")
    if not _TILE.fullmatch(tile):
        raise SourceError(f"{where} does not tell its tile; it cannot be placed.")
    uri = str(product.properties.get("s2:product_uri") or product.name)
    return Sentinel2Product(
        name=uri.removesuffix(".SAFE") + ".SAFE" if read_name(uri) else product.name,
        path=product.id,
        simulated="simulated" in product.properties,
        provider=product.source,
        platform=named.platform if named else product.name[:3].upper(),
        sensed=named.sensed if named else product.sensed,
        baseline=product.baseline or (named.baseline if named else ""),
        orbit=product.orbit,
        direction=product.direction,
        tile=tile,
        grid=tile_grid(tile),
        bands=finest_first(bands),
        quantification=10_000.0,
        offsets=None,
        special={"NODATA": 0, "SATURATED": 65535},
        footprint=product.footprint,
        cloud_cover=product.cloud_cover,
        sun=_sun(product.properties),
        applied=_flag(product.properties.get("earthsearch:boa_offset_applied")),
        strip=product.strip,
    )


def provider_of(item: Mapping[str, Any]) -> str:
    """Who wrote an item's rasters; "" where nothing tells.

    Addresses are asked last: a mirror has its own.
    """
    collection = str(item.get("collection") or "")
    properties, assets = item.get("properties") or {}, item.get("assets") or {}
    hrefs = " ".join(str(asset.get("href", "")) for asset in assets.values())
    signs = (
        (collection == "sentinel-2-c1-l2a", "earth-search-c1"),
        (collection == "sentinel-s2-l2a-cogs", "earth-search-v0"),
        (any(key.startswith("earthsearch:") for key in properties), "earth-search"),
        ("s2:mgrs_tile" in properties, "planetary-computer"),
        ("B02_10m" in assets and ("processing:version" in properties or collection), "cdse"),
        ("e84-earth-search" in hrefs, "earth-search-c1"),
        ("sentinel-cogs.s3" in hrefs, "earth-search"),
        ("blob.core.windows.net/sentinel2-l2" in hrefs, "planetary-computer"),
        ("dataspace.copernicus.eu" in hrefs or "s3://eodata/" in hrefs, "cdse"),
    )
    return next((name for found, name in signs if found), "")


def _bands(item: Mapping[str, Any], folder: Path | None) -> dict[str, list[BandFile]]:
    local = _local_files(folder) if folder else {}
    found: dict[str, list[BandFile]] = {}
    for key, asset in item["assets"].items():
        match = _KEY.fullmatch(str(key))
        if not match or not isinstance(asset, Mapping):
            continue
        band = _told_band(asset) or COMMON_NAMES.get(match["band"], match["band"].upper())
        if band not in NATIVE_METRES:
            continue
        href = str(asset.get("href") or "")
        metres = int(match["metres"] or 0) or _metres(asset, band)
        if folder is None:
            path = href.removeprefix("file://")
        else:
            place = _local(local, folder, href, str(key), band)
            if place is None:
                continue
            path = str(place)
        found.setdefault(band, []).append(BandFile(band, path, metres))
    for file in local.values():  # rasters an item of few words does not list
        band = file.stem.upper()
        if band in NATIVE_METRES and band not in found:
            found[band] = [BandFile(band, str(file), NATIVE_METRES[band])]
    return found


def _told_band(asset: Mapping[str, Any]) -> str:
    """The band an asset itself says it holds: an asset "nir" may be B8A."""
    bands: Any = asset.get("eo:bands") or asset.get("bands") or ()
    name = str(bands[0].get("name", "")) if len(bands) == 1 and isinstance(bands[0], Mapping) else ""
    return name if name in NATIVE_METRES else ""


def _local_files(folder: Path) -> dict[str, Path]:
    return {
        file.name.lower(): file
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in (".tif", ".tiff", ".jp2")
    }


def _local(local: Mapping[str, Path], folder: Path, href: str, key: str, band: str) -> Path | None:
    name = PurePosixPath(unquote(urlsplit(href).path)).name.lower()
    if name in local:
        return local[name]
    direct = folder / href
    if href and "://" not in href and direct.is_file():
        return direct
    for stem in (key, band):
        for suffix in (".tif", ".tiff", ".jp2"):
            if (stem + suffix).lower() in local:
                return local[(stem + suffix).lower()]
    return None


def _metres(asset: Mapping[str, Any], band: str) -> int:
    # the nominal size by the item; rasters are never trusted to have it
    transform = asset.get("proj:transform")
    if isinstance(transform, list) and transform and transform[0] in (10, 20, 60):
        return int(transform[0])
    gsd = asset.get("gsd")
    return int(gsd) if gsd in (10, 20, 60) else NATIVE_METRES[band]


def _esa_metadata(folder: Path | None) -> ProductFacts | None:
    if folder is None:
        return None
    for file in sorted(folder.rglob("*.xml")):
        if file.name in (*METADATA_FILES, "product_metadata.xml"):
            return read_metadata(file.read_bytes(), str(file))
    return None


def _name(item: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    for text in (properties.get("s2:product_uri"), properties.get("sentinel:product_id"), item.get("id")):
        if text and read_name(str(text)):
            return str(text).removesuffix(".SAFE") + ".SAFE"
    return str(item.get("id") or "")


def _tile(properties: Mapping[str, Any], named: str, where: str) -> str:
    grid = str(properties.get("grid:code") or "").removeprefix("MGRS-")
    parts = "".join(
        str(properties.get(f"mgrs:{key}", "")) for key in ("utm_zone", "latitude_band", "grid_square")
    )
    for text in (grid, str(properties.get("s2:mgrs_tile") or ""), parts, named):
        if _TILE.fullmatch(text.zfill(5)):
            return text.zfill(5)
    raise SourceError(f"{where} does not tell its tile (grid:code, s2:mgrs_tile); it cannot be placed.")


def _grid(item: Mapping[str, Any], properties: Mapping[str, Any], tile: str, where: str) -> Grid:
    code = properties.get("proj:code") or (
        f"EPSG:{properties['proj:epsg']}" if properties.get("proj:epsg") else None
    )
    grid = tile_grid(tile)
    if code is not None:
        utm_wkt(str(code), tile, where)
    for asset in item["assets"].values():
        shape, transform = asset.get("proj:shape"), asset.get("proj:transform")
        if isinstance(transform, list) and isinstance(shape, list) and transform[0] == 10:
            place = (10.0, 0.0, float(transform[2]), 0.0, -10.0, float(transform[5]))
            return Grid(grid.crs, place, int(shape[1]), int(shape[0]))
    return grid


def _geometry(item: Mapping[str, Any], where: str) -> str:
    import shapely
    import shapely.geometry

    if not item.get("geometry"):
        return ""
    try:
        geometry = shapely.make_valid(shapely.geometry.shape(item["geometry"]))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise SourceError(
            f"{where}: the item's geometry cannot be read ({error}). Fetch it again."
        ) from error
    return str(cut_at_date_line(geometry).wkt)


def _advertised(item: Mapping[str, Any]) -> float | None:
    for key, asset in item["assets"].items():
        match = _KEY.fullmatch(str(key))
        if match and COMMON_NAMES.get(match["band"], match["band"].upper()) in ("B02", "B04"):
            for band in (*(asset.get("raster:bands") or ()), *(asset.get("bands") or ()), asset):
                if isinstance(band, Mapping):
                    value = _number(band.get("raster:offset", band.get("offset")))
                    if value is not None:
                        return value
    return None


def _baseline(properties: Mapping[str, Any]) -> str:
    for key in ("s2:processing_baseline", "processing:version"):
        text = str(properties.get(key) or "")
        if re.fullmatch(r"\d{2}\.\d{2}", text):
            return text
    return ""


def _platform(properties: Mapping[str, Any], named: str) -> str:
    text = str(properties.get("platform") or "").lower()
    return named or (
        "S2" + text.removeprefix("sentinel-2").upper() if text.startswith("sentinel-2") else "S2"
    )


def _sun(properties: Mapping[str, Any]) -> tuple[float, float] | None:
    zenith = _number(properties.get("s2:mean_solar_zenith"))
    elevation = _number(properties.get("view:sun_elevation"))
    azimuth = _number(properties.get("s2:mean_solar_azimuth"))
    azimuth = azimuth if azimuth is not None else _number(properties.get("view:sun_azimuth"))
    if zenith is None and elevation is not None:
        zenith = 90.0 - elevation
    return None if zenith is None or azimuth is None else (zenith, azimuth)


def _direction(value: object) -> Any:
    return value if value in ("ascending", "descending") else ""


def _time(value: object, where: str) -> datetime:
    try:
        found = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError as error:
        raise SourceError(f"{where}: the item's datetime {value!r} is no time. Fetch it again.") from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: object) -> int | None:
    number = _number(value)
    return int(number) if number is not None else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None
