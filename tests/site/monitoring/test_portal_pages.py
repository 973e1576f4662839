"""Map page, table, CSV and curve pages: what each person sees, in 亩 and in hectares."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
import rasterio
from django.core.management import call_command
from django.test import Client
from rasterio.warp import transform
from runfolder import build_run

from accounts.models import User
from monitoring import selectors
from monitoring.export import csv_lines, safe_cell
from monitoring.models import Estimate, Run
from monitoring.services import Seen, accept_estimate, import_run, return_estimate, review

pytestmark = pytest.mark.django_db
TABLE = "/monitoring/estimates/"


def accept_all(user: User, **which: object) -> None:
    rows = Estimate.objects.filter(state="draft", **which)
    review(user=user, seen=[Seen(row.pk, row.row_version) for row in rows], decision="accept")  # type: ignore[arg-type]


def text(answer: object) -> str:
    """A page as a reader reads it: tags and runs of blanks taken out."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))  # type: ignore[attr-defined]


def test_the_public_sees_nothing_before_acceptance_and_is_told_why(client: Client, imported: Run) -> None:
    page = client.get(TABLE)
    assert page.status_code == 200
    assert "还没有公布的监测结果" in text(page)
    assert "审核通过" in text(page)
    page = client.get("/monitoring/")
    assert "还没有公布的监测结果" in text(page)
    assert imported.key not in page.content.decode()


def test_pages_without_any_run(client: Client, bureau: User) -> None:
    assert client.get("/monitoring/").status_code == 200
    assert client.get("/monitoring/curve/").status_code == 200
    assert client.get("/monitoring/estimates.csv").status_code == 200
    client.force_login(bureau)
    assert "import_run" in text(client.get("/monitoring/"))
    assert "import_run" in text(client.get(TABLE))


def test_only_accepted_rows_are_public(client: Client, bureau: User, imported: Run) -> None:
    accept_all(bureau, crop="winter_wheat", product="area", unit_adcode="620826")
    page = text(client.get(TABLE))
    assert "13,500 亩" in page  # 900 ha × 15
    assert "12,960 亩 – 14,040 亩" in page
    assert "12,825 亩" in page  # the pixel count beside it
    assert "春玉米" not in page
    assert "模拟数据" in page
    assert "待审核" not in page
    assert "通过所选" not in page
    page = text(client.get(TABLE, {"area": "ha"}))
    assert "900.0 公顷" in page
    assert "864.0 公顷 – 936.0 公顷" in page
    assert "这一项还没有公布" in text(client.get(TABLE, {"product": "growth"}))


def test_staff_see_drafts_county_staff_their_own(
    client: Client, bureau: User, county: User, others: dict[str, User], imported: Run
) -> None:
    client.force_login(bureau)
    page = text(client.get(TABLE))
    for unit in ("静宁县", "灵台县", "静宁县 城关镇", "静宁县示范片"):
        assert unit in page
    assert "通过所选" in page
    client.force_login(county)
    page = text(client.get(TABLE))
    assert "静宁县 城关镇" in page
    assert "灵台县" not in page
    assert "静宁县示范片" not in page.replace(str(imported), "")
    client.force_login(others["editor"])
    assert "还没有公布" in text(client.get(TABLE))
    client.force_login(others["county staff without county"])
    assert "没有符合条件的结果" in text(client.get(TABLE))


def test_a_returned_row_is_hidden_from_the_public(bureau: User, wheat: Estimate) -> None:
    accepted = accept_estimate(user=bureau, estimate=wheat)
    assert selectors.accepted_estimates(crop="winter_wheat").count() == 1
    return_estimate(user=bureau, estimate=accepted, reason="local")
    assert selectors.visible_estimates(selectors.PUBLIC).count() == 0
    assert selectors.visible_estimates(bureau).filter(pk=wheat.pk).exists()


