# ruff: noqa: E501 - rows of a table stay on one line
"""Sample growers, orchards and batches: invented, marked 示例, and loaded by `manage.py load_demo_farms`."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from django.db import transaction

from farms.models import Batch, Grower, Orchard, ProductKind
from farms.services import link_parcel, record_batch, register_grower, register_orchard, release_batch
from farms.validators import credit_code_check_character
from monitoring.models import Parcel, Run, Series
from places.models import Unit


def _code(body: str) -> str:
    """An invented credit code: 93 is a co-op, 91 a firm; DEMA stands in place of an organisation."""
    return body + credit_code_check_character(body)


_GROWERS: Final[tuple[dict[str, Any], ...]] = (
    {
        "code": "JN-C01",
        "name": "静宁示例红果苹果专业合作社",
        "name_en": "Jingning Sample Red Fruit Co-op",
        "kind": Grower.Kind.COOP,
        "credit_code": _code("93620826DEMA00001"),
        "county": "620826",
        "township": "620826101",
        "intro": "示例主体。社员 86 户，统一套袋、统一采收，果园都在海拔 1500 米以上的梯田上。",
        "intro_en": "Sample. 86 members; bagged and picked to one standard on terraces above 1,500 m.",
    },
    {
        "code": "JN-F01",
        "name": "静宁示例李店家庭农场",
        "name_en": "Jingning Sample Lidian Family Farm",
        "kind": Grower.Kind.FAMILY_FARM,
        "credit_code": _code("92620826DEMA00002"),
        "county": "620826",
        "township": "620826103",
        "intro": "示例主体。两代人种苹果，矮化密植园带防雹网，林下不打除草剂。",
        "intro_en": "Sample. Two generations of apple growers; dwarf trees under hail nets.",
    },
    {
        "code": "ZL-C01",
        "name": "庄浪示例梯田果业合作社",
        "name_en": "Zhuanglang Sample Terrace Fruit Co-op",
        "kind": Grower.Kind.COOP,
        "credit_code": _code("93620825DEMA00003"),
        "county": "620825",
        "township": "620825101",
        "intro": "示例主体。在南湖、岳堡的梯田上种苹果，兼种洋芋。",
        "intro_en": "Sample. Apples and potatoes on the terraces of Nanhu and Yuebao.",
    },
    {
        "code": "KT-E01",
        "name": "崆峒示例红牛牧业有限公司",
        "name_en": "Kongtong Sample Cattle Ltd",
        "kind": Grower.Kind.FIRM,
        "credit_code": _code("91620802DEMA00004"),
        "county": "620802",
        "township": "620802219",
        "intro": "示例主体。自繁自育肉牛，青贮玉米和苜蓿喂养，冷鲜分割。",
        "intro_en": "Sample. Home-bred cattle fed on silage maize and alfalfa, chilled cuts.",
    },
    {
        "code": "HT-S01",
        "name": "华亭示例关山养蜂户",
        "name_en": "Huating Sample Guanshan Beekeeper",
        "kind": Grower.Kind.SELF_PRODUCER,
        "county": "620881",
        "township": "620881102",
        "intro": "示例主体。关山林缘放蜂 120 箱，一年取两次蜜。",
        "intro_en": "Sample. 120 hives along the Guanshan forest edge, two harvests a year.",
    },
)

# The linked ones stand on parcels of the simulated piece of Jingning, largest apple parcel first.
_ORCHARDS: Final[tuple[dict[str, Any], ...]] = (
    {"code": "JN-GY-01", "name": "示例红果社一号园", "name_en": "Sample Red Fruit Orchard 1", "grower": "JN-C01",
     "township": "620826101", "area_mu": "38.5", "variety": "红富士（烟富3）", "variety_en": "Red Fuji (Yanfu 3)",
     "rootstock": "M26 中间砧", "planting_year": 2012, "elevation_m": 1560, "linked": True},
    {"code": "JN-GY-02", "name": "示例红果社二号园", "name_en": "Sample Red Fruit Orchard 2", "grower": "JN-C01",
     "township": "620826101", "area_mu": "26.0", "variety": "红富士（长富2）", "variety_en": "Red Fuji (Nagafu 2)",
     "rootstock": "山定子", "planting_year": 2008, "elevation_m": 1590, "linked": True},
    {"code": "JN-GY-03", "name": "示例红果社三号园", "name_en": "Sample Red Fruit Orchard 3", "grower": "JN-C01",
     "township": "620826101", "area_mu": "19.2", "variety": "成纪1号", "variety_en": "Chengji 1",
     "rootstock": "M26 中间砧", "planting_year": 2015, "elevation_m": 1540, "linked": True},
    {"code": "JN-GY-04", "name": "示例李店农场东园", "name_en": "Sample Lidian East Orchard", "grower": "JN-F01",
     "township": "620826103", "area_mu": "22.4", "variety": "红富士（烟富3）", "variety_en": "Red Fuji (Yanfu 3)",
     "rootstock": "M9-T337 矮化自根砧", "planting_year": 2018, "elevation_m": 1480, "hail_net": True, "linked": True},
    {"code": "JN-GY-05", "name": "示例李店农场西园", "name_en": "Sample Lidian West Orchard", "grower": "JN-F01",
     "township": "620826103", "area_mu": "12.8", "variety": "瑞雪", "variety_en": "Ruixue",
     "rootstock": "M9-T337 矮化自根砧", "planting_year": 2019, "elevation_m": 1485, "hail_net": True, "linked": True},
    {"code": "ZL-GY-01", "name": "示例南湖梯田园", "name_en": "Sample Nanhu Terrace Orchard", "grower": "ZL-C01",
     "township": "620825101", "area_mu": "45.0", "variety": "红富士（长富2）", "variety_en": "Red Fuji (Nagafu 2)",
     "rootstock": "山定子", "planting_year": 2006, "elevation_m": 1620},
    {"code": "ZL-GY-02", "name": "示例南湖老园", "name_en": "Sample Nanhu Old Orchard", "grower": "ZL-C01",
     "township": "620825101", "area_mu": "16.5", "variety": "秦冠", "variety_en": "Qinguan",
     "rootstock": "山定子", "planting_year": 1998, "elevation_m": 1640},
    {"code": "ZL-GY-03", "name": "示例岳堡新园", "name_en": "Sample Yuebao New Orchard", "grower": "ZL-C01",
     "township": "620825112", "area_mu": "31.7", "variety": "红富士（烟富3）", "variety_en": "Red Fuji (Yanfu 3)",
     "rootstock": "M26 中间砧", "planting_year": 2017, "elevation_m": 1700, "hail_net": True},
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Lot:
    code: str
    grower: str
    orchard: str
    kind: ProductKind
    harvest: dt.date
    kg: str
    grade: str
    certificate: str
    released: bool = True


_APPLE, _OCT = ProductKind.APPLE, dt.date(2026, 10, 18)
_LOTS: Final = (
    _Lot("JN-GY-01-2610", "JN-C01", "JN-GY-01", _APPLE, _OCT, "42000", "75# 以上一级", "示例-620826-26-00101"),
    _Lot("JN-GY-02-2610", "JN-C01", "JN-GY-02", _APPLE, dt.date(2026, 10, 21), "28500", "80# 以上一级", "示例-620826-26-00102"),
    _Lot("JN-GY-03-2610", "JN-C01", "JN-GY-03", _APPLE, dt.date(2026, 10, 14), "19800", "75# 以上一级", "示例-620826-26-00103"),
    _Lot("JN-GY-04-2610", "JN-F01", "JN-GY-04", _APPLE, dt.date(2026, 10, 20), "30600", "80# 以上特级", "示例-620826-26-00201"),
    _Lot("JN-GY-04-2611", "JN-F01", "JN-GY-04", _APPLE, dt.date(2026, 10, 27), "6200", "70# 以上二级", "", released=False),
    _Lot("JN-GY-05-2610", "JN-F01", "JN-GY-05", _APPLE, dt.date(2026, 10, 24), "11500", "75# 以上一级", "示例-620826-26-00202"),
    _Lot("ZL-GY-01-2610", "ZL-C01", "ZL-GY-01", _APPLE, dt.date(2026, 10, 19), "51000", "75# 以上一级", "示例-620825-26-00301"),
    _Lot("ZL-GY-02-2610", "ZL-C01", "ZL-GY-02", _APPLE, dt.date(2026, 10, 16), "14800", "75# 以上一级", "示例-620825-26-00302"),
    _Lot("ZL-YY-2609", "ZL-C01", "", ProductKind.POTATO, dt.date(2026, 9, 26), "36000", "150 克以上", "示例-620825-26-00311"),
    _Lot("ZL-QM-2609", "ZL-C01", "", ProductKind.BUCKWHEAT, dt.date(2026, 9, 30), "4200", "一级", "示例-620825-26-00312"),
    _Lot("KT-NR-2611", "KT-E01", "", ProductKind.BEEF, dt.date(2026, 11, 12), "1800", "冷鲜", "示例-620802-26-00401"),
    _Lot("HT-FM-2607", "HT-S01", "", ProductKind.HONEY, dt.date(2026, 7, 28), "960", "百花蜜", ""),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load found or made."""

    growers: int
    orchards: int
    linked: int
    batches: int


