"""Rasters and catalog of a run folder: Cloud Optimized GeoTIFFs and the static STAC 1.1 that lists them.

Nothing here knows how a product was made; it is handed arrays, grids and words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.grid import Grid
from eo_pipeline.publish.contract import Raster, RunManifest, sha256_file
from eo_pipeline.rasters import windows, write_raster

if TYPE_CHECKING:
    import pystac
    import rasterio
    from rasterio.windows import Window

#: STAC extensions the items use, by version; readers without them still see plain STAC 1.1.
EXTENSIONS: Final = tuple(
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("projection/v2.0.0", "raster/v2.0.0", "classification/v2.0.0", "file/v2.1.0")
)
#: What lies beside the rasters, linked from the catalog.
COMPANIONS: Final = (
    ("estimates.parquet", "application/vnd.apache.parquet", "估计值表 · estimates"),
    ("series.parquet", "application/vnd.apache.parquet", "曲线表 · season curves"),
    ("accuracy.json", "application/json", "精度 · accuracy"),
    ("report.html", "text/html", "报告 · report"),
)
#: Words for a product's folder.
_PRODUCTS: Final = {
    "crop_type": "作物分布 · crop type",
    "growth": "长势 · growth status",
    "index": "植被指数曲线 · index series",
    "disaster": "灾害（遥感初判） · disasters, judged from afar",
}
#: Tile side inside the file: a map viewer's tile, so that one request reads one block.
BLOCK_SIZE: Final = 256


class Readable(Protocol):
    """What can be read by windows of its last two axes: an array, or one that lies elsewhere."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, window: Any, /) -> Any: ...


def write_cog(
    path: Path,
    array: Readable,
    grid: Grid,
    *,
    nodata: float | None,
    colour_table: Mapping[int, str] | None = None,
    band_descriptions: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
    scale: float = 1.0,
    unit: str = "",
    categorical: bool | None = None,
) -> Path:
    """Write a Cloud Optimized GeoTIFF with overviews; the file appears whole or not at all.

    Parameters
    ----------
    path
        Target; its folder is made. An existing file is replaced.
    array : [y, x] or [band, y, x]
        Any GDAL data type. It is read by parts, so it need not lie in memory.
    nodata
        Value that means nothing; left out of the averages of the overviews.
    colour_table
        Class code to `#rrggbb`; makes the file categorical. Only for one band of uint8.
    band_descriptions
        One text a band, e.g. ISO dates.
    metadata
        Tags of the file; keys and values are texts.
    scale, unit
        True value = stored value × `scale`, in `unit`; stored in the file, so that QGIS shows the true value.
    categorical
        Overviews by nearest (classes) instead of average. Default: whether there is a colour table.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    StorageError
        It cannot be written; a `DiskFullError` where there is no room.
    """
    count = 1 if len(array.shape) == 2 else array.shape[0]
    if len(array.shape) not in (2, 3) or tuple(array.shape[-2:]) != grid.shape:
        raise ValueError(
            f"{path.name}: the array has shape {tuple(array.shape)}, the grid {grid.shape}; "
            "give [y, x] or [band, y, x]."
        )
    if band_descriptions and len(band_descriptions) != count:
        raise ValueError(f"{path.name}: {len(band_descriptions)} descriptions for {count} bands.")
    if colour_table and (count != 1 or array.dtype != np.uint8):
        raise ValueError(
            f"{path.name}: a colour table needs one band of uint8, not {tuple(array.shape)} {array.dtype}."
        )
    classes = bool(colour_table) if categorical is None else categorical

    return write_raster(
        path,
        _parts(array),
        describe=lambda dataset: _describe(
            dataset,
            colour_table=colour_table,
            band_descriptions=band_descriptions,
            metadata=metadata,
            scale=scale,
            unit=unit,
        ),
        cog={
            "BLOCKSIZE": BLOCK_SIZE,
            "COMPRESS": "DEFLATE",
            # Horizontal differencing helps measured values and spoils class codes.
            "PREDICTOR": "NO" if classes else "YES",
            "OVERVIEWS": "AUTO",
            "OVERVIEW_RESAMPLING": "NEAREST" if classes else "AVERAGE",
            "BIGTIFF": "IF_SAFER",
            "NUM_THREADS": "ALL_CPUS",  # they compress; the bytes are the same with any number
        },
        width=grid.width,
        height=grid.height,
        count=count,
        dtype=array.dtype.name,
        crs=grid.crs,
        transform=grid.affine,
        nodata=nodata,
        # only to be read once
        tiled=True,
        blockxsize=BLOCK_SIZE,
        blockysize=BLOCK_SIZE,
        interleave="pixel",
        compress="zstd",
        zstd_level=1,
        bigtiff="if_safer",
    )