def test_filters_and_products(client: Client, bureau: User, imported: Run) -> None:
    client.force_login(bureau)
    page = client.get(TABLE, {"unit": "620822", "crop": "apple"})
    assert [(g.unit_adcode, g.crop) for g in page.context["groups"]] == [("620822", "apple")]
    page = client.get(TABLE, {"product": "growth", "unit": "620826"})
    shares = page.context["groups"][0].shares
    assert [(share.label, share.value) for share in shares] == [
        ("好", 10.0), ("较好", 20.0), ("持平", 50.0), ("较差", 15.0), ("差", 5.0)
    ]  # fmt: skip
    assert "93%" in text(page)
    page = client.get(TABLE, {"product": "stage"})
    assert "5月15日" in text(page)  # day 135 of 2026
    assert [g.unit_adcode for g in page.context["groups"]] == ["620826"]
    page = client.get(TABLE, {"product": "stage", "unit": "parcels"})
    assert [g.unit_adcode for g in page.context["groups"]] == ["parcel:P-001"]
    assert client.get(TABLE, {"state": "accepted"}).context["groups"] == []
    assert client.get(TABLE, {"run": "no.0123456789"}).context["run"] is None
    assert [n for n, _ in client.get(TABLE).context["options"]["products"]] == ["area", "growth", "stage"]


def test_the_table_has_pages(
    client: Client, bureau: User, imported: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.views.estimates.GROUPS_A_PAGE", 8)
    client.force_login(bureau)
    first, last = client.get(TABLE), client.get(TABLE, {"page": 3})
    assert [len(first.context["groups"]), len(last.context["groups"])] == [8, 4]
    assert "第 1 页，共 3 页" in text(first)
    keys = {
        (g.unit_adcode, g.crop)
        for page in (1, 2, 3)
        for g in client.get(TABLE, {"page": page}).context["groups"]
    }
    assert len(keys) == 20
    # the whole comes first, crops in the legend's order
    assert [(g.unit_adcode, g.crop) for g in first.context["groups"]][:2] == [
        ("region", "winter_wheat"), ("region", "spring_maize")
    ]  # fmt: skip


def test_the_table_costs_a_fixed_number_of_queries(
    client: Client, bureau: User, imported: Run, django_assert_max_num_queries: object
) -> None:
    client.force_login(bureau)
    client.get(TABLE)
    with django_assert_max_num_queries(30):  # type: ignore[operator]
        client.get(TABLE)


def test_csv_opens_in_excel_and_runs_no_formula(client: Client, bureau: User, imported: Run) -> None:
    accept_all(bureau, product="area", unit_adcode="620826")
    answer = client.get("/monitoring/estimates.csv", {"product": "area"})
    raw = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    assert raw.startswith(b"\xef\xbb\xbf")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "demo-2026-area.csv" in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"))))
    assert len(rows) == 8
    wheat = next(r for r in rows if r["crop"] == "winter_wheat" and r["method"] != "pixel_count")
    assert (wheat["value"], wheat["面积（亩）"], wheat["单元名称"], wheat["作物"]) == (
        "900.0",
        "13500.0",
        "静宁县",
        "冬小麦",
    )
    assert (wheat["状态"], wheat["模拟数据"]) == ("已通过", "是")


def test_csv_of_drafts_is_empty_for_the_public(client: Client, imported: Run) -> None:
    raw = b"".join(client.get("/monitoring/estimates.csv", {"run": imported.key}).streaming_content)  # type: ignore[attr-defined]
    assert raw.decode("utf-8-sig").count("\n") == 1


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_formulas_are_escaped(text: str, wheat: Estimate) -> None:
    assert safe_cell(text) == "'" + text
    wheat.crop = text
    line = list(csv_lines([wheat]))[1]
    assert "'" + text in line


def test_the_map_page_names_what_it_shows(client: Client, bureau: User, imported: Run, parcels: int) -> None:
    client.force_login(bureau)
    page = client.get("/monitoring/")
    words = text(page)
    assert "影像日期 2025-09-01 至 2026-10-16" in words
    assert "模拟数据" in words
    assert "内部使用" in words
    assert "界线为自绘示意" in words
    assert "13,500 亩" in words
    assert "±540 亩" in words
    assert "P-001" in words  # a way to the curves without the map
    assert page.context["map_config"]["tiles"]["growth"].endswith("/growth/{z}/{x}/{y}.webp")
    assert [name for name, _ in page.context["layers"]] == ["crop_type", "growth", "confidence", "none"]
    page = client.get("/monitoring/", {"unit": "620826100", "area": "ha"})
    assert "360.0 公顷" in text(page)


def test_the_public_map_names_only_public_layers(client: Client, bureau: User, imported: Run) -> None:
    accept_all(bureau, product="growth", unit_adcode="620826")
    page = client.get("/monitoring/")
    assert list(page.context["map_config"]["tiles"]) == ["growth"]
    assert "未公布" in text(page)
    assert "13,500" not in text(page)


def test_no_inline_style_or_script(client: Client, bureau: User, imported: Run, parcels: int) -> None:
    client.force_login(bureau)
    for url in ("/monitoring/", TABLE, "/monitoring/curve/?parcel=P-001", TABLE + "?product=growth"):
        html = client.get(url).content.decode()
        assert not re.search(r"<[^>]+\sstyle=", html)
        assert not re.search(r"<script(?![^>]*(src=|application/json))", html)
        assert not re.search(r"<style", html)
        assert not re.search(r"\son\w+=\"", html)


def test_map_approval_number_is_shown(client: Client, imported: Run, settings: object) -> None:
    settings.MAP_APPROVAL_NUMBER = "甘S(2026)1号"  # type: ignore[attr-defined]
    words = text(client.get("/monitoring/"))
    assert "审图号： 甘S(2026)1号" in words or "审图号：甘S(2026)1号" in words
    assert "内部使用" not in words


def test_curve_of_a_point(client: Client, bureau: User, imported: Run) -> None:
    client.force_login(bureau)
    with rasterio.open(imported.path / "crop_type/T1/crop_type.tif") as image:
        lon, lat = transform(image.crs, "EPSG:4326", *[[v] for v in image.xy(10, 10)])
    query = {"run": imported.key, "lon": f"{lon[0]:.6f}", "lat": f"{lat[0]:.6f}"}
    words = text(client.get("/monitoring/curve/", query))
    assert "冬小麦" in words
    assert "90%" in words
    assert "卫星监测值，不是质量认证" in words
    fragment = client.get("/monitoring/curve/", {**query, "fragment": "1"})
    html = fragment.content.decode()
    assert "<html" not in html
    assert 'class="season-curve"' in html


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({"lon": "107.0", "lat": "35.0"}, 200, "影像范围之外"),
        ({"lon": "east", "lat": "35.0"}, 400, "十进制度数"),
        ({"lon": "nan", "lat": "35.0"}, 400, "十进制度数"),
        ({"lon": "106.0"}, 400, "十进制度数"),
        ({"lon": "1060", "lat": "35"}, 400, "十进制度数"),
        ({"parcel": "P-999"}, 404, "P-999"),
        ({"parcel": "<script>"}, 404, "&lt;script&gt;"),
    ],
)
def test_curve_questions_that_cannot_be_answered(
    client: Client, bureau: User, imported: Run, query: dict[str, str], status: int, said: str
) -> None:
    client.force_login(bureau)
    answer = client.get("/monitoring/curve/", {"run": imported.key, **query})
    assert answer.status_code == status
    assert said in answer.content.decode()
    assert "<script>" not in answer.content.decode().split("</head>")[1].split("<footer")[0]


