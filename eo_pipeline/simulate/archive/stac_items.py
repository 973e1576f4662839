"""Products as STAC items in the flavours of Earth Search, Planetary Computer and CDSE. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

import shapely.geometry

from eo_pipeline.simulate.archive.catalogue import CELL_PIXEL, Band, Record
from eo_pipeline.simulate.archive.cdse import s3_path
from eo_pipeline.simulate.archive.holdings import LABEL
from eo_pipeline.simulate.archive.http import iso

Item = dict[str, Any]

_COG: Final = "image/tiff; application=geotiff; profile=cloud-optimized"
#: Earth Search's name, common name, wavelength and width (µm) of each band, and its words.
BANDS: Final[Mapping[str, tuple[str, str, float, float, str]]] = {
    "B01": ("coastal", "coastal", 0.443, 0.027, "Coastal aerosol (band 1)"),
    "B02": ("blue", "blue", 0.49, 0.098, "Blue (band 2)"),
    "B03": ("green", "green", 0.56, 0.045, "Green (band 3)"),
    "B04": ("red", "red", 0.665, 0.038, "Red (band 4)"),
    "B05": ("rededge1", "rededge", 0.704, 0.019, "Red edge 1 (band 5)"),
    "B06": ("rededge2", "rededge", 0.74, 0.018, "Red edge 2 (band 6)"),
    "B07": ("rededge3", "rededge", 0.783, 0.028, "Red edge 3 (band 7)"),
    "B08": ("nir", "nir", 0.842, 0.145, "NIR 1 (band 8)"),
    "B8A": ("nir08", "nir08", 0.865, 0.033, "NIR 2 (band 8A)"),
    "B09": ("nir09", "nir09", 0.945, 0.026, "NIR 3 (band 9)"),
    "B11": ("swir16", "swir16", 1.61, 0.143, "SWIR 1 (band 11)"),
    "B12": ("swir22", "swir22", 2.19, 0.242, "SWIR 2 (band 12)"),
}
_CLASSES: Final[Mapping[str, str]] = {
    "SCL": "Scene classification map (SCL)", "AOT": "Aerosol optical thickness (AOT)",
    "WVP": "Water vapour (WVP)",
}  # fmt: skip
_EXTENSIONS: Final = tuple(
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in (
        "eo/v1.1.0",
        "grid/v1.1.0",
        "mgrs/v1.0.0",
        "projection/v1.1.0",
        "raster/v1.1.0",
        "view/v1.0.0",
    )
)
_LICENCE: Final = "https://sentinel.esa.int/documents/247904/690755/Sentinel_Data_Legal_Notice"


def finest(record: Record) -> list[Band]:
    """Each band of an optical product at its finest pixel size, by name."""
    names = sorted({band.name for band in record.bands})
    return [band for name in names if (band := record.band(name)) is not None]


# ---- Earth Search --------------------------------------------------------------------------------------
def earth_search_id(record: Record, sequence: int = 0) -> str:
    """Id in sentinel-2-l2a."""
    return f"{record.platform}_{record.tile.lstrip('0')}_{record.sensed:%Y%m%d}_{sequence}_L2A"


def collection1_id(record: Record) -> str:
    """Id in sentinel-2-c1-l2a."""
    return f"{record.platform}_T{record.tile}_{_strip_time(record)}_L2A"


def _strip_time(record: Record) -> str:
    """Start of the data strip, which the granule's folder name ends in."""
    return record.granule.rsplit("_", 1)[-1] or f"{record.sensed:%Y%m%dT%H%M%S}"


def place_of(record: Record, name: str) -> str:
    """Folder of an item's files: 48/S/WE/2024/6/NAME, the month without a zero."""
    zone, band, square = int(record.tile[:2]), record.tile[2], record.tile[3:]
    return f"{zone}/{band}/{square}/{record.sensed:%Y}/{record.sensed.month}/{name}"


