"""The twin's vector files in lon/lat: units, parcels, training samples and the reference sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.simulate import crops
from eo_pipeline.simulate.landscape import COUNTY, EPSG, PIXEL_M, TOWNSHIPS, Landscape
from eo_pipeline.simulate.scenes import World
from eo_pipeline.simulate.truth import HA_PER_PIXEL

LABEL_NOISE: Final = 0.025
#: Fields surveyed of a class, if it has so many; one point in each.
SURVEYED_PER_CLASS: Final = 110
#: Of 600 points too few fall on errors of a good map: the intervals then held the truth in 84 % of
#: draws on average, of 1000 in 89 % (normal approximation, 2000 draws; common crops 94-95 %).
REFERENCE_POINTS: Final = 1000
_NOTE: Final = "模拟数据 SIMULATED"


def write_geojson(path: Path, features: list[dict[str, Any]], **members: object) -> None:
    """Write a FeatureCollection labelled simulated; `members` are added beside `features`."""
    head = {"type": "FeatureCollection", "simulated": True, "note": _NOTE, **members}
    lines = ",\n".join(json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in features)
    text = json.dumps(head, ensure_ascii=False)[:-1] + ', "features": [\n' + lines + "\n]}\n"
    path.write_text(text, encoding="utf-8")


def write_units(land: Landscape, path: Path) -> None:
    """County (the whole piece) and townships; outlines are invented and follow the parcels (示意)."""
    township = land.township[land.segment].astype(np.int32)
    county = _outlines(np.zeros_like(township), land)
    towns = _outlines(township, land)
    features = [_feature(county[0], code=COUNTY[0], name=COUNTY[1], level="county", schematic=True)]
    features += [
        _feature(shape, code=TOWNSHIPS[index][0], name=TOWNSHIPS[index][1], level="township", schematic=True)
        for index, shape in sorted(towns.items())
    ]
    write_geojson(path, features)


def write_parcels(land: Landscape, path: Path) -> None:
    """Every parcel with id, township and area; what grows there is truth and is not in this file."""
    shapes = _outlines(land.segment, land, fields_only=True)
    features = [
        _feature(
            shapes[index],
            id=parcel,
            township=TOWNSHIPS[land.township[index]][0],
            area_ha=round(float(land.pixels[index]) * HA_PER_PIXEL, 2),
            elevation_m=round(float(land.height[index])),
        )
        for index, parcel in enumerate(land.parcel_ids)
    ]
    write_geojson(path, features)


def _outlines(labels: NDArray[np.int32], land: Landscape, *, fields_only: bool = False) -> dict[int, Any]:
    """Outline of every label in lon/lat; common borders stay common when pixel steps are smoothed away."""
    import shapely
    from rasterio.features import shapes
    from rasterio.transform import Affine

    parts: dict[int, list[Any]] = {}
    for geometry, value in shapes(labels, connectivity=4, transform=Affine(*land.grid.transform)):
        parts.setdefault(int(value), []).append(shapely.geometry.shape(geometry))
    keys = sorted(parts)
    whole = [shapely.union_all(parts[key]) for key in keys]
    # A tolerance below the pixel's diagonal turns stairs into lines and moves no border by more than a pixel.
    smooth = shapely.coverage_simplify(whole, 0.8 * PIXEL_M, simplify_boundary=False)
    kept = {
        key: shape for key, shape in zip(keys, smooth, strict=True) if not fields_only or key < land.n_parcels
    }
    lonlat = shapely.transform(list(kept.values()), to_lonlat)
    return dict(zip(kept, lonlat, strict=True))


def to_lonlat(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metres of EPSG:32648 (n, 2) to degrees of longitude and latitude, seven digits."""
    from pyproj import Transformer

    move = Transformer.from_crs(EPSG, 4326, always_xy=True)
    return np.column_stack(move.transform(xy[:, 0], xy[:, 1])).round(7)


def _feature(shape: Any, **properties: object) -> dict[str, Any]:
    from shapely.geometry import mapping

    geometry = json.loads(json.dumps(mapping(shape)))
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def _points(land: Landscape, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float64]:
    """Lon/lat of pixel centres."""
    x = land.grid.west + (columns + 0.5) * PIXEL_M
    y = land.grid.north - (rows + 0.5) * PIXEL_M
    return to_lonlat(np.column_stack([x, y]))