def test_curves_of_unaccepted_runs_are_not_public(
    client: Client, bureau: User, imported: Run, wheat: Estimate
) -> None:
    query = {"run": imported.key, "parcel": "P-001"}
    assert client.get("/monitoring/curve/", query).status_code == 404
    assert selectors.parcel_curve("P-001") is None
    assert selectors.parcel_curve("P-001", user=bureau) is not None
    accept_estimate(user=bureau, estimate=wheat)
    assert "P-001" in text(client.get("/monitoring/curve/", query))
    curve = selectors.parcel_curve("P-001")
    assert curve is not None
    assert (curve.crop, curve.index, curve.simulated, len(curve.points)) == ("冬小麦", "NDVI", True, 42)
    assert curve.last_year == ()
    assert selectors.parcel_curve("P-404") is None


def test_earlier_seasons_stand_beside_the_curve(
    bureau: User, imported: Run, tmp_path: Path, client: Client
) -> None:
    for year in (2025, 2024, 2023):
        import_run(path=build_run(tmp_path / str(year), run_id=f"demo-{year}", year=year))
    accept_all(bureau, product="area")
    curve = selectors.parcel_curve("P-001")
    assert curve is not None
    assert curve.run_title == "静宁示范片 2026"
    assert curve.last_year[0].day.isoformat() == "2025-09-01"  # moved by a year
    assert curve.band_seasons == 3
    assert all(point.low <= point.high for point in curve.band)
    pixel = selectors.pixel_curve(bureau, imported, *[imported.extent.centroid.x, imported.extent.centroid.y])
    assert pixel is not None
    assert pixel.last_year
    assert len(pixel.band) >= 41  # a leap year shifts the last day by one
    page = client.get(TABLE, {"run": imported.key, "unit": "620826", "crop": "apple"})
    assert page.context["groups"][0].last_year == 600.0
    assert "去年" in text(page)