def earth_search_item(record: Record, name: str, *, base: str, api: str, collection: str) -> Item:
    """An item of sentinel-2-l2a (numbers with the offset taken off) or sentinel-2-c1-l2a (numbers as made).

    `base` is where the files lie, `api` the API's root.
    """
    first = collection == "sentinel-2-l2a"
    files = f"{base}/{place_of(record, name)}"
    # raster:bands tells the offset of the original, whether it was applied or not: the flag is what counts
    offset = -0.1 if record.has_offset else 0
    assets: dict[str, Item] = {}
    for band in finest(record):
        if band.name not in BANDS and band.name not in _CLASSES:
            continue
        raster: Item = {
            "nodata": 0,
            "data_type": "uint16",
            "bits_per_sample": 15,
            "spatial_resolution": band.metres,
        }
        if band.name in BANDS:
            key, common, centre, width, words = BANDS[band.name]
            extra: Item = {
                "title": f"{words} - {band.metres}m",
                "eo:bands": [
                    {
                        "name": key,
                        "common_name": common,
                        "description": words,
                        "center_wavelength": centre,
                        "full_width_half_max": width,
                    }
                ],
                "gsd": band.metres,
            }
            raster |= {"scale": 0.0001, "offset": offset}
        else:
            key, extra = band.name.lower(), {"title": _CLASSES[band.name]}
            if band.name == "SCL":
                raster = {"nodata": 0, "data_type": "uint8", "spatial_resolution": band.metres}
            else:
                raster |= {"scale": 0.001, "offset": 0}
        assets[key] = {
            "href": f"{files}/{band.name}.tif",
            "type": _COG,
            **extra,
            **_projected(record, band),
            "raster:bands": [raster],
            "roles": ["data", "reflectance"],
        }
    assets["granule_metadata"] = _metadata(f"{files}/granule_metadata.xml")
    if not first:
        assets["product_metadata"] = _metadata(f"{files}/product_metadata.xml")
    properties = {
        "created": iso(record.published, 3),
        "updated": iso(record.published, 3),
        "platform": f"sentinel-{record.platform[1:].lower()}",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": record.cloud,
        "proj:epsg": record.epsg,
        "mgrs:utm_zone": int(record.tile[:2]),
        "mgrs:latitude_band": record.tile[2],
        "mgrs:grid_square": record.tile[3:],
        "grid:code": f"MGRS-{record.tile.lstrip('0')}",
        **_sun(record),
        **_quality(record),
        **_made(record),
        "datetime": iso(record.sensed, 3),
        "s2:sequence": name.split("_")[3] if first else "0",
        "earthsearch:payload_id": f"simulated/{name}",
    }
    if first:
        properties["earthsearch:s3_path"] = (
            f"s3://sentinel-cogs/sentinel-s2-l2a-cogs/{place_of(record, name)}"
        )
        properties["earthsearch:boa_offset_applied"] = record.has_offset
    return _item(
        record,
        name=name,
        collection=collection,
        api=api,
        properties=properties,
        assets=assets,
        extensions=_EXTENSIONS,
    )


# ---- Planetary Computer --------------------------------------------------------------------------------
def planetary_id(record: Record) -> str:
    """Id there: the product's name without baseline."""
    parts = record.name.removesuffix(".SAFE").split("_")
    return "_".join(part for number, part in enumerate(parts) if number != 3)


def planetary_item(record: Record, *, base: str, api: str) -> Item:
    """An item of sentinel-2-l2a there: no scale and no offset, numbers as made. `base`: its container."""
    day = f"{record.start:%Y/%m/%d}"
    zone, band, square = record.tile[:2], record.tile[2], record.tile[3:]
    files = f"{base}/{int(zone)}/{band}/{square}/{day}/{quote(record.name)}"
    assets: dict[str, Item] = {}
    for raster in finest(record):
        title = _CLASSES.get(raster.name, f"{raster.name} - {raster.metres}m")
        asset: Item = {
            "href": f"{files}/{raster.path.removesuffix('.jp2')}.tif",
            **_projected(record, raster),
            "proj:bbox": _box(record, raster.metres),
            "gsd": float(raster.metres),
            "type": _COG,
            "roles": ["data"],
            "title": title,
        }
        if raster.name in BANDS:
            _, common, centre, width, words = BANDS[raster.name]
            asset["eo:bands"] = [
                {
                    "name": raster.name,
                    "common_name": common,
                    "description": words,
                    "center_wavelength": centre,
                    "full_width_half_max": width,
                }
            ]
        assets["visual" if raster.name == "TCI" else raster.name] = asset
    assets["safe-manifest"] = _metadata(f"{files}/manifest.safe")
    assets["granule-metadata"] = _metadata(f"{files}/GRANULE/{record.granule}/MTD_TL.xml")
    assets["product-metadata"] = _metadata(f"{files}/MTD_MSIL2A.xml")
    properties = {
        "datetime": iso(record.start),
        "platform": f"Sentinel-{record.platform[1:]}",
        "proj:epsg": record.epsg,
        "instruments": ["msi"],
        "constellation": "Sentinel 2",
        "s2:mgrs_tile": record.tile,
        "eo:cloud_cover": record.cloud,
        "sat:orbit_state": record.direction.lower(),
        "sat:relative_orbit": record.orbit,
        **_sun(record, mean=True),
        **_quality(record),
        **_made(record),
    }
    return _item(
        record,
        name=planetary_id(record),
        collection="sentinel-2-l2a",
        api=api,
        properties=properties,
        assets=assets,
        extensions=_EXTENSIONS[:1],
    )


