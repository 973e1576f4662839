"""What is true in the twin: crop and vigour of every pixel, yields, areas, stage days, growth.

Also the simulated surveyor, who answers a drawn sample from the truth.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.errors import SampleError
from eo_pipeline.simulate import crops, events
from eo_pipeline.simulate.calendar import Cropping
from eo_pipeline.simulate.landscape import COUNTY, EPSG, PIXEL_M, TOWNSHIPS, Grid
from eo_pipeline.simulate.scenes import SIMULATED_TAG, World

Float = NDArray[np.float32]

HA_PER_PIXEL: Final = PIXEL_M**2 / 10_000
#: Growth classes by leaf area against last year's mean of the crop, percent (trial thresholds 试行: ±5 and
#: ±15).
GROWTH_CLASSES: Final = ("poor", "fair", "normal", "good", "very_good")
GROWTH_LIMITS: Final = (-15.0, -5.0, 5.0, 15.0)
#: Stages whose true days are written for every parcel.
STAGES: Final = (
    "sowing",
    "emergence",
    "green_up",
    "heading",
    "tasselling",
    "full_bloom",
    "flowering",
    "maturity",
    "harvest",
)


def unit_masks(world: World) -> dict[str, NDArray[np.bool_]]:
    """Pixels of every unit by code: the county (the whole piece) and its townships."""
    township = world.land.township[world.land.segment]
    masks = {COUNTY[0]: np.ones(township.shape, bool)}
    masks |= {code: township == index for index, (code, _) in enumerate(TOWNSHIPS)}
    return {code: mask for code, mask in masks.items() if mask.any()}


def growth_percent(world: World, year: int) -> Float:
    """Vigour of every pixel against last year's mean of its crop, in percent; NaN on other land."""
    now, before = world.plan[year], world.plan[year - 1]
    codes = now.code[world.land.segment]
    vigour, last = world.pixel_vigour(year), world.pixel_vigour(year - 1)
    last_codes = before.code[world.land.segment]
    out = np.full(codes.shape, np.nan, np.float32)
    for item in crops.CLASSES:
        if item.crop and (last_codes == item.code).any():
            here = codes == item.code
            out[here] = 100 * (vigour[here] / last[last_codes == item.code].mean() - 1)
    return out


def yields(world: World, year: int) -> Float:
    """Yield of every segment in kg per mu, NaN on other land.

    base · vigour^1.2 · own luck, within the limits of `crops.YIELD_KG_PER_MU`; events take their share of it.
    """
    cropping = world.plan[year]
    luck = np.random.default_rng([world.seed, 8, year]).normal(1, 0.06, len(cropping.variant))
    out = np.full(len(cropping.variant), np.nan)
    for name, (base, low, high) in crops.YIELD_KG_PER_MU.items():
        here = cropping.code == crops.CODE[name]
        out[here] = np.clip(base * cropping.vigour[here] ** 1.2 * luck[here], low, high)
    if world.events:
        out *= 1 - events.yield_loss(world.events, year, len(out))
    return np.asarray(out, np.float32)


def write_truth(world: World, year: int, folder: Path) -> None:
    """Write crop_type.tif, vigour.tif, area.csv, growth.csv, yield.csv and stages.csv of a harvest year."""
    folder.mkdir(parents=True)
    land, cropping = world.land, world.plan[year]
    codes = cropping.code[land.segment]
    write_raster(
        folder / "crop_type.tif",
        codes[None],
        land.grid,
        nodata=0,
        names=("crop_type",),
        colours={item.code: item.colour for item in crops.CLASSES},
    )
    growth = growth_percent(world, year)
    write_raster(
        folder / "vigour.tif",
        np.stack([world.pixel_vigour(year), growth]),
        land.grid,
        nodata=float("nan"),
        names=("vigour (1 = normal)", "growth against last year's mean of the crop (percent)"),
    )
    masks = unit_masks(world)
    write_table(folder / "area.csv", ("unit", "crop", "pixels", "area_ha"), _areas(codes, masks))
    write_table(folder / "growth.csv", ("unit", "crop", "class", "percent"), _growth(codes, growth, masks))
    _write_parcels(world, year, growth, folder)


def _areas(codes: NDArray[np.uint8], masks: dict[str, NDArray[np.bool_]]) -> Iterable[Sequence[object]]:
    for unit, mask in masks.items():
        counts = np.bincount(codes[mask], minlength=len(crops.CLASSES) + 1)
        for item in crops.CLASSES:
            pixels = int(counts[item.code])
            yield unit, item.name, pixels, f"{pixels * HA_PER_PIXEL:.2f}"


def _growth(
    codes: NDArray[np.uint8], growth: Float, masks: dict[str, NDArray[np.bool_]]
) -> Iterable[Sequence[object]]:
    for unit, mask in masks.items():
        for item in crops.CLASSES:
            values = growth[mask & (codes == item.code)]
            values = values[np.isfinite(values)]
            if not item.crop or not len(values):
                continue
            shares = np.bincount(np.digitize(values, GROWTH_LIMITS), minlength=5) / len(values)
            for name, share in zip(GROWTH_CLASSES, shares, strict=True):
                yield unit, item.name, name, f"{100 * share:.3f}"