def _parts(array: Readable) -> Iterator[tuple[Window, NDArray[Any]]]:
    """The pixels, [band, y, x] a part."""
    for window in windows(*array.shape[-2:]):
        part = np.asarray(array[(..., *window.toslices())])
        yield window, part[np.newaxis] if part.ndim == 2 else part


def _describe(
    dataset: rasterio.io.DatasetWriter,
    *,
    colour_table: Mapping[int, str] | None,
    band_descriptions: Sequence[str],
    metadata: Mapping[str, str] | None,
    scale: float,
    unit: str,
) -> None:
    """Colours, texts and scale of an open raster."""
    if colour_table:
        dataset.write_colormap(1, {code: hex_to_rgba(colour) for code, colour in colour_table.items()})
    for band, text in enumerate(band_descriptions, start=1):
        dataset.set_band_description(band, text)
    if metadata:
        dataset.update_tags(**metadata)
    if scale != 1.0:
        dataset.scales = (scale,) * dataset.count
    if unit:
        dataset.units = (unit,) * dataset.count


def hex_to_rgba(colour: str) -> tuple[int, int, int, int]:
    """Opaque RGBA of `#rrggbb`.

    >>> hex_to_rgba("#DDCC77")
    (221, 204, 119, 255)
    """
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue, 255


def write_catalog(folder: Path, manifest: RunManifest) -> Path:
    """Write the static STAC 1.1 catalog of a run: catalog.json, and one item a product and tile.

    All links are relative, so that the folder can be copied anywhere. An item lies beside its rasters
    (`<product>/<tile>/<product>-<tile>.json`); its assets carry projection, classes, scale, size and SHA-256.

    Parameters
    ----------
    folder
        The run folder; the rasters that `manifest` names must be there.
    manifest
        Its `files` are not needed yet.

    Returns
    -------
    Path
        catalog.json.
    """
    import pystac

    note = "模拟数据：由模拟器生成，不是观测结果 · simulated, not observed. " if manifest.simulated else ""
    catalog = pystac.Catalog(
        id=manifest.run_id,
        title=manifest.title,
        description=f"{note}{manifest.region['name']}, {manifest.season['start']} – {manifest.season['end']}",
        catalog_type=pystac.CatalogType.SELF_CONTAINED,
    )
    catalog.set_self_href(str(folder / "catalog.json"))
    for (product, tile), rasters in _by_item(manifest.rasters).items():
        item = _item(folder, manifest, product=product, tile=tile, rasters=rasters)
        catalog.add_item(item)
        item.set_self_href(str(folder / PurePosixPath(rasters[0].path).parent / f"{product}-{tile}.json"))
        item.make_asset_hrefs_relative()
    for name, media_type, title in COMPANIONS:
        catalog.add_link(pystac.Link("related", f"./{name}", media_type, title))
    catalog.save(catalog_type=pystac.CatalogType.SELF_CONTAINED)
    return folder / "catalog.json"


def _by_item(rasters: Sequence[Raster]) -> dict[tuple[str, str], list[Raster]]:
    """Rasters by product (the first folder of their path) and tile."""
    found: dict[tuple[str, str], list[Raster]] = {}
    for raster in rasters:
        found.setdefault((PurePosixPath(raster.path).parts[0], raster.tile), []).append(raster)
    return found