def planetary_radar_item(record: Record, *, base: str, api: str) -> Item:
    """A terrain-corrected radar item as it lies in the folder, with addresses of this archive."""
    kept = dict(record.item or {})
    assets = {
        name: {
            **asset,
            "href": f"{base}/{quote(record.path.name)}/{quote(str(asset['href']).removeprefix('./'))}",
        }
        for name, asset in kept.get("assets", {}).items()
        if "://" not in str(asset["href"])
    }
    properties = dict(kept["properties"])
    extensions = kept.get("stac_extensions", ())
    return _item(
        record,
        name=record.name,
        collection="sentinel-1-rtc",
        api=api,
        properties=properties,
        assets=assets,
        extensions=extensions,
    )


# ---- elevation -----------------------------------------------------------------------------------------
def cell_item(record: Record, href: str, *, api: str) -> Item:
    """An item of cop-dem-glo-30, the same at Earth Search and Planetary Computer but for the address."""
    (west, north), side = record.corner, round(1 / CELL_PIXEL)
    return _item(
        record,
        name=record.name,
        collection=record.collection,
        api=api,
        properties={
            "datetime": iso(record.start),
            "platform": record.platform,
            "gsd": 30,
            "proj:epsg": record.epsg,
            "proj:shape": [side, side],
            "proj:transform": [CELL_PIXEL, 0.0, west, 0.0, -CELL_PIXEL, north],
        },
        assets={"data": {"href": href, "type": _COG, "roles": ["data"]}},
        extensions=_EXTENSIONS[3:4],
    )


# ---- CDSE ----------------------------------------------------------------------------------------------
def cdse_item(  # noqa: PLR0912 - one a kind of file
    record: Record, *, download: str, api: str, sizes: Mapping[str, int]
) -> Item:
    """An item of CDSE's STAC API: rasters as made, in its object store and by its download service.

    `sizes` are bytes of the files by their path in the product.
    """
    name = record.name.removesuffix(".SAFE")
    nodes = f"{download}/Products({record.id})/Nodes({record.name})"
    bucket = f"s3:/{s3_path(record)}"

    def asset(path: str, type: str, **more: Any) -> Item:
        inner = "/".join(f"Nodes({quote(part)})" for part in path.split("/"))
        return {
            "href": f"{bucket}/{path}",
            "type": type,
            "file:size": sizes[path],
            "auth:refs": ["s3"],
            "storage:refs": ["cdse-s3", "creodias-s3"],
            "alternate": {"https": {"href": f"{nodes}/{inner}/$value", "auth:refs": ["oidc"]}},
            **more,
        }

    assets = {}
    for band in record.bands:
        scaled: Item = {}
        if band.name in BANDS:
            scaled = {
                "raster:scale": 0.0001,
                "raster:offset": -0.1 if record.has_offset else 0.0,
                "nodata": 0,
            }
        assets[f"{band.name}_{band.metres}m"] = asset(
            band.path, "image/jp2", gsd=band.metres, **_projected(record, band), **scaled
        )
    known = {
        "product_metadata": "MTD_MSIL2A.xml",
        "granule_metadata": f"GRANULE/{record.granule}/MTD_TL.xml",
        "safe_manifest": "manifest.safe",
    }
    for path in sizes:
        lower = path.lower()
        for polarisation in ("vv", "vh", "hh", "hv"):
            if f"-{polarisation}-" not in lower:
                continue
            if lower.startswith("measurement/"):
                assets[polarisation] = asset(path, _COG)
            elif "/calibration-" in lower:
                known[f"schema-calibration-{polarisation}"] = path
            elif "/noise-" in lower:
                known[f"schema-noise-{polarisation}"] = path
            elif lower.startswith("annotation/s1"):
                known[f"schema-product-{polarisation}"] = path
    for key, path in known.items():
        if path in sizes:
            assets[key] = asset(path, "application/xml", roles=["metadata"])
    properties = {
        "datetime": iso(record.start),
        "start_datetime": iso(record.start),
        "end_datetime": iso(record.stop),
        "created": iso(record.made),
        "updated": iso(record.published),
        "published": iso(record.published),
        "platform": f"sentinel-{record.platform[1:].lower()}",
        "constellation": f"sentinel-{record.platform[1]}",
        "sat:absolute_orbit": record.absolute_orbit,
        "sat:relative_orbit": record.orbit,
        "sat:orbit_state": record.direction.lower(),
        "product:timeliness": "PT24H",
    }
    if record.collection == "sentinel-2-l2a":
        properties |= {
            "instruments": ["msi"],
            "eo:cloud_cover": record.cloud,
            "grid:code": f"MGRS-{record.tile}",
            "proj:code": f"EPSG:{record.epsg}",
            "processing:version": record.baseline,
            "product:type": "S2MSI2A",
            **_sun(record),
        }
    else:
        properties |= {
            "instruments": ["c-sar"],
            "sar:polarizations": list(record.polarisations),
            "sar:instrument_mode": record.identifiers["mode"],
            "product:type": record.identifiers["product_type"],
        }
    return _item(
        record,
        name=name,
        collection=record.collection,
        api=api,
        properties=properties,
        assets=assets,
        extensions=_EXTENSIONS[:1],
    )


