"""The run's report for people: one self-contained HTML file, Chinese first, made from the run folder alone.

No script, no foreign host, no font to install. What matters stands first; every figure stands with its
method.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from markupsafe import Markup

from eo_pipeline.disk import write_file
from eo_pipeline.products.growth import NODATA, NOT_MONITORABLE
from eo_pipeline.products.thresholds import any_on_trial
from eo_pipeline.publish import report_record
from eo_pipeline.publish.contract import MapClass, RunManifest, palette, read_estimates, read_series
from eo_pipeline.publish.drawings import (
    Colours,
    CurvePoints,
    class_colours,
    curve_svg,
    map_svg,
    ramp_colours,
    shares_svg,
    swatch,
)
from eo_pipeline.publish.report_text import interval, month_day, mu, mu_parts

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]

AREA_METHOD_ZH: Final = "每个像元按其在椭球面上的真实面积计算（Karney 2013），与投影无关"
#: Area methods, the one to be believed first.
AREA_METHODS: Final = {
    "olofsson_2014": "分层随机样本的误差校正估计（Olofsson 等 2014，式 9–11）",
    "model_assisted": "模型辅助估计：全区误差率校正的图面积，再由本单元样点修正（Särndal 等 1992）",
    "stehman_2014": "分层随机样本的估计，分层与图上类别不同（Stehman 2014，式 2、25、28）",
    "synthetic_olofsson_2014": "全区误差率校正的合成估计（Olofsson 等 2014；假定各单元误差率相同）",
    "adjusted_count_model_based": "按交叉验证混淆率校正的模型估计（非概率样本，区间只含混淆率的误差）",
    "pixel_count": "像元计数（未校正误差）",
}
GROWTH_METHODS: Final = {
    "last_year": "与上年同期相比",
    "baseline_mean": "与往年同期均值相比",
    "climatology": "与历年同旬的中位水平相比，以历年波动幅度衡量",
    "peers": "与同种作物的中位水平相比（没有往年数据）",
}
STAGES: Final = {"green_up": "返青", "heading": "抽穗", "peak": "最绿", "senescence": "衰老过半"}
#: What the complete canopy (`heading`) is called by crop; crops without ears have none.
HEADINGS: Final = {
    "winter_wheat": "抽穗",
    "millet_buckwheat": "抽穗",
    "spring_maize": "抽雄",
    "": "抽穗（谷类）",
}
#: Ground of maps whose palette holds white.
_GREY: Final = "#e4e0d5"
#: More maps or curves than this are left to the catalog and the tables.
MAX_MAPS: Final = 6
MAX_CURVES: Final = 12


def write_report(folder: Path, manifest: RunManifest) -> Path:
    """Write report.html from the rasters, estimates.parquet, series.parquet and accuracy.json of a run
    folder.

    Parameters
    ----------
    folder
        The run folder, complete but for this file and run.json.
    manifest
        What run.json will say.

    Returns
    -------
    Path
        report.html.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    target = folder / "report.html"
    write_file(target, template.render(_Report(folder, manifest).context()).encode())
    return target