def _unit(code: str) -> Unit:
    unit = Unit.objects.filter(pk=code).first()
    if unit is None:
        raise LookupError(f"unit {code} is not there; run `manage.py load_demo_places` first")
    return unit


@dataclass(frozen=True, slots=True)
class _Stand:
    """A parcel that a run found apple trees on; area and township where the parcel's outline is known."""

    code: str
    area_ha: float
    place: Unit | None


def apple_parcels() -> list[_Stand]:
    """Parcels that a current run maps as apple and has a curve of, of the latest season, the largest first."""
    for run in Run.objects.filter(current=True).order_by("-season_end", "-imported_at"):
        series = Series.objects.filter(run=run, scope="parcel", crop="apple")
        codes = list(series.order_by("scope_id").values_list("scope_id", flat=True).distinct())
        outlines = Parcel.objects.select_related("place").in_bulk(codes)
        stands = [
            _Stand(code, outlines[code].area_ha, outlines[code].place)
            if code in outlines
            else _Stand(code, 0.0, None)
            for code in codes
        ]
        if stands:
            return sorted(stands, key=lambda stand: (-stand.area_ha, stand.code))
    return []


@transaction.atomic
def load() -> Loaded:
    """Enter the sample that is not there yet; what is there stays as people changed it.

    Raises
    ------
    LookupError
        The administrative units are not loaded.
    """
    growers: dict[str, Grower] = {}
    for row in _GROWERS:
        found = Grower.objects.filter(code=row["code"]).first()
        growers[row["code"]] = found or register_grower(
            **{**row, "county": _unit(row["county"]), "township": _unit(row["township"])}, sample=True
        )
    orchards = {row["code"]: _orchard(row, growers[row["grower"]]) for row in _ORCHARDS}
    linked = _link([orchards[row["code"]] for row in _ORCHARDS if row.get("linked")])
    for lot in _LOTS:
        if Batch.objects.filter(code=lot.code).exists():
            continue
        batch = record_batch(
            code=lot.code,
            grower=growers[lot.grower],
            orchard=orchards.get(lot.orchard),
            kind=lot.kind,
            harvest_date=lot.harvest,
            quantity_kg=Decimal(lot.kg),
            grade=lot.grade,
            pledge_certificate=lot.certificate,
            sample=True,
        )
        if lot.released:
            release_batch(batch=batch)
    return Loaded(growers=len(growers), orchards=len(orchards), linked=linked, batches=len(_LOTS))


