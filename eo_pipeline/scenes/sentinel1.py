"""Sentinel-1 products on disk: terrain-corrected rasters (RTC) and GRD, and which of them shows a pass.

Terrain-corrected products (gamma nought flattened with an elevation model) are preferred: on loess hills a
slope changes the backscatter more than any crop. GRD leaves that in, and is used where there is nothing
better.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from eo_pipeline.acquire.products import Direction
from eo_pipeline.errors import SourceError
from eo_pipeline.scenes.items import load_item
from eo_pipeline.scenes.range_doppler import read_geometry
from eo_pipeline.scenes.safe_xml import find_text, parse_xml

POLARISATIONS: Final = ("vv", "vh", "hh", "hv")
_NAME: Final = re.compile(
    r"(?P<platform>S1[A-D])_\w{2}_GRD\w_\w{4}_(?P<start>\d{8}T\d{6})_\d{8}T\d{6}_(?P<orbit>\d{6})_(?P<take>\w{6})"
)
#: Relative orbit = (absolute − this) mod 175 + 1, by platform (175 orbits in a 12-day cycle).
_ORBIT_OFFSET: Final = {"S1A": 73, "S1B": 27}
#: What products of `eo simulate` say in a comment at their head.
_SIMULATED: Final = b"SIMULATED"


@dataclass(frozen=True, slots=True)
class Radar:
    """One observation by Sentinel-1.

    `files` maps a polarisation (vv, vh) to its raster; `annotation`, `calibration` and `noise` to the XML
    of GRD. `corrected` is whether it was flattened with an elevation model; `direction` tells ascending from
    descending orbits, whose series are never mixed. `footprint` is WKT in longitude and latitude (over the
    date line in one piece, beyond 180°), empty where the product does not tell it. `observation` is the same
    for every product of one data take and slice.
    """

    name: str
    path: str
    sensed: datetime
    direction: Direction
    orbit: int | None
    corrected: bool
    files: Mapping[str, str]
    annotation: Mapping[str, str]
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


def day_of(name: str) -> date | None:
    """The day of sensing by a product's name; None where the name does not tell."""
    match = _NAME.match(name)
    return _stamp(match["start"]).date() if match else None


def prefer_corrected(products: Iterable[Radar]) -> tuple[Radar, ...]:
    """Each observation once, terrain-corrected where there is such a product; by time and name."""
    best: dict[tuple[str, str], Radar] = {}
    for product in products:
        known = best.get(product.observation)
        if known is None or (product.corrected, product.name) > (known.corrected, known.name):
            best[product.observation] = product
    return tuple(sorted(best.values(), key=lambda item: (item.sensed, item.name)))


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
            files[name] = str(asset["href"]).removeprefix("file://")
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
        annotation={},
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
    annotation = _by_polarisation(place / "annotation", "s1")
    if not annotation:
        raise SourceError(f"{place} has no annotation, so it has no place on earth. Fetch it again.")
    where = next(iter(annotation.values()))
    data = Path(where).read_bytes()
    geometry = read_geometry(data, where)
    return Radar(
        name=place.name,
        path=str(place),
        sensed=_stamp(match["start"]),
        direction=_direction(geometry.heading.lower()),
        orbit=_orbit(place, match),
        corrected=False,
        files=_by_polarisation(place / "measurement", ""),
        annotation=annotation,
        calibration=_by_polarisation(place / "annotation" / "calibration", "calibration"),
        noise=_by_polarisation(place / "annotation" / "calibration", "noise"),
        footprint="POLYGON((" + ", ".join(f"{x:.6f} {y:.6f}" for x, y in geometry.outline) + "))",
        simulated=_SIMULATED in data[:4096],
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
