"""The index and the orchard page, and the season curve that only accepted runs give."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from farms import demo, selectors, services
from farms.models import Batch, Grower, Orchard, ProductKind
from monitoring.models import Estimate, Parcel, Run, Series
from places.models import Unit

pytestmark = pytest.mark.django_db

POINTS = [
    ["2026-04-10", 0.31, 0.32, 0.28, 0.36, 0.9],
    ["2026-06-10", None, 0.61, 0.55, 0.66, 0.0],
    ["2026-08-10", 0.74, 0.73, 0.68, 0.78, 1.0],
]


def _run(*, accepted: bool, parcels: dict[str, tuple[str, float]]) -> Run:
    """A run with a curve for each parcel (code → crop, hectares)."""
    run = Run.objects.create(
        run_id="jingning-2026",
        digest="d" * 64,
        title="静宁示范片 2026",
        simulated=True,
        season_start=dt.date(2025, 9, 1),
        season_end=dt.date(2026, 10, 31),
        manifest={"crops": [{"code": 4, "name": "apple", "zh": "苹果", "en": "apple", "colour": "#882255"}]},
        folder="x",
        created_at=dt.datetime(2026, 11, 1, tzinfo=dt.UTC),
    )
    square = "MULTIPOLYGON(((105.8 35.3,105.81 35.3,105.81 35.31,105.8 35.31,105.8 35.3)))"
    for code, (crop, area) in parcels.items():
        Parcel.objects.create(code=code, crop=crop, area_ha=area, outline=square)
        Series.objects.create(run=run, scope="parcel", scope_id=code, crop=crop, index="NDVI", points=POINTS)
    fields: dict[str, Any] = {
        "run": run, "product": "area", "crop": "apple", "unit_adcode": "620826", "value": 1.0, "unit": "ha",
        "n_samples": 0, "method": "pixel_count",
        "period_start": run.season_start, "period_end": run.season_end,
        "state": Estimate.State.ACCEPTED if accepted else Estimate.State.DRAFT,
    }  # fmt: skip
    Estimate.objects.create(**fields)
    return run


def _orchards(grower: Grower, township: Unit, count: int) -> list[Orchard]:
    return [
        services.register_orchard(
            code=f"T-{number:02d}",
            name=f"果园{number}",
            grower=grower,
            township=township,
            area_mu=Decimal(10),
            variety="红富士",
            planting_year=2010,
        )
        for number in range(count)
    ]


def test_index_lists_orchards_by_county_and_in_pages(
    client: Client, grower: Grower, weirong: Unit, zhuanglang: Unit
) -> None:
    _orchards(grower, weirong, 13)
    first = client.get("/farms/")
    assert [len(first.context["page_obj"].object_list), first.context["page_obj"].paginator.count] == [12, 13]
    assert client.get("/farms/?page=2").context["page_obj"].object_list[0].code == "T-12"
    assert client.get("/farms/?county=620826").context["page_obj"].paginator.count == 13
    # A county without growers is not on offer, so an old link to it shows all.
    assert client.get("/farms/?county=620825").context["page_obj"].paginator.count == 13


def test_orchard_page_hides_held_batches_and_marks_recalled_ones(client: Client, orchard: Orchard) -> None:
    for code in ("T-HELD", "T-GOOD", "T-BACK"):
        services.record_batch(
            code=code,
            grower=orchard.grower,
            orchard=orchard,
            kind=ProductKind.APPLE,
            harvest_date=dt.date(2026, 10, 18),
            quantity_kg=Decimal(500),
            pledge_certificate=f"示例-{code}",
        )
    for code in ("T-GOOD", "T-BACK"):
        services.release_batch(batch=Batch.objects.get(code=code))
    services.recall_batch(batch=Batch.objects.get(code="T-BACK"), reason="标签错误")
    page = client.get(orchard.get_absolute_url()).content.decode()
    assert "T-GOOD" in page
    assert "T-HELD" not in page
    assert "标签错误" in page


def test_an_unknown_orchard_is_not_found(client: Client) -> None:
    assert client.get("/farms/orchards/NO-SUCH/").status_code == 404


def test_curve_is_shown_only_from_an_accepted_run(client: Client, orchard: Orchard) -> None:
    services.link_parcel(orchard=orchard, parcel_code="620826-P0001")
    assert selectors.orchard_curve(orchard) is None
    run = _run(accepted=False, parcels={"620826-P0001": ("apple", 1.0)})
    assert selectors.orchard_curve(orchard) is None
    page = client.get(orchard.get_absolute_url()).content.decode()
    assert "还没有通过审核" in page
    assert '<svg class="season-curve"' not in page

    run.estimates.update(state=Estimate.State.ACCEPTED)
    page = client.get(orchard.get_absolute_url()).content.decode()
    assert '<svg class="season-curve"' in page
    assert "监测值，非质量认证" in page
    assert "模拟数据" in page
    assert "静宁示范片 2026" in page
    # Clear scenes only: the cloudy June date gave no observation.
    assert "2026-04-10" in page
    assert "2026-08-10" in page
    assert "2026-06-10" not in page


def test_demo_stands_on_the_largest_apple_parcels_and_loads_once() -> None:
    call_command("load_demo_places", verbosity=0)
    _run(
        accepted=True,
        parcels={
            "620826-P0001": ("apple", 0.8),
            "620826-P0002": ("winter_wheat", 9.0),
            "620826-P0003": ("apple", 2.0),
            "620826-P0004": ("apple", 1.5),
        },
    )
    first = demo.load()
    assert (first.growers, first.orchards, first.linked, first.batches) == (5, 8, 3, 12)
    orchard = Orchard.objects.get(code="JN-GY-01")
    assert (orchard.parcel_code, orchard.area_mu) == ("620826-P0003", Decimal("30.00"))
    Orchard.objects.filter(code="JN-GY-02").update(name="改过的名称")
    assert demo.load() == first
    assert Orchard.objects.get(code="JN-GY-02").name == "改过的名称"
    assert (Grower.objects.count(), Orchard.objects.count(), Batch.objects.count()) == (5, 8, 12)
    assert not Grower.objects.filter(sample=False).exists()


def test_demo_without_places_says_what_to_do_first() -> None:
    with pytest.raises(CommandError, match="load_demo_places") as refused:
        call_command("load_demo_farms")
    assert refused.value.returncode == 2
    assert Grower.objects.count() == 0