# ---- parts ---------------------------------------------------------------------------------------------
def _item(
    record: Record,
    *,
    name: str,
    collection: str,
    api: str,
    properties: Mapping[str, Any],
    assets: Mapping[str, Item],
    extensions: Iterable[str],
) -> Item:
    own = f"{api}/collections/{collection}"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": list(extensions),
        "id": name,
        "collection": collection,
        "geometry": shapely.geometry.mapping(record.footprint),
        "bbox": [round(value, 6) for value in record.footprint.bounds],
        "properties": {**properties, "simulated": LABEL},
        "links": [
            {"rel": "self", "type": "application/geo+json", "href": f"{own}/items/{quote(name)}"},
            {"rel": "collection", "type": "application/json", "href": own},
            {"rel": "parent", "type": "application/json", "href": own},
            {"rel": "root", "type": "application/json", "href": api},
            {"rel": "license", "href": _LICENCE},
        ],
        "assets": dict(assets),
    }


def _metadata(href: str) -> Item:
    return {"href": href, "type": "application/xml", "roles": ["metadata"]}


def _shape(record: Record, metres: int) -> tuple[int, int]:
    if metres in record.shapes:
        return record.shapes[metres]
    rows, columns = record.shapes[10]
    return -(-rows * 10 // metres), -(-columns * 10 // metres)


def _projected(record: Record, band: Band) -> Item:
    west, north = record.corner
    return {
        "proj:shape": list(_shape(record, band.metres)),
        "proj:transform": [band.metres, 0, west, 0, -band.metres, north],
    }


def _box(record: Record, metres: int) -> list[float]:
    rows, columns = _shape(record, metres)
    west, north = record.corner
    return [west, north - rows * metres, west + columns * metres, north]


def _sun(record: Record, *, mean: bool = False) -> Item:
    if record.sun is None:
        return {}
    zenith, azimuth = record.sun
    if mean:
        return {"s2:mean_solar_zenith": zenith, "s2:mean_solar_azimuth": azimuth}
    return {"view:sun_azimuth": azimuth, "view:sun_elevation": 90 - zenith}


def _quality(record: Record) -> Item:
    return {
        f"s2:{name}_percentage": value
        for name, value in record.shares.items()
        if not name.startswith("cloudy_pixel")
    }


def _made(record: Record) -> Item:
    return {
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": record.baseline,
        "s2:product_uri": record.name,
        "s2:generation_time": iso(record.made),
        "s2:datatake_id": record.identifiers["datatake"],
        "s2:datatake_type": record.identifiers["datatake_type"],
        "s2:datastrip_id": record.identifiers["datastrip"],
        "s2:granule_id": record.identifiers["granule"],
    }