def _orchard(row: dict[str, Any], grower: Grower) -> Orchard:
    found = Orchard.objects.select_related("grower").filter(code=row["code"]).first()
    if found is not None:
        return found
    fields = {name: value for name, value in row.items() if name != "linked"}
    fields |= {"grower": grower, "township": _unit(row["township"]), "area_mu": Decimal(row["area_mu"])}
    return register_orchard(**fields, sample=True)


def _link(orchards: list[Orchard]) -> int:
    """Give each orchard an apple parcel of its own, and the parcel's area; the number that stand on one."""
    parcels = {parcel.code: parcel for parcel in apple_parcels()}
    taken = {orchard.parcel_code for orchard in orchards}
    free = [code for code in parcels if code not in taken]
    for orchard in orchards:
        known = Series.objects.filter(scope="parcel", scope_id=orchard.parcel_code)
        if not free or (orchard.parcel_code and known.exists()):
            continue  # a link that somebody made stays
        parcel = parcels[free.pop(0)]
        if parcel.area_ha:
            orchard.area_mu = round(Decimal(parcel.area_ha * 15), 2)  # 1 ha = 15 亩
        place = parcel.place
        if (
            place is not None
            and place.level == Unit.Level.TOWNSHIP
            and place.parent_id == orchard.grower.county_id
        ):
            orchard.township = place
        orchard.save(update_fields=["area_mu", "township"])
        link_parcel(orchard=orchard, parcel_code=parcel.code)
    return sum(orchard.parcel_code in parcels for orchard in orchards)
