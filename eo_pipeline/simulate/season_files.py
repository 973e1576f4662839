"""The texts of a season folder: season.toml, which `eo run` reads, and the README of the whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Final

from eo_pipeline.simulate import canopy, crops, events, landscape, scenes, sky, vectors
from eo_pipeline.simulate.orbits import OFFSET_SINCE

#: What a map is trained on: enough bands to tell crops apart, few enough to be quick.
FEATURES: Final = ("B02", "B03", "B04", "B05", "B08", "B11", "B12", "NDVI")


def season_window(year: int) -> tuple[date, date]:
    """First and last day of a harvest year's season: sowing of winter wheat to the last harvest."""
    return date(year - 1, 9, 1), date(year, 10, 31)


def _stack_source() -> str:
    """[source] of one GeoTIFF a date."""
    bands = ", ".join(f"{name} = {index}" for index, name in enumerate((*canopy.BAND_NAMES, "SCL"), 1))
    clear = ", ".join(str(code) for code in sky.SCL_CLEAR)
    return f"""[source]
kind = "folder"
root = "scenes"
pattern = 'S2_(?P<date>\\d{{8}})\\.tif'
date_format = "%Y%m%d"
layout = "bands"
bands = {{ {bands} }}
scale = 0.0001
offset = 0.0
nodata = {scenes.NODATA}
[[source.mask]]
band = "SCL"
clear = [{clear}]
"""


#: [source] of SAFE products, which say themselves how they are to be read.
_SAFE_SOURCE: Final = """[source]
kind = "folder"
layout = "safe"
root = "../archive"

[source.radar]   # Sentinel-1, terrain-corrected; GRD: ../archive/sentinel-1-grd, if it was made
root = "../archive/sentinel-1-rtc"

[source.terrain]
dem = "../dem.tif"
"""


def season_toml(year: int, runs: str, *, baseline: str | None, safe: bool = False) -> str:
    """The season file of a harvest year, as `eo_pipeline.season` reads it."""
    start, end = season_window(year)
    earlier = (
        f"baseline = [{json.dumps(f'{runs}/{baseline}')}]   # run that season first"
        if baseline
        else "# the first season: no baseline"
    )
    classes = "\n".join(
        f'[[classes]]\ncode = {item.code}\nname = "{item.name}"\nzh = "{item.zh}"\nen = "{item.en}"\n'
        f'colour = "{item.colour}"\ncrop = {str(item.crop).lower()}\n'
        for item in crops.CLASSES
    )
    features = ", ".join(f'"{name}"' for name in FEATURES)
    return f"""# 模拟数据 SIMULATED by `eo simulate`. Run it with: eo run season.toml
[season]
id = "jingning-{year}"
title = "静宁示范片 {year}"
start = {start}
end = {end}
step = "dekad"
simulated = true

[region]
name = "{landscape.COUNTY[1]}"
units = "units.geojson"
parcels = "parcels.geojson"

{_SAFE_SOURCE if safe else _stack_source()}
{classes}
[classify]
samples = "samples.geojson"
features = [{features}]
folds = 3
group_km = 0.5   # fields on one slope never stand on both sides of a split
seed = 42

[area]
reference = "reference.geojson"
design = "simple_random"
confidence = 0.95

[growth]
index = "NDVI"
{earlier}

[output]
root = {json.dumps(runs)}
"""


_STACK_LINES: Final = f"""\
- `<year>/scenes/`: Sentinel-2-like bands, int16 × 10 000, EPSG:{landscape.EPSG}, 10 m; the last band is SCL.
  SCL misses about {sky.MISSED_THIN:.0%} of thin cloud and {sky.MISSED_SHADOW:.0%} of shadow, as real ones do
"""
_SAFE_LINES: Final = f"""\
- `archive/S2?_MSIL2A_*.SAFE`: Sentinel-2 L2A products of tiles 48SWE and 48SWD, each a window of its tile;
  what both hold is the same. Baselines before 04.00 have no offset; reality changed over on {OFFSET_SINCE},
  a twin of other years in the middle of its oldest season. SCL misses about {sky.MISSED_THIN:.0%} of thin
  cloud and {sky.MISSED_SHADOW:.0%} of shadow, as real ones do
- `archive/sentinel-1-rtc/<id>/`: gamma naught of VV and VH, linear, with a STAC item
- `dem.tif`: height in metres
"""


#: By the option that makes them.
_MORE_LINES: Final[Mapping[str, str]] = {
    "level1c": "- `archive/S2?_MSIL1C_*.SAFE`: the same above the atmosphere, with the bands of 60 m\n",
    "grd": "- `archive/sentinel-1-grd/*.SAFE`: the same passes before terrain correction, to be calibrated\n",
}


def readme(options: Mapping[str, object]) -> str:
    """README.md of the twin's folder."""
    pictures = _SAFE_LINES if options.get("format") == "safe" else _STACK_LINES
    pictures += "".join(line for name, line in _MORE_LINES.items() if options.get(name))
    codes = ", ".join(f"{item.code} {name}" for name, item in events.RESPONSE.items())
    disasters = (
        "- `<year>/truth/events.geojson`, `event_severity.tif`, `event_summary.tif`, `losses.csv`:\n"
        f"  disasters ({codes}), where and when they struck and what they cost; yields are after the loss\n"
        if options.get("events") == "typical"
        else ""
    )
    return f"""# 模拟数据 · Simulated data

本文件夹由 `eo simulate` 生成，全部为模拟数据，不是观测结果，也不是统计数据。
Everything here was made by `eo simulate`; nothing is an observation or a statistic.

Options: {json.dumps(dict(options))}

- `<year>/season.toml`: what `eo run` reads; the oldest first, as a season is compared with the one before
{pictures}\
- `<year>/acquisitions.csv`: every overpass, its true cloud cover and the errors of SCL; overcast ones are
  not kept
- `<year>/units.geojson`, `parcels.geojson`: invented outlines (示意) under names of Jingning
- `<year>/samples.geojson`: field survey for training, {vectors.LABEL_NOISE:.1%} of fields noted wrongly
- `<year>/reference.geojson`: independent simple random sample of pixels, answered from the truth
- `<year>/truth/`: crop, vigour, areas, growth, yields (kg/mu) and stage days: what a run is judged by
{disasters}
Canopies: PROSPECT-D and 4SAIL (package prosail). Calendars, shares and yields are tables of the code,
`eo_pipeline/simulate/crops.py`; what is assumed is said there.
"""