class _Report:
    """Gathers what the template prints."""

    def __init__(self, folder: Path, manifest: RunManifest) -> None:
        self.folder, self.manifest = folder, manifest
        self.estimates = read_estimates(folder)
        self.series = read_series(folder)
        self.accuracy: Row = json.loads((folder / "accuracy.json").read_text(encoding="utf-8"))
        self.names = {item.name: item for item in manifest.crops}
        listed = manifest.config.get("classes", [])
        self.no_crops = {item.get("name") for item in listed if item.get("crop") is False}

    def context(self) -> Row:
        """Everything the template names."""
        manifest = self.manifest
        areas = self.areas()
        growth = self.growth()
        curves = self.curves()
        scenes = report_record.scenes(manifest)
        return {
            "title": manifest.title,
            "region": manifest.region.get("name", ""),
            "period": f"{manifest.season['start']} 至 {manifest.season['end']}",
            "run_id": manifest.run_id,
            "created": manifest.created_at[:10],
            "simulated": manifest.simulated,
            "summary": self.summary(areas, growth),
            "keys": self.keys(areas, growth, scenes),
            "crop_maps": self.maps("crop_type", class_colours(manifest.crops), nodata=0),
            "legend": self.legend(),
            "legend_note": f"面积为像元计数；{AREA_METHOD_ZH}",
            "areas": areas,
            "confidence": self.confidence_level(),
            "area_note": self.area_note(),
            "growth": growth,
            "growth_maps": self.maps(
                "growth",
                class_colours(palette().growth),
                nodata=NODATA,
                hatched=NOT_MONITORABLE,
                ground=_GREY,
            ),
            "growth_key": [
                {
                    "swatch": Markup(swatch(c.colour, hatched=c.code == NOT_MONITORABLE)),  # noqa: S704 - our own SVG
                    "zh": c.zh,
                    "en": c.en,
                }
                for c in (*palette().growth, MapClass(NODATA, "", "非作物或无数据", "no crop", _GREY))
            ],
            "growth_note": self.growth_note(),
            "curves": curves[:MAX_CURVES],
            "curves_left": max(0, len(curves) - MAX_CURVES),
            "accuracies": report_record.accuracies(self.accuracy),
            "references": report_record.references(self.accuracy, self.crop_zh),
            "confusions": report_record.confusions(self.accuracy, self.crop_zh),
            "confidence_maps": self.maps("confidence", ramp_colours(palette().confidence), nodata=255),
            "confidence_key": [
                {"swatch": Markup(swatch(colour)), "zh": f"{stop}%"}  # noqa: S704 - our own SVG
                for stop, colour in palette().confidence
            ],
            "scenes": scenes,
            "notes": self.notes(),
            "trial": bool(growth) and any_on_trial("growth."),
            "inputs": report_record.inputs(manifest),
        }

    # ---- areas ------------------------------------------------------------------------------------------
    def _area_rows(self, unit: str) -> dict[str, dict[str, Any]]:
        """By crop and method, the area rows of a unit."""
        table = self.estimates
        table = table[(table["product"] == "area") & (table["unit_adcode"] == unit)]
        found: dict[str, dict[str, Any]] = {}
        for row in table.to_dict("records"):
            found.setdefault(str(row["crop"]), {})[str(row["method"])] = row
        return found

    def units(self, product: str) -> list[str]:
        """Units with rows of a product, in the table's order: the whole region comes first."""
        table = self.estimates[self.estimates["product"] == product]
        units = list(dict.fromkeys(u for u in table["unit_adcode"] if not u.startswith("parcel:")))
        return sorted(units, key=lambda unit: unit != "region")

    def unit_name(self, code: str) -> str:
        """A unit's name where the run says it, else its code."""
        if code == "region":
            return f"{self.manifest.region.get('name', '')}（全区）"
        names = self.manifest.region.get("units", {})
        return f"{names[code]}（{code}）" if code in names else code

    def crop_zh(self, name: str) -> str:
        """A crop's Chinese name; an unknown one keeps its own."""
        return self.names[name].zh if name in self.names else name or "全部"

    def areas(self) -> list[Row]:
        """One table a unit: the best estimate, its interval, and the pixel count beside it."""
        tables = []
        for unit in self.units("area"):
            rows = []
            for crop, methods in self._area_rows(unit).items():
                best = next(methods[m] for m in AREA_METHODS if m in methods)
                pixels = methods.get("pixel_count", best)
                rows.append(
                    {
                        "crop": crop,
                        "zh": self.crop_zh(crop),
                        "ha_value": float(best["value"]),
                        "mu": mu(best["value"]),
                        "interval": interval(best["ci_low"], best["ci_high"]),
                        "ha": f"{best['value']:,.1f}",
                        "pixels": mu(pixels["value"]),
                        "n": int(best["n_samples"]) or "—",
                        "method": best["method"],
                    }
                )
            tables.append({"unit": unit, "name": self.unit_name(unit), "rows": rows})
        return tables

    def legend(self) -> list[Row]:
        """Classes with the area their pixels cover in the map shown."""
        units = self.units("area")
        rows = self._area_rows(units[0]) if units else {}
        counted = {crop: float(m["pixel_count"]["value"]) for crop, m in rows.items() if "pixel_count" in m}
        total = sum(counted.values())
        return [
            {
                "swatch": Markup(swatch(item.colour)),  # noqa: S704 - our own SVG
                "zh": item.zh,
                "en": item.en,
                "mu": mu(counted[item.name]) if item.name in counted else "—",
                "ha": f"{counted[item.name]:,.1f}" if item.name in counted else "—",
                "share": f"{counted[item.name] / total:.1%}" if total and item.name in counted else "—",
            }
            for item in self.manifest.crops
        ]

    def confidence_level(self) -> str:
        """The intervals' confidence, as the season file asked."""
        return f"{float(self.manifest.config.get('area', {}).get('confidence', 0.95)):.0%}"

    def area_note(self) -> str:
        """Which methods the areas come from, in words."""
        used = [m for m in AREA_METHODS if m in set(self.estimates["method"])]
        return "方法：" + "；".join(AREA_METHODS[m] for m in used) + "。1 公顷 = 15 亩。"

    # ---- growth -----------------------------------------------------------------------------------------
    def growth(self) -> list[Row]:
        """Shares of the growth classes by crop, of the first unit that has them."""
        units = self.units("growth")
        if not units:
            return []
        table = self.estimates
        table = table[(table["product"] == "growth") & (table["unit_adcode"] == units[0])]
        rows = []
        for crop in dict.fromkeys(table["crop"]):
            own = table[table["crop"] == crop]
            shares = {str(name): float(value) for name, value in zip(own["class"], own["value"], strict=True)}
            monitorable = float(own["monitorable_share"].iloc[0])
            zh = self.crop_zh(crop)
            title = f"{zh}长势：" + "，".join(
                f"{c.zh} {shares.get(c.name, 0):.1f}%" for c in palette().growth[:5]
            )
            rows.append(
                {
                    "crop": crop,
                    "zh": zh,
                    "en": self.names[crop].en if crop in self.names else "",
                    "monitorable": f"{monitorable:.1%}",
                    "monitorable_value": monitorable,
                    "better": shares.get("good", 0.0) + shares.get("very_good", 0.0),
                    "worse": shares.get("poor", 0.0) + shares.get("fair", 0.0),
                    "svg": Markup(shares_svg(shares, title=title)),  # noqa: S704 - our own SVG
                    "shares": [
                        {"zh": c.zh, "value": f"{shares.get(c.name, 0.0):.1f}"} for c in palette().growth[:5]
                    ],
                }
            )
        return rows

    def growth_note(self) -> str:
        """What growth is compared with, in words."""
        methods = dict.fromkeys(self.estimates.loc[self.estimates["product"] == "growth", "method"])
        compared = "；".join(GROWTH_METHODS.get(m, m) for m in methods)
        index = self.manifest.config.get("growth", {}).get("index", "NDVI")
        return (
            f"按 {index} 在生长盛期的均值{compared}，分好、较好、持平、较差、差五级；"
            "各级合计为可监测面积的 100%。"
        )

    # ---- what stands first ------------------------------------------------------------------------------
    def _overall_growth(
        self, areas: Sequence[Row], growth: Sequence[Row]
    ) -> tuple[float, float, float] | None:
        """Better, worse (percent of what could be judged) and monitorable share over all crops, by area."""
        if not growth:
            return None
        hectares = {row["crop"]: row["ha_value"] for row in areas[0]["rows"]} if areas else {}
        weights = np.array([hectares.get(row["crop"], 1.0) for row in growth])
        seen = weights * [row["monitorable_value"] for row in growth]
        if seen.sum() <= 0:
            return None
        better = float((seen * [row["better"] for row in growth]).sum() / seen.sum())
        worse = float((seen * [row["worse"] for row in growth]).sum() / seen.sum())
        return better, worse, float(seen.sum() / weights.sum())

    def summary(self, areas: Sequence[Row], growth: Sequence[Row]) -> str:
        """The conclusion in two sentences."""
        sentences = []
        if areas:
            crops = [row for row in areas[0]["rows"] if row["crop"] not in self.no_crops]
            crops.sort(key=lambda row: -row["ha_value"])
            named = "，".join(f"{row['zh']} {row['mu']} 亩" for row in crops[:3])
            total = sum(row["ha_value"] for row in crops)
            sentences.append(f"监测到种植面积约 {mu(total)} 亩，其中{named}。")
        if overall := self._overall_growth(areas, growth):
            better, worse, monitorable = overall
            sentences.append(
                f"长势 {100 - better - worse:.1f}% 持平，{better:.1f}% 好于、{worse:.1f}% 不及对照水平；"
                f"可监测范围 {monitorable:.1%}。"
            )
        return "".join(sentences)

    def keys(self, areas: Sequence[Row], growth: Sequence[Row], scenes: Row) -> list[Row]:
        """Up to four figures for the head of the page."""
        found: list[Row] = []
        if areas:
            crops = [row for row in areas[0]["rows"] if row["crop"] not in self.no_crops]
            for row in sorted(crops, key=lambda row: -row["ha_value"])[:2]:
                value, unit = mu_parts(row["ha_value"])
                below = (
                    f"{self.confidence_level()} 区间 {row['interval']} 亩"
                    if row["interval"] != "—"
                    else "像元计数"
                )
                en = self.names[row["crop"]].en if row["crop"] in self.names else ""
                found.append({"zh": row["zh"], "en": en, "value": value, "unit": unit, "below": below})
        if overall := self._overall_growth(areas, growth):
            _, worse, monitorable = overall
            found.append(
                {
                    "zh": "长势持平及以上",
                    "en": "normal or better",
                    "value": f"{100 - worse:.1f}",
                    "unit": "%",
                    "below": f"可监测范围 {monitorable:.1%}",
                }
            )
        validation = self.accuracy.get("cross_validation")
        if validation:
            model, baseline = validation["model"], validation["baseline"]
            found.append(
                {
                    "zh": "分类总体精度",
                    "en": "overall accuracy",
                    "value": f"{100 * model['overall_accuracy']:.1f}",
                    "unit": "%",
                    "below": f"交叉验证；对照模型 {100 * baseline['overall_accuracy']:.1f}%",
                }
            )
        if len(found) < 4:
            found.append(
                {
                    "zh": "采用影像",
                    "en": "scenes used",
                    "value": f"{scenes['used']}",
                    "unit": "景",
                    "below": f"剔除 {len(scenes['rejected'])} 景",
                }
            )
        return found

    # ---- maps and curves --------------------------------------------------------------------------------
    def maps(
        self,
        kind: str,
        colours: Colours,
        *,
        nodata: int,
        hatched: int | None = None,
        ground: str = "#ffffff",
    ) -> list[Row]:
        """Maps of one kind, tile by tile."""
        rasters = [item for item in self.manifest.rasters if item.kind == kind]
        dates = sorted({row["date"] for row in self.manifest.inputs if row.get("role") == "scene"})
        shown = []
        for item in rasters[:MAX_MAPS]:
            title = f"{self.manifest.title} {item.title}"
            svg, crs = map_svg(
                self.folder / item.path,
                title=title,
                colours=colours,
                nodata=nodata,
                hatched=hatched,
                ground=ground,
            )
            caption = f"图幅 {item.tile} · " if len(rasters) > 1 else ""
            if dates:
                caption += f"影像 {dates[0]} 至 {dates[-1]} · "
            caption += f"坐标系 {crs} · " + ("模拟数据 · " if self.manifest.simulated else "") + "内部资料"
            shown.append({"svg": Markup(svg), "caption": caption})  # noqa: S704 - our own SVG
        return shown

    def curves(self) -> list[Row]:
        """Curves of the growth index: of the classes, else of parcels (every index), else of units."""
        main = self.manifest.config.get("growth", {}).get("index", "NDVI")
        table, scope = self.series, "unit"
        for scope in ("class", "parcel", "unit"):
            table = self.series[self.series["scope"] == scope]
            if len(table):
                break
        others = sorted(set(table["index"]) - {main}) if scope == "parcel" else []
        table = table[table["index"].isin([main, *others])]
        rows = []
        for (code, crop), part in table.groupby(["scope_id", "crop"], sort=False):
            name = self.crop_zh(str(crop)) if scope == "class" else str(code)
            for index in (main, *others):
                points = _points(part[part["index"] == index])
                if len(points.dates) < 2:
                    continue
                title = f"{name} · {index}" if others else name
                svg = curve_svg(points, title=f"{name} {index} 曲线", index=index)
                rows.append(
                    {
                        "zh": title,
                        "en": self.names[str(crop)].en
                        if scope == "class" and str(crop) in self.names
                        else "",
                        "svg": Markup(svg),  # noqa: S704 - our own SVG
                        "stages": self.stages(scope, str(code), str(crop)) if index == main else [],
                    }
                )
        return rows

    def stages(self, scope: str, code: str, crop: str) -> list[str]:
        """Stage dates of a curve, each with its name."""
        table = self.estimates[self.estimates["product"] == "stage"]
        unit = {"class": "region", "parcel": f"parcel:{code}", "unit": code}[scope]
        own = table[(table["unit_adcode"] == unit) & (table["crop"] == crop)]
        days = dict(zip(own["class"], own["value"], strict=True))
        names = {name: zh for name, zh in STAGES.items() if name != "heading"}
        if crop in HEADINGS:
            names = STAGES | {"heading": HEADINGS[crop]}
        found = [(days[name], zh) for name, zh in names.items() if name in days]
        return [f"{zh} {month_day(day)}" for day, zh in found]

    def notes(self) -> list[str]:
        """Method in short sentences."""
        notes = [
            "影像的云影先用自带掩膜剔除，再与同一像元前后时相比较：各波段同时变暗为阴影，可见光同时变亮为残云。",
            "曲线用 Whittaker 平滑（Eilers 2003），按真实日期计算，缺测不补造观测值；首尾缺测保持末值。",
            f"面积：{AREA_METHOD_ZH}。",
        ]
        if (self.estimates["product"] == "stage").any():
            notes.append(
                "生育期由平滑曲线判读（TIMESAT 振幅法）：升到振幅的 20% 为返青，"
                "升到 95% 为抽穗，降到 50% 为衰老过半。"
            )
        return notes


def _points(part: pd.DataFrame) -> CurvePoints:
    part = part.sort_values("date")
    numbers: Mapping[str, Any] = {
        name: part[name].to_numpy(dtype=np.float64) for name in ("observed", "smoothed", "p25", "p75")
    }
    return CurvePoints(tuple(date.fromisoformat(day) for day in part["date"]), **numbers)