def write_samples(world: World, year: int, path: Path) -> dict[str, int]:
    """Survey up to 110 fields of every class, spread over the piece; 2.5 % are wrongly noted.

    One point stands inside each field; `group` is the field. Returns points a class.
    """
    land, cropping = world.land, world.plan[year]
    rng = np.random.default_rng([world.seed, 10, year])
    inner = _interior(land.segment)
    inner_count = np.bincount(land.segment[inner], minlength=len(land.use))
    by_segment = np.argsort(np.where(inner, land.segment, len(land.use)).ravel(), kind="stable")
    start = np.concatenate([[0], np.cumsum(inner_count)])
    ids = land.parcel_ids
    rows: list[int] = []
    features: list[tuple[str, str]] = []
    counts: dict[str, int] = {}
    for item in crops.CLASSES:
        able = np.flatnonzero((cropping.code == item.code) & (inner_count > 0))
        for segment in _spread_choice(land, able, cropping.variant, SURVEYED_PER_CLASS, rng):
            label = item.name
            if rng.random() < LABEL_NOISE:
                label = str(rng.choice([other.name for other in crops.CLASSES if other.code != item.code]))
            pixels = by_segment[start[segment] : start[segment + 1]]
            group = ids[segment] if segment < land.n_parcels else f"{COUNTY[0]}-L{segment:04d}"
            rows.append(int(rng.choice(pixels)))
            features.append((label, group))
            counts[label] = counts.get(label, 0) + 1
    places = np.array(rows)
    lonlat = _points(land, places // land.grid.size, places % land.grid.size)
    write_geojson(
        path,
        [
            {
                "type": "Feature",
                "properties": {"label": label, "group": group},
                "geometry": {"type": "Point", "coordinates": xy},
            }
            for (label, group), xy in zip(features, lonlat.tolist(), strict=True)
        ],
        season=year,
        sampling_design="purposive",
        label_noise=LABEL_NOISE,
    )
    return counts


def _interior(segment: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Pixels whose four neighbours are of the same segment: where a surveyor would stand."""
    inside = np.zeros(segment.shape, bool)
    core = segment[1:-1, 1:-1]
    inside[1:-1, 1:-1] = (
        (core == segment[:-2, 1:-1])
        & (core == segment[2:, 1:-1])
        & (core == segment[1:-1, :-2])
        & (core == segment[1:-1, 2:])
    )
    return inside


def _spread_choice(
    land: Landscape, able: NDArray[np.intp], variant: NDArray[np.int32], most: int, rng: np.random.Generator
) -> list[int]:
    """Take fields cell by cell of a 5 × 5 grid and kind by kind, so that none is forgotten."""
    if not len(able):
        return []
    side = land.grid.size / 5
    cell = (land.y[able] // side).astype(int) * 5 + (land.x[able] // side).astype(int)
    stratum = cell * 100 + variant[able]
    order = rng.permutation(len(able))
    turn = np.zeros(len(able), int)
    seen: dict[int, int] = {}
    for place in order:
        turn[place] = seen.get(int(stratum[place]), 0)
        seen[int(stratum[place])] = turn[place] + 1
    rank = np.lexsort((rng.random(len(able)), turn))
    return sorted(int(able[place]) for place in rank[:most])


def write_reference(world: World, year: int, path: Path) -> None:
    """Simple random sample of pixels, all with the same chance, answered from the truth."""
    land = world.land
    rng = np.random.default_rng([world.seed, 11, year])
    pixels = land.grid.size**2
    chosen = np.sort(rng.choice(pixels, min(REFERENCE_POINTS, pixels // 4), replace=False))
    rows, columns = chosen // land.grid.size, chosen % land.grid.size
    codes = world.plan[year].code[land.segment[rows, columns]]
    lonlat = _points(land, rows, columns)
    write_geojson(
        path,
        [
            {
                "type": "Feature",
                "properties": {"id": number, "label": crops.NAME[int(code)]},
                "geometry": {"type": "Point", "coordinates": xy},
            }
            for number, (code, xy) in enumerate(zip(codes, lonlat.tolist(), strict=True), 1)
        ],
        season=year,
        sampling_design="simple_random",
        sampling_frame=f"{pixels} pixels of 10 m",
        answer_error=0.0,
    )