def test_english(client: Client, bureau: User, imported: Run) -> None:
    accept_all(bureau, product="area", unit_adcode="620826")
    page = client.get("/en" + TABLE)
    assert "winter wheat" in text(page)
    assert f"/en/monitoring/?run={imported.key}" in page.content.decode()


def test_the_admin_looks_but_does_not_touch(
    client: Client, bureau: User, others: dict[str, User], wheat: Estimate
) -> None:
    from django.contrib.auth.models import Permission

    accept_estimate(user=bureau, estimate=wheat)
    for user in (bureau, others["editor"]):
        user.user_permissions.add(Permission.objects.get(codename="access_admin"))
    client.force_login(bureau)
    assert client.get("/admin/monitoring_reviews/").status_code == 200
    assert client.get("/admin/monitoring_runs/").status_code == 200
    assert client.get("/admin/monitoring_runs/new/").status_code == 302
    entry = wheat.reviews.get()
    assert client.post(f"/admin/monitoring_reviews/delete/{entry.pk}/").status_code == 302
    assert wheat.reviews.count() == 1
    client.force_login(others["editor"])
    assert client.get("/admin/monitoring_reviews/").status_code == 302


def test_demo_review_leaves_townships_open(imported: Run, person: object, settings: object) -> None:
    from django.contrib.auth.models import Group

    reviewer = User.objects.create_user("bureau-demo", password="x")
    reviewer.groups.add(Group.objects.get_or_create(name="bureau")[0])
    call_command("load_demo_review", stdout=io.StringIO())
    states = dict(Estimate.objects.filter(product="area", crop="apple").values_list("unit_adcode", "state"))
    assert (states["620826"], states["620826100"]) == ("accepted", "draft")


def test_one_click_accepts_the_units_open_areas_and_then_is_gone(
    client: Client, bureau: User, imported: Run
) -> None:
    client.force_login(bureau)
    page = client.get("/monitoring/", {"unit": "620826"})
    seen = [group.seen for group in page.context["open_groups"]]
    assert len(seen) == 4
    answer = client.post("/monitoring/estimates/review/", {"seen": seen, "decision": "accept"})
    assert answer.status_code == 302
    assert selectors.accepted_estimates(product="area", unit_adcode="620826").count() == 8
    page = client.get("/monitoring/", {"unit": "620826"})
    assert page.context["open_groups"] == []
    assert 'value="accept"' not in page.content.decode()


def test_another_region_is_not_last_year(bureau: User, imported: Run, tmp_path: Path) -> None:
    """Both runs call their whole "region"; a neighbour of another size must not be shown as last year."""
    import_run(path=build_run(tmp_path / "2025", run_id="small-2025", year=2025, size=60))
    accept_all(bureau, product="area")
    assert selectors.earlier_runs(bureau, imported) == []
    assert selectors.last_year_values(bureau, imported, "area") == {}


def test_a_run_without_a_crop_map_still_has_its_numbers_and_curves(
    client: Client, bureau: User, imported: Run
) -> None:
    """Curves and growth of single fields (no classes, no parcel outlines), as from chips of fields."""
    imported.manifest["crops"] = []
    imported.manifest["region"]["units"] = {"D2": "示例田"}
    imported.save()
    imported.estimates.filter(product="area").delete()
    imported.estimates.filter(product="growth", unit_adcode="620822").update(unit_adcode="D2", place=None)
    client.force_login(bureau)
    page = client.get("/monitoring/", {"unit": "D2"})
    words = text(page)
    assert "示例田 · 长势" in words
    assert "长势构成" in words
    assert "种植面积" not in words
    assert '<option value="P-002">' in page.content.decode()
