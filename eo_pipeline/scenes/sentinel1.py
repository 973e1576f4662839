"""Sentinel-1: backscatter in decibel on a tile's grid, from terrain-corrected rasters or from GRD.

Terrain-corrected products (RTC: gamma nought flattened with an elevation model) are preferred: on loess hills
a slope changes the backscatter more than any crop. GRD is calibrated with the look-up tables in its
annotation and placed by its ground control points, which leaves the terrain in; it is used where there is
nothing better, and says so in `Radar.corrected`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.acquire.products import Direction
from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Grid
from eo_pipeline.scenes.calibration import Quantity, calibrate, read_calibration, read_noise
from eo_pipeline.scenes.items import gdal_path, load_item
from eo_pipeline.scenes.safe_xml import find_text, parse_xml

POLARISATIONS: Final = ("vv", "vh", "hh", "hv")
#: Backscatter below this is noise; decibels end here.
FLOOR_DB: Final = -50.0
_NAME: Final = re.compile(
    r"(?P<platform>S1[A-D])_\w{2}_GRD\w_\w{4}_(?P<start>\d{8}T\d{6})_\d{8}T\d{6}_(?P<orbit>\d{6})_(?P<take>\w{6})"
)
#: Relative orbit = (absolute − this) mod 175 + 1, by platform (175 orbits in a 12-day cycle).
_ORBIT_OFFSET: Final = {"S1A": 73, "S1B": 27}


@dataclass(frozen=True, slots=True)
class Radar:
    """One observation by Sentinel-1.

    `files` maps a polarisation (vv, vh) to its raster, `calibration` and `noise` to the XML of GRD.
    `corrected` is whether it was flattened with an elevation model; `direction` tells ascending from
    descending orbits, whose series are never mixed. `footprint` is WKT in longitude and latitude, empty where
    the product does not tell it. `observation` is the same for every product of one data take and slice.
    """

    name: str
    path: str
    sensed: datetime
    direction: Direction
    orbit: int | None
    corrected: bool
    files: Mapping[str, str]
    calibration: Mapping[str, str]
    noise: Mapping[str, str]
    footprint: str = ""
    simulated: bool = False

    @property
    def observation(self) -> tuple[str, str]:
        """Platform and second of sensing."""
        return self.name[:3], self.sensed.strftime("%Y%m%dT%H%M%S")


def read_radar(path: Path | str) -> Radar:
    """Read what a product on disk is: a folder of RTC rasters with item.json, or a SAFE folder of GRD.

    Raises
    ------
    SourceError
        Neither of the two, or without a raster of any polarisation.
    """
    place = Path(path)
    if (place / "item.json").is_file():
        radar = _read_item(place)
    elif (place / "measurement").is_dir():
        radar = _read_safe(place)
    else:
        raise SourceError(
            f"{place} holds neither item.json nor measurement/. Give a folder of Sentinel-1 RTC rasters with "
            "their item, or a SAFE folder of GRD."
        )
    if not radar.files:
        raise SourceError(f"{place} has no raster of {', '.join(POLARISATIONS)}. Fetch it again.")
    return radar


def find_radar(root: Path) -> tuple[Path, ...]:
    """Products of Sentinel-1 below a folder, by path: folders with their item.json, and SAFE folders of GRD.

    Nothing is looked for inside a product, nor in hidden folders; products of other satellites are passed
    over.
    """
    found: list[Path] = []
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        if (folder / "item.json").is_file():
            if _NAME.match(folder.name) or _tells_radar(folder / "item.json"):
                found.append(folder)
        elif folder.suffix == ".SAFE":
            if _NAME.match(folder.name):
                found.append(folder)
        else:
            entries = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
            waiting += [entry for entry in entries if entry.is_dir()]
    return tuple(sorted(found))


def _tells_radar(file: Path) -> bool:
    try:
        item = load_item(file)
    except SourceError:
        return False
    return "sentinel-1" in str(item.get("collection", "")).lower() or str(item.get("id")).startswith("S1")


def prefer_corrected(products: Iterable[Radar]) -> tuple[Radar, ...]:
    """Each observation once, terrain-corrected where there is such a product; by time and name."""
    best: dict[tuple[str, str], Radar] = {}
    for product in products:
        known = best.get(product.observation)
        if known is None or (product.corrected, product.name) > (known.corrected, known.name):
            best[product.observation] = product
    return tuple(sorted(best.values(), key=lambda item: (item.sensed, item.name)))


def by_direction(products: Iterable[Radar]) -> dict[Direction, tuple[Radar, ...]]:
    """Products of ascending and of descending orbits apart; those that do not tell are under ""."""
    found: dict[Direction, list[Radar]] = {}
    for product in products:
        found.setdefault(product.direction, []).append(product)
    return {direction: tuple(found[direction]) for direction in sorted(found)}


def to_decibel(power: NDArray[Any]) -> NDArray[np.float32]:
    """10 · log10 of linear backscatter, float32; NaN stays, nothing lies below −50 dB.

    >>> to_decibel(np.array([1.0, 0.1, 0.0, np.nan])).tolist()
    [0.0, -10.0, -50.0, nan]
    """
    low = 10.0 ** (FLOOR_DB / 10)
    values = np.asarray(power, dtype=np.float64)
    found: NDArray[np.float32] = (10.0 * np.log10(np.maximum(values, low))).astype(np.float32)
    return found


def backscatter(
    radar: Radar, polarisation: str, grid: Grid, *, quantity: Quantity = "gamma", denoise: bool = False
) -> NDArray[np.float32]:
    """Backscatter on a grid, decibel, float32 (height, width), NaN where nothing was measured.

    Power is averaged (bilinear), never decibels. GRD needs some 40 bytes for each pixel of the grid: ask
    block by block.

    Parameters
    ----------
    radar : Radar
        The observation.
    polarisation : str
        "vv", "vh", …
    grid : Grid
        Where it is wanted.
    quantity : {"gamma", "sigmaNought", "betaNought"}
        Which table GRD is calibrated with; RTC is gamma nought already.
    denoise : bool
        Take the thermal noise of the annotation away from GRD.

    Raises
    ------
    SourceError
        No such polarisation, a damaged raster, no calibration, or no place on earth.
    """
    import rasterio
    from rasterio.errors import RasterioError

    path = radar.files.get(polarisation)
    if path is None:
        raise SourceError(
            f"{radar.path} has no {polarisation}; it holds {', '.join(sorted(radar.files))}. Ask for one of "
            "them."
        )
    try:
        with rasterio.Env(GDAL_PAM_ENABLED="NO"):
            if radar.corrected:
                power = _warp_file(path, grid)
            else:
                power = _warp_grd(radar, polarisation, grid, quantity=quantity, denoise=denoise)
    except RasterioError as error:
        raise SourceError(f"{path} cannot be read ({error}). It is damaged: fetch it again.") from error
    return to_decibel(power)


# ---- onto a grid -----------------------------------------------------------------------------------------
def _warp_file(path: str, grid: Grid) -> NDArray[np.float32]:
    import rasterio

    with rasterio.open(path) as raster:
        if raster.crs is None:
            raise SourceError(f"{path} has no coordinate reference system. Fetch it again.")
        return _warped(raster, grid, src_nodata=raster.nodata)


def _warp_grd(
    radar: Radar, polarisation: str, grid: Grid, *, quantity: Quantity, denoise: bool
) -> NDArray[np.float32]:
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.warp import reproject
    from rasterio.windows import Window

    path = radar.files[polarisation]
    told = radar.calibration.get(polarisation)
    if told is None:
        raise SourceError(
            f"{radar.path} has no calibration annotation of {polarisation}. Fetch annotation/calibration/, "
            "or the terrain-corrected product."
        )
    table = read_calibration(Path(told).read_bytes(), told, quantity)
    noise = None
    if denoise:
        noted = radar.noise.get(polarisation)
        if noted is None:
            raise SourceError(
                f"{radar.path} has no noise annotation of {polarisation}. Fetch it, or leave it."
            )
        noise = read_noise(Path(noted).read_bytes(), noted)
    with rasterio.open(path) as raster:
        points, crs = raster.gcps
        if not points or crs is None:
            raise SourceError(
                f"{path} has no ground control points, so it has no place on earth. Fetch it again."
            )
        window = _window_of(points, crs, grid, raster.shape)
        if window is None:
            return np.full(grid.shape, np.nan, dtype=np.float32)
        top, left, bottom, right = window
        numbers = raster.read(1, window=Window(left, top, right - left, bottom - top))
        step = _step_of(radar, polarisation, raster.shape)
        power = calibrate(numbers, table, noise=noise, row=top, col=left, step=step)
    moved = [_moved(point, top, left) for point in points]
    placed = np.full(grid.shape, np.nan, dtype=np.float32)
    # a thin plate spline goes through every control point; a polynomial would smooth their relief away
    reproject(
        power,
        placed,
        gcps=moved,
        src_crs=crs,
        src_nodata=float("nan"),
        dst_crs=grid.crs,
        dst_transform=grid.affine,
        dst_nodata=float("nan"),
        resampling=Resampling.bilinear,
        SRC_METHOD="GCP_TPS",
    )
    return placed


def _warped(raster: Any, grid: Grid, *, src_nodata: float | None) -> NDArray[np.float32]:
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT

    with WarpedVRT(
        raster,
        crs=grid.crs,
        transform=grid.affine,
        width=grid.width,
        height=grid.height,
        resampling=Resampling.bilinear,
        src_nodata=src_nodata,
        nodata=float("nan"),
        dtype="float32",
    ) as warped:
        found: NDArray[np.float32] = warped.read(1)
    return found


def _window_of(
    points: Sequence[Any], crs: Any, grid: Grid, shape: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """The rows and columns of an image that may hold a grid, by its control points; None if none."""
    from rasterio.warp import transform_bounds

    west, south, east, north = transform_bounds(grid.crs, crs, *grid.bounds, densify_pts=21)
    xs = np.array([point.x for point in points])
    ys = np.array([point.y for point in points])
    if east < xs.min() or west > xs.max() or north < ys.min() or south > ys.max():
        return None
    # rows and columns as a polynomial of second order in place: good to some pixels, so a margin is added
    place = np.column_stack([np.ones_like(xs), xs, ys, xs * ys, xs**2, ys**2])
    rows = np.array([point.row for point in points])
    cols = np.array([point.col for point in points])
    fit, *_ = np.linalg.lstsq(place, np.column_stack([rows, cols]), rcond=None)
    margin = np.abs(place @ fit - np.column_stack([rows, cols])).max() + 16
    x, y = (side.ravel() for side in np.meshgrid(np.linspace(west, east, 9), np.linspace(south, north, 9)))
    guess = np.column_stack([np.ones_like(x), x, y, x * y, x**2, y**2]) @ fit
    low, high = np.floor(guess.min(axis=0) - margin), np.ceil(guess.max(axis=0) + margin)
    top, left = int(max(0, low[0])), int(max(0, low[1]))
    bottom, right = int(min(shape[0], high[0])), int(min(shape[1], high[1]))
    return (top, left, bottom, right) if bottom > top and right > left else None


def _moved(point: Any, top: int, left: int) -> Any:
    from rasterio.control import GroundControlPoint

    return GroundControlPoint(
        row=point.row - top,
        col=point.col - left,
        x=point.x,
        y=point.y,
        z=point.z,
        id=point.id,
        info=point.info,
    )


def _step_of(radar: Radar, polarisation: str, shape: tuple[int, int]) -> tuple[float, float]:
    """Lines and pixels of the annotated image for one of the raster; more than 1 in a reduced copy."""
    annotation = _annotation(Path(radar.path), polarisation)
    if annotation is None:
        return 1.0, 1.0
    root = parse_xml(annotation.read_bytes(), str(annotation))
    lines, samples = find_text(root, "numberOfLines"), find_text(root, "numberOfSamples")
    return (int(lines) / shape[0], int(samples) / shape[1]) if lines and samples else (1.0, 1.0)


# ---- products on disk ------------------------------------------------------------------------------------
def _read_item(place: Path) -> Radar:
    item = load_item(place / "item.json")
    properties = item.get("properties") or {}
    files = {}
    for name in POLARISATIONS:
        asset = item["assets"].get(name)
        local = sorted(place.rglob(f"*{name}*.tif*"))
        if local:
            files[name] = str(local[0])
        elif asset and "://" in str(asset.get("href")):
            files[name] = gdal_path(str(asset["href"]))
    started = properties.get("start_datetime") or properties.get("datetime")
    identity = str(item.get("id") or place.name)
    match = _NAME.match(identity)
    corrected = "rtc" in identity.lower() or "rtc" in str(item.get("collection", "")).lower()
    if not corrected:
        raise SourceError(
            f"{place / 'item.json'} describes {identity}, which is not terrain-corrected. Give its SAFE "
            "folder, or fetch the collection sentinel-1-rtc."
        )
    return Radar(
        name=identity,
        path=str(place),
        sensed=_stamp(match["start"]) if match else _time(started, place),
        direction=_direction(properties.get("sat:orbit_state")),
        orbit=int(properties["sat:relative_orbit"]) if "sat:relative_orbit" in properties else None,
        corrected=True,
        files=files,
        calibration={},
        noise={},
        footprint=_footprint(item),
        simulated="simulated" in properties,
    )


def _footprint(item: Mapping[str, Any]) -> str:
    import shapely.geometry

    try:
        return str(shapely.geometry.shape(item["geometry"]).wkt)
    except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError):
        return ""


def _read_safe(place: Path) -> Radar:
    match = _NAME.match(place.name)
    if not match:
        raise SourceError(f"{place.name} is no name of a Sentinel-1 GRD product; keep the folder's own name.")
    direction: Direction = ""
    files = _by_polarisation(place / "measurement", "")
    for name in files:
        if annotation := _annotation(place, name):
            root = parse_xml(annotation.read_bytes(), str(annotation))
            direction = _direction((find_text(root, "pass") or "").lower())
            break
    return Radar(
        name=place.name,
        path=str(place),
        sensed=_stamp(match["start"]),
        direction=direction,
        orbit=_orbit(place, match),
        corrected=False,
        files=files,
        calibration=_by_polarisation(place / "annotation" / "calibration", "calibration"),
        noise=_by_polarisation(place / "annotation" / "calibration", "noise"),
    )


def _by_polarisation(folder: Path, start: str) -> dict[str, str]:
    found = {}
    for name in POLARISATIONS:
        sign = re.compile(rf"(^|-){name}(-|\.)")
        file = next((f for f in sorted(folder.glob(f"{start}*")) if sign.search(f.name)), None)
        if file is not None:
            found[name] = str(file)
    return found


def _orbit(place: Path, match: re.Match[str]) -> int | None:
    """The relative orbit, by the manifest or by the absolute one in the name."""
    manifest = place / "manifest.safe"
    if manifest.is_file():
        text = find_text(parse_xml(manifest.read_bytes(), str(manifest)), "relativeOrbitNumber")
        if text and text.isdecimal():
            return int(text)
    offset = _ORBIT_OFFSET.get(match["platform"])
    return None if offset is None else (int(match["orbit"]) - offset) % 175 + 1


def _annotation(place: Path, polarisation: str) -> Path | None:
    sign = re.compile(rf"(^|-){polarisation}(-|\.)")
    return next((f for f in sorted((place / "annotation").glob("*.xml")) if sign.search(f.name)), None)


def _direction(value: object) -> Direction:
    if value == "ascending":
        return "ascending"
    return "descending" if value == "descending" else ""


def _stamp(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)


def _time(value: object, place: Path) -> datetime:
    try:
        found = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError as error:
        raise SourceError(f"{place}: the item's time {value!r} cannot be read. Fetch it again.") from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
