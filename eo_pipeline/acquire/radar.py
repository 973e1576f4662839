"""Sentinel-1 onto the disk: of each terrain-corrected pass the piece over the region, with its own item.

A pass is 250 km wide and weighs gigabytes, so only the blocks of its rasters that touch the region are
fetched. Pixels are as the source has them, and none is resampled.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.acquire.checks import DamagedError, check_frame, verify
from eo_pipeline.acquire.download import beside, locked, write_whole, writing
from eo_pipeline.acquire.folders import check_names, read_mark, write_mark
from eo_pipeline.acquire.ledger import FileRow, Ledger
from eo_pipeline.acquire.parts import Copy, Part
from eo_pipeline.acquire.products import Archive, Product, RemoteFile
from eo_pipeline.acquire.screening import Region
from eo_pipeline.acquire.wanted import Errand, Outcome
from eo_pipeline.disk import sync_folder
from eo_pipeline.errors import ArchiveError
from eo_pipeline.rasters import write_raster

if TYPE_CHECKING:
    from rasterio.windows import Window

COLLECTION: Final = "sentinel-1-rtc"
_POLARISATIONS: Final = ("vv", "vh")
#: Ground that is taken along on all sides, in degrees (some 200 m): pixels on a slanted grid need neighbours.
_MARGIN: Final = 0.002
#: Bytes of a pixel of 10 m in one polarisation, packed: speckle of float32 hardly packs.
_PIXEL_BYTES: Final = 3.6
_METRES: Final = 111_320.0
#: Tag of a raster here: the area it was cut to.
_AREA: Final = "CUT_TO"
#: Decimals of a degree in it.
_DIGITS: Final = 6
_BLOCK: Final = 512

#: West, south, east, north in degrees.
Box = tuple[float, float, float, float]


@runtime_checkable
class Parted(Protocol):
    """A source that gives pieces of files."""

    def part(self, file: RemoteFile, start: int, stop: int) -> Part:
        """See `StacArchive.part`."""
        ...


class _NothingError(ArchiveError):
    """Nothing of the region lies in a pass."""


@dataclass(frozen=True, slots=True)
class WantedPasses:
    """See `Wanted`: VV and VH of a pass over the box around a region.

    A pass that lies on the disk for another region is fetched again over both.
    """

    region: Region

    @property
    def max_cloud(self) -> float:
        """Radar sees through clouds; only what shows nothing at all is left out."""
        return 99.9

    @property
    def box(self) -> Box:
        """Around the region, a little larger."""
        west, south, east, north = self.region.bounds
        grown = west - _MARGIN, south - _MARGIN, east + _MARGIN, north + _MARGIN
        return _box(round(value, _DIGITS) for value in grown)  # as its text in a raster says it

    def there(self, folder: Path) -> int | None:
        """See `Wanted.there`."""
        mark = read_mark(folder)
        known = _box_of(mark)
        if mark is None or known is None or _around(known, self.box) != known:
            return None
        return sum(int(file["size"]) for file in mark["files"])

    def bytes(self, product: Product) -> int:
        """See `Wanted.bytes`: the share of the rasters that lies over the region, else by their pixels."""
        import shapely

        box = shapely.box(*self.box)
        whole = shapely.make_valid(shapely.from_wkt(product.footprint)) if product.footprint else box
        common = float(shapely.area(shapely.intersection(whole, box)))
        sizes = [file.size for file in product.files if file.key in _POLARISATIONS]
        if sizes and all(sizes) and shapely.area(whole):
            return round(sum(size or 0 for size in sizes) * common / float(shapely.area(whole)))
        metres = common * _METRES**2 * math.cos(math.radians(float(box.centroid.y)))
        return round(metres / 100 * _PIXEL_BYTES * (len(sizes) or len(_POLARISATIONS)))

    def bring(self, errand: Errand) -> Outcome:
        """See `Wanted.bring`."""
        archive, product, ledger, folder = errand.archive, errand.product, errand.ledger, errand.folder
        check_names(product)
        if not isinstance(archive, Parted):
            raise ArchiveError(f"{archive.name} gives whole files only; take planetary-computer for radar.")
        files = [file for file in product.files if file.key in _POLARISATIONS]
        if not files:
            have = ", ".join(sorted(file.key for file in product.files)) or "nothing"
            raise ArchiveError(f"{archive.name}: {product.name} has neither VV nor VH, only {have}.")
        # what lies here may be of a fetch that was killed, or of a smaller region: nothing of it is given up
        box = self.box
        for file in files:
            box = _around(_cut_to(folder / file.path) or box, box)
        try:
            rows = [_one(archive, product, file, folder, box, ledger=ledger) for file in files]
        except _NothingError:
            for file in files:
                (folder / file.path).unlink(missing_ok=True)
            return Outcome(0, 100.0, "no data over the region")
        rows.append(_item(archive, product, ledger, folder, files))
        listed = [
            {"key": row.key, "path": Path(row.path).name, "size": row.size, "blake3": row.blake3,
             "proof": row.proof}
            for row in rows
        ]  # fmt: skip
        write_mark(folder, product, listed, observation=errand.observation, source=archive.name, area=box)
        return Outcome(sum(row.size or 0 for row in rows), 0.0)


def _box_of(mark: Mapping[str, Any] | None) -> Box | None:
    if mark is None or len(mark.get("area", ())) != 4:
        return None
    return _box(map(float, mark["area"]))


def _box(values: Iterable[float]) -> Box:
    west, south, east, north = values
    return west, south, east, north


def _around(one: Box, two: Box) -> Box:
    return min(one[0], two[0]), min(one[1], two[1]), max(one[2], two[2]), max(one[3], two[3])


# ---- one raster ------------------------------------------------------------------------------------------
def _one(
    archive: Parted, product: Product, file: RemoteFile, folder: Path, box: Box, *, ledger: Ledger
) -> FileRow:
    """Cut one raster; one that was cut to the same box before is kept."""
    target = folder / file.path
    place = target.relative_to(ledger.root).as_posix()
    with writing(target), locked(target):
        row = ledger.has(place)
        if row is not None and _cut_to(target) == box:
            return row
        ledger.put_file(place, key=file.key, source=product.source, state="fetching")
        copy = Copy(
            lambda start, stop: archive.part(file, start, stop),
            beside(target, ".partial"),
            f"{product.name}: {file.path}",
        )
        draft = beside(target, f".{os.getpid()}.partial")
        try:
            with copy.opened() as raster:
                _check(raster, product, file)
                window = _window(raster, box)
                if window is None:
                    raise _NothingError("beside the region")
                stripes = _stripes(window, raster.block_shapes[0][0])
                for stripe in stripes:
                    copy.bring(raster, stripe)
                seen = _write(raster, window, stripes, draft, _text(box))
            if not seen and file.key == _POLARISATIONS[0]:
                raise _NothingError("no data")
            draft.replace(target)
            sync_folder(folder)
            verdict = verify(target)
        except _NothingError as nothing:
            copy.remove()
            ledger.put_file(
                place, key=file.key, source=product.source, state="screened-out", reason=str(nothing)
            )
            raise
        except ArchiveError as error:
            reason = str(error)
            ledger.put_file(place, key=file.key, source=product.source, state="failed", reason=reason)
            if isinstance(error, DamagedError):
                copy.remove()
                target.unlink(missing_ok=True)
            raise
        finally:
            draft.unlink(missing_ok=True)
        copy.remove()
        ledger.put_file(
            place, key=file.key, source=product.source, state="done", size=target.stat().st_size,
            blake3=verdict.digests["blake3"], proof=verdict.means,
        )  # fmt: skip
        return _known(ledger, place)


def _known(ledger: Ledger, place: str) -> FileRow:
    row = ledger.has(place)
    if row is None:
        raise ArchiveError(f"{ledger.root / place} changed while it was fetched; run `eo fetch` again.")
    return row


def _check(raster: Any, product: Product, file: RemoteFile) -> None:
    """Hold a raster against what its item says of it.

    Raises
    ------
    DamagedError
        It is another, or none that can be used.
    """
    check_frame(raster, product.properties, f"{product.name}: {file.path}")
    if raster.crs is None or raster.dtypes[0] not in ("float32", "float64"):
        raise DamagedError(
            f"{product.name}: {file.path} holds no backscatter ({raster.dtypes[0]}, CRS {raster.crs}). Fetch "
            "it again later."
        )


def _window(raster: Any, box: Box) -> Window | None:
    """Whole blocks of a raster that touch a box; None where none does."""
    from rasterio.warp import transform_bounds
    from rasterio.windows import Window

    left, bottom, right, top = transform_bounds("EPSG:4326", raster.crs, *box, densify_pts=21)
    inverse = ~raster.transform
    corners = [inverse * corner for corner in ((left, top), (right, top), (left, bottom), (right, bottom))]
    columns, rows = zip(*corners, strict=True)
    height, width = raster.block_shapes[0]
    first_row = max(0, math.floor(min(rows) / height) * height)
    first_col = max(0, math.floor(min(columns) / width) * width)
    end_row = min(raster.height, math.ceil(max(rows) / height) * height)
    end_col = min(raster.width, math.ceil(max(columns) / width) * width)
    if end_row <= first_row or end_col <= first_col:
        return None
    return Window(first_col, first_row, end_col - first_col, end_row - first_row)


def _stripes(window: Window, height: int) -> list[Window]:
    """A window in rows of blocks; rows of small ones together."""
    from rasterio.windows import Window

    step, end = height * -(-_BLOCK // height), window.row_off + window.height
    return [
        Window(window.col_off, row, window.width, min(step, end - row))
        for row in range(window.row_off, end, step)
    ]


def _write(raster: Any, window: Window, stripes: list[Window], draft: Path, area: str) -> bool:
    """Write a window as a GeoTIFF of its own; whether anything was measured in it."""
    from rasterio.errors import RasterioError
    from rasterio.windows import Window

    seen = False

    def parts() -> Iterator[tuple[Window, NDArray[Any]]]:
        nonlocal seen
        for stripe in stripes:
            try:
                data = raster.read([1], window=stripe)
            except RasterioError as error:
                raise DamagedError(f"{raster.name} cannot be read ({error}). Fetch it again.") from None
            measured = np.isfinite(data) & (data > 0)
            if raster.nodata is not None:
                measured &= data != raster.nodata
            seen |= bool(measured.any())
            yield Window(0, stripe.row_off - window.row_off, stripe.width, stripe.height), data

    kept = {name: value for name, value in raster.tags().items() if name != "AREA_OR_POINT"}
    write_raster(
        draft, parts(), describe=lambda out: out.update_tags(**kept, **{_AREA: area}), width=window.width,
        height=window.height, count=1, dtype=raster.dtypes[0], crs=raster.crs,
        transform=raster.window_transform(window), nodata=raster.nodata, tiled=True, blockxsize=_BLOCK,
        blockysize=_BLOCK, compress="deflate", predictor=3, bigtiff="if_safer",
    )  # fmt: skip
    return seen


def _cut_to(path: Path) -> Box | None:
    """The area a raster here was cut to; None where it cannot be read."""
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.Env(), rasterio.open(path) as raster:
            return _box(map(float, raster.tags().get(_AREA, "").split()))
    except (RasterioError, ValueError):
        return None


def _text(box: Box) -> str:
    return " ".join(f"{value:.{_DIGITS}f}" for value in box)


# ---- its item --------------------------------------------------------------------------------------------
def _item(
    archive: Archive, product: Product, ledger: Ledger, folder: Path, files: list[RemoteFile]
) -> FileRow:
    """Write a STAC item of what lies here. It comes after the rasters: a product without it is not found."""
    import shapely
    import shapely.geometry

    told = {
        key: value
        for key, value in product.properties.items()
        if key not in ("self", "raster:bands") and not key.startswith(("proj:", "s1:shape"))
    }
    footprint = shapely.from_wkt(product.footprint) if product.footprint else None
    source = product.properties.get("self")
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": product.id,
        "collection": product.collection,
        "geometry": shapely.geometry.mapping(footprint) if footprint is not None else None,
        "bbox": list(footprint.bounds) if footprint is not None else None,
        "properties": told | {"datetime": told.get("datetime") or product.sensed.isoformat()},
        "links": [{"rel": "derived_from", "href": source}] if source else [],
        "assets": {
            file.key: {"href": f"./{file.path}", "type": "image/tiff; application=geotiff", "roles": ["data"]}
            for file in files
        },
    }
    target = folder / "item.json"
    place = target.relative_to(ledger.root).as_posix()
    with writing(target):
        write_whole(target, json.dumps(item, ensure_ascii=False, sort_keys=True, indent=1) + "\n")
    ledger.put_file(
        place, key="item", source=archive.name, state="done", size=target.stat().st_size,
        blake3=verify(target).digests["blake3"], proof="written here",
    )  # fmt: skip
    return _known(ledger, place)