def _write_parcels(world: World, year: int, growth: Float, folder: Path) -> None:
    land, cropping = world.land, world.plan[year]
    kg = yields(world, year)
    flat = land.segment.ravel()
    mean_growth = np.bincount(flat, np.nan_to_num(growth.ravel()), minlength=len(land.use)) / land.pixels
    names = [crops.NAME[int(code)] for code in cropping.code]
    has_growth = {crops.CODE[n] for n in crops.YIELD_KG_PER_MU} & set(world.plan[year - 1].code.tolist())

    def rows() -> Iterable[Sequence[object]]:
        for index, parcel in enumerate(land.parcel_ids):
            crop = bool(np.isfinite(kg[index]))
            grown = crop and int(cropping.code[index]) in has_growth
            yield (
                parcel,
                TOWNSHIPS[land.township[index]][0],
                names[index],
                crops.VARIANTS[cropping.variant[index]].name,
                f"{land.pixels[index] * HA_PER_PIXEL:.2f}",
                f"{land.height[index]:.0f}",
                f"{cropping.vigour[index]:.4f}",
                f"{mean_growth[index]:.2f}" if grown else "",
                f"{kg[index]:.1f}" if crop else "",
            )

    head = (
        "parcel",
        "township",
        "crop",
        "variant",
        "area_ha",
        "elevation_m",
        "vigour",
        "growth_percent",
        "yield_kg_mu",
    )
    write_table(folder / "yield.csv", head, rows())
    write_table(
        folder / "stages.csv", ("parcel", "crop", "stage", "date"), _stages(cropping, land.parcel_ids, names)
    )


def _stages(cropping: Cropping, parcels: Sequence[str], names: Sequence[str]) -> Iterable[Sequence[object]]:
    new_year = date(cropping.year, 1, 1)
    for stage in STAGES:
        days = cropping.stage_day(stage)[: len(parcels)]
        for index in np.flatnonzero(np.isfinite(days)).tolist():
            day = new_year + timedelta(days=round(float(days[index])))
            yield parcels[index], names[index], stage, day.isoformat()


def write_table(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)


def write_raster(
    path: Path,
    data: NDArray[Any],
    grid: Grid,
    *,
    nodata: float,
    names: Sequence[str],
    colours: dict[int, str] | None = None,
) -> None:
    import rasterio
    from rasterio.transform import Affine

    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=grid.size,
        height=grid.size,
        count=len(data),
        dtype=data.dtype.name,
        crs=f"EPSG:{EPSG}",
        transform=Affine(*grid.transform),
        nodata=nodata,
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="ZSTD",
    ) as target:
        target.write(data)
        for index, name in enumerate(names, 1):
            target.set_band_description(index, name)
        if colours:
            table = {c: (int(h[1:3], 16), int(h[3:5], 16), int(h[5:7], 16), 255) for c, h in colours.items()}
            target.write_colormap(1, table)
        target.update_tags(SIMULATED=SIMULATED_TAG)


def answer_sample(design: Path, truth: Path, out: Path, *, error: float = 0.0, seed: int = 42) -> int:
    """Let the simulated surveyor visit the points of a drawn sample and note the crop that stands there.

    Parameters
    ----------
    design
        GeoJSON of points (lon, lat, EPSG:4326) with any properties; they are kept.
    truth
        Truth folder of the season.
    out
        GeoJSON to write: the same points with `label`, and the file's own members, `sampling_design` among
        them.
    error
        Chance that the surveyor writes a wrong class, 0-0.5.

    Returns
    -------
    int
        Number of points answered.

    Raises
    ------
    SampleError
        The file is no GeoJSON of points, or a point lies outside the simulated piece.
    """
    import rasterio
    from rasterio.warp import transform

    if not 0 <= error <= 0.5:
        raise SampleError(f"error = {error} is out of range; give the chance of a wrong answer, 0 to 0.5.")
    raster = truth / "crop_type.tif"
    if not raster.is_file():
        raise SampleError(
            f"{truth} is not a truth folder: it has no crop_type.tif. Give DIR/<year>/truth of eo simulate."
        )
    try:
        document = json.loads(design.read_text(encoding="utf-8"))
        features = document["features"]
        points = [feature["geometry"]["coordinates"][:2] for feature in features]
        lon, lat = [float(x) for x, _ in points], [float(y) for _, y in points]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise SampleError(
            f"{design} cannot be read as GeoJSON points: {problem!r}. Draw the sample again."
        ) from problem
    if not features:
        raise SampleError(f"{design} holds no points. Draw the sample again.")
    with rasterio.open(raster) as source:
        codes = source.read(1)
        x, y = transform("EPSG:4326", source.crs, lon, lat)
        west, north = source.transform.c, source.transform.f
    rng = np.random.default_rng([seed, 9])
    names = list(crops.CODE)
    for number, feature in enumerate(features):
        column = int(np.floor((x[number] - west) / PIXEL_M))
        row = int(np.floor((north - y[number]) / PIXEL_M))
        if not (0 <= row < codes.shape[0] and 0 <= column < codes.shape[1]):
            raise SampleError(
                f"{design}: point {number + 1} at {lon[number]:.5f}, {lat[number]:.5f} lies outside "
                f"{raster}. Draw the sample within the simulated piece."
            )
        label = crops.NAME[int(codes[row, column])]
        if rng.random() < error:
            label = str(rng.choice([name for name in names if name != label]))
        feature["properties"] = {**(feature.get("properties") or {}), "label": label}
    document |= {"simulated": True, "answered_from": "simulated truth", "answer_error": error}
    partial = out.with_name(f".{out.name}.partial")
    partial.write_text(
        json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8"
    )
    partial.replace(out)
    return len(features)
