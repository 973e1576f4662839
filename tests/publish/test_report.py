"""The report: complete, self-contained, in Chinese, and honest about what it does not know."""

from __future__ import annotations

import base64
import re
import warnings
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.errors
from made_run import make_run

from eo_pipeline.publish.contract import palette, verify
from eo_pipeline.publish.drawings import CurvePoints, curve_svg, map_svg, month_ticks, shares_svg
from eo_pipeline.publish.report_text import mu, reason_zh


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    make_run(folder)
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


class _Tags(HTMLParser):
    """Tags and attributes of a page; complains about tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> out of order"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(page: str) -> _Tags:
    parser = _Tags()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_it_needs_nothing_but_itself(page: str) -> None:
    found = parsed(page)
    assert not [t for t, _ in found.tags if t in ("script", "link", "iframe", "object", "embed")]
    for _, attributes in found.tags:
        for name, value in attributes.items():
            assert not name.startswith("on") and name != "style"
            if name in ("src", "href"):
                assert value and value.startswith("data:image/png;base64,")
    assert "http" not in re.sub(r'"data:[^"]*"', "", page) and "@import" not in page
    assert len(page) < 1_000_000


def test_simulated_data_says_so(page: str, tmp_path: Path) -> None:
    assert "模拟数据" in page
    make_run(tmp_path, simulated=False)
    assert "模拟" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_conclusion_and_key_figures_stand_first(page: str) -> None:
    head = page[: page.index("作物分布")]
    for words in (
        "静宁县示范片 2026",
        "监测到种植面积约",
        "长势持平及以上",
        "可监测范围",
        "分类总体精度",
        "96.2",
    ):
        assert words in head


def test_areas_stand_with_interval_method_and_pixel_count(page: str) -> None:
    text = "".join(parsed(page).text)
    assert "95% 区间（亩）" in text and "像元计数（亩）" in text and "非概率样本" in text
    section = page[page.index("面积与误差") : page.index("长势 <span")]
    rows = re.findall(r"<tr><td>(.*?)</td><td><strong>(.*?)</strong></td><td>(.*?)</td>", section)
    assert [name for name, _, _ in rows] == ["冬小麦", "春玉米", "苹果", "其他"]
    for _, value, interval in rows:
        low, high = (float(part.replace(",", "")) for part in interval.split(" – "))
        assert low < float(value.replace(",", "")) < high


def test_growth_names_its_comparison_and_its_thresholds_as_trial(page: str) -> None:
    assert "与同种作物的中位水平相比（没有往年数据）" in page
    assert "试行阈值" in page and "不可监测" in page
    bars = re.findall(r'<svg class="bar".*?</svg>', page)
    assert len(bars) == 3
    for bar in bars:
        assert sum(float(w) for w in re.findall(r'width="([\d.]+)" height="10"', bar)) == pytest.approx(
            100, abs=0.05
        )


def test_rejected_scenes_are_listed_with_the_reason(page: str) -> None:
    assert "剔除 1 景" in page and "掩膜漏判的云或云影，占无云像元 80%" in page


def test_model_and_baseline_stand_side_by_side(page: str) -> None:
    assert "96.2%" in page and "94.1%" in page and "混淆矩阵（交叉验证" in page


def test_the_model_is_named(page: str) -> None:
    assert "时序网络集成，120,000 个参数，640 个训练样本" in page


def test_only_cereals_head_and_maize_tassels(page: str) -> None:
    curves = page[page.index("生长曲线") : page.index("<h2>精度")]
    captions = [re.sub("<.*?>", "", c) for c in re.findall(r"<figcaption>(.*?)</figcaption>", curves)]
    assert captions == [
        "返青 3月31日 · 抽穗 5月20日 · 衰老过半 6月24日",
        "返青 3月31日 · 抽雄 5月20日 · 衰老过半 6月24日",
        "返青 3月31日 · 衰老过半 6月24日",
    ]


def test_a_run_without_a_crop_map_has_a_report_too(tmp_path: Path) -> None:
    make_run(tmp_path, classified=False)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    parsed(page)
    assert "生长曲线" in page and "作物分布" not in page and "<h2>精度" not in page
    verify(tmp_path)


def test_text_from_outside_is_escaped(tmp_path: Path) -> None:
    points = CurvePoints((date(2026, 1, 1), date(2026, 2, 1)), *(np.array([0.1, 0.2]) for _ in range(4)))
    assert "<b>" not in curve_svg(points, title='"><b>', index="<b>")


def test_the_map_shows_each_class_in_its_colour(run: Path) -> None:
    svg, crs = map_svg(
        run / "crop_type" / "t1" / "crop_type.tif", title="t", colours={1: (221, 204, 119)}, nodata=0
    )
    assert crs == "WGS 84 / UTM zone 48N (EPSG:32648)"
    assert ">200 m<" in svg and ">北<" in svg
    png = base64.b64decode(re.search(r"base64,([^\"]+)", svg).group(1))
    with rasterio.open(run / "crop_type" / "t1" / "crop_type.tif") as dataset:
        classes = dataset.read(1)
    with rasterio.MemoryFile(png) as memory, warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        picture = memory.open()
        factor = picture.width // classes.shape[1]
        values = picture.read(1)[::factor, ::factor]
        assert picture.colormap(1)[1] == (221, 204, 119, 255)
        assert picture.colormap(1)[0][3] == 0
    np.testing.assert_array_equal(values, np.where(classes == 1, 1, 0))


def test_curves_break_where_nothing_is_known() -> None:
    dates = tuple(date(2026, m, 1) for m in range(1, 8))
    smoothed = np.array([0.2, 0.3, np.nan, 0.5, 0.6, np.nan, 0.3])
    nothing = np.full(7, np.nan)
    svg = curve_svg(CurvePoints(dates, nothing, smoothed, nothing, nothing), title="t", index="NDVI")
    assert svg.count('stroke-width="2.2"') == 2 and "nan" not in svg and "<circle" not in svg


def test_month_ticks_fit_a_phone() -> None:
    assert len(month_ticks(date(2020, 1, 1), date(2026, 12, 31))) <= 8
    assert month_ticks(date(2026, 4, 2), date(2026, 4, 20)) == []


def test_shares_are_drawn_in_the_palettes_colours() -> None:
    svg = shares_svg({"poor": 25.0, "normal": 75.0}, title="t")
    assert re.findall(r'fill="(#\w+)"', svg) == [palette().growth[0].colour, palette().growth[2].colour]


@pytest.mark.parametrize(
    ("hectares", "text"), [(0.5, "7.5"), (20.0, "300"), (27_466.7, "41.2 万"), (float("nan"), "—")]
)
def test_areas_are_said_in_mu(hectares: float, text: str) -> None:
    assert mu(hectares) == text


def test_an_unknown_reason_is_kept() -> None:
    assert reason_zh("radiometry in doubt") == "radiometry in doubt"
    assert reason_zh("clear in 3 % of the area only") == "无云面积只有 3%"