def _item(
    folder: Path, manifest: RunManifest, *, product: str, tile: str, rasters: Sequence[Raster]
) -> pystac.Item:
    """One product of one tile, with a COG an asset."""
    import pystac
    import rasterio

    with rasterio.open(folder / rasters[0].path) as dataset:
        projection = _projection(dataset)
        ring = _footprint(dataset)
    longitudes, latitudes = [x for x, _ in ring], [y for _, y in ring]
    item = pystac.Item(
        id=f"{manifest.run_id}-{product}-{tile}",
        geometry={"type": "Polygon", "coordinates": [ring]},
        bbox=[min(longitudes), min(latitudes), max(longitudes), max(latitudes)],
        datetime=None,
        start_datetime=datetime.fromisoformat(manifest.season["start"]).replace(tzinfo=UTC),
        end_datetime=datetime.fromisoformat(manifest.season["end"]).replace(tzinfo=UTC),
        stac_extensions=list(EXTENSIONS),
        properties={
            "title": f"{manifest.title} · {_PRODUCTS.get(product, product)} · {tile}",
            "created": manifest.created_at,
            "keywords": ["模拟数据", "simulated"] if manifest.simulated else [],
            **projection,
        },
    )
    for raster in rasters:
        path = folder / raster.path
        with rasterio.open(path) as dataset:
            bands = list(_bands(dataset, raster))
        fields: dict[str, Any] = {
            "bands": bands,
            "file:size": path.stat().st_size,
            # multihash: 0x12 = SHA-256, 0x20 = 32 bytes
            "file:checksum": f"1220{sha256_file(path)}",
        }
        if raster.classes:
            fields["classification:classes"] = [
                {
                    "value": one.code,
                    "name": one.name,
                    "title": f"{one.zh} · {one.en}",
                    "color_hint": one.colour.removeprefix("#").upper(),
                }
                for one in raster.classes
            ]
        item.add_asset(
            PurePosixPath(raster.path).stem,
            pystac.Asset(
                href=str(path),
                title=raster.title,
                media_type=pystac.MediaType.COG,
                roles=["data"],
                extra_fields=fields,
            ),
        )
    return item


def _projection(dataset: rasterio.io.DatasetReader) -> dict[str, Any]:
    """proj: fields; a CRS without a code is spelled out, and its code is null as the extension asks."""
    from pyproj import CRS

    crs = CRS.from_wkt(dataset.crs.to_wkt())
    authority = crs.to_authority()
    code = ":".join(authority) if authority else None
    fields: dict[str, Any] = {
        "proj:code": code,
        "proj:shape": [dataset.height, dataset.width],
        "proj:transform": [float(v) for v in dataset.transform],
        "proj:bbox": [float(v) for v in dataset.bounds],
    }
    if code is None:
        fields |= {"proj:wkt2": crs.to_wkt("WKT2_2019"), "proj:projjson": crs.to_json_dict()}
    return fields


def _footprint(dataset: rasterio.io.DatasetReader) -> list[list[float]]:
    """The image's outline in longitude and latitude, counter-clockwise, with points along its bent edges."""
    from pyproj import Transformer

    steps = np.linspace(0.0, 1.0, 9)[:-1]
    col = np.concatenate([0 * steps, steps, 0 * steps + 1, 1 - steps]) * dataset.width
    row = np.concatenate([steps, 0 * steps + 1, 1 - steps, 0 * steps]) * dataset.height
    a, b, c, d, e, f = dataset.transform[:6]
    x, y = a * col + b * row + c, d * col + e * row + f
    lon, lat = Transformer.from_crs(dataset.crs.to_wkt(), "OGC:CRS84", always_xy=True).transform(x, y)
    ring = [[round(float(i), 7), round(float(j), 7)] for i, j in zip(lon, lat, strict=True)]
    return [*ring, ring[0]]


def _bands(dataset: rasterio.io.DatasetReader, raster: Raster) -> Iterator[dict[str, Any]]:
    """STAC 1.1 bands of an open COG."""
    for number in range(dataset.count):
        nodata = dataset.nodatavals[number]
        band: dict[str, Any] = {
            "name": dataset.descriptions[number] or (raster.dates[number] if raster.dates else raster.kind),
            "data_type": dataset.dtypes[number],
        }
        if nodata is not None:
            band["nodata"] = int(nodata) if float(nodata).is_integer() else float(nodata)
        if raster.unit:
            band["unit"] = raster.unit
        if raster.scale != 1.0:
            band |= {"raster:scale": raster.scale, "raster:offset": 0.0}
        yield band
