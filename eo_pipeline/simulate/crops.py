"""What grows in the twin: map classes, stage calendars, rotation and yields, all as tables.

Dates are those of Jingning at `REFERENCE_ELEVATION_M` (calendar of Pingliang: winter wheat sown mid September
to early October and harvested by late July, film maize sown 10-30 April, and so on). Leaf areas and pigments
are our own round numbers, typical of rain-fed loess fields; they are assumptions of the simulation, not
measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Elevation for which the stage dates below hold. Spring and summer stages come 3-4 days later per 100 m.
REFERENCE_ELEVATION_M: Final = 1700.0
DAYS_PER_100M: Final = 3.5

Ground = tuple[str, float]


@dataclass(frozen=True, slots=True)
class CropClass:
    """A class of the map: code, names, palette colour; `crop` False is land without a crop."""

    code: int
    name: str
    zh: str
    en: str
    colour: str
    crop: bool = True


CLASSES: Final = (
    CropClass(1, "winter_wheat", "冬小麦", "winter wheat", "#DDCC77"),
    CropClass(2, "spring_maize", "春玉米", "spring maize", "#CC6677"),
    CropClass(3, "potato", "马铃薯", "potato", "#AA4499"),
    CropClass(4, "apple", "苹果", "apple", "#882255"),
    CropClass(5, "rapeseed", "冬油菜", "rapeseed", "#999933"),
    CropClass(6, "flax", "胡麻", "flax", "#88CCEE"),
    CropClass(7, "millet_buckwheat", "谷糜荞麦", "millet and buckwheat", "#44AA99"),
    CropClass(8, "alfalfa", "苜蓿", "alfalfa", "#117733"),
    CropClass(9, "vegetables", "蔬菜", "vegetables", "#332288"),
    CropClass(10, "other", "其他", "other land", "#DDDDDD", crop=False),
)
CODE: Final = {item.name: item.code for item in CLASSES}
NAME: Final = {item.code: item.name for item in CLASSES}


@dataclass(frozen=True, slots=True)
class Stage:
    """Canopy at one stage; between stages everything is linear in time.

    `year` -1 is the autumn before the harvest year. `lai` m²/m², `cab` chlorophyll µg/cm², `brown` 0-1 share
    of brown pigment, `flower` 0-1 share of the view taken by flowers, `per_100m` days later per 100 m of
    elevation.
    """

    name: str
    month: int
    day: int
    lai: float
    cab: float
    brown: float = 0.0
    flower: float = 0.0
    year: int = 0
    per_100m: float = DAYS_PER_100M


@dataclass(frozen=True, slots=True)
class Variant:
    """One way a class is grown.

    `share` of the class's parcels; `leaf_angle` mean inclination in degrees; `cover` horizontal share under
    the canopy (orchards and woods leave gaps); `under` leaf area of grass in the gaps at midsummer; `ground`
    what lies there instead of soil, and its share; `film` first and last (year, month, day) of plastic film
    and the share of ground that it brightens; `flowers` the petals' spectrum.
    """

    name: str
    crop: str
    share: float
    leaf_angle: float
    stages: tuple[Stage, ...]
    perennial: bool = False
    cover: float = 1.0
    under: float = 0.0
    ground: Ground | None = None
    film: tuple[tuple[int, int, int], tuple[int, int, int], float] | None = None
    flowers: str = "white_petals"


def _maize(end: tuple[Stage, ...]) -> tuple[Stage, ...]:
    return (
        Stage("sowing", 4, 20, 0.0, 40, per_100m=2.0),
        Stage("emergence", 5, 8, 0.05, 40),
        Stage("six_leaf", 6, 4, 0.6, 44),
        Stage("jointing", 6, 20, 1.6, 48),
        Stage("tasselling", 7, 18, 4.2, 55),
        Stage("silking", 7, 28, 4.3, 55),
        *end,
    )


_GRAIN = _maize(
    (
        Stage("milk", 8, 25, 3.8, 48),
        Stage("dent", 9, 10, 2.8, 30, 0.35, per_100m=2.5),
        Stage("maturity", 9, 24, 1.6, 3, 0.9, per_100m=1.5),
        Stage("harvest", 9, 29, 1.3, 3, 1.0, per_100m=1.0),
    )
)
_SILAGE = _maize((Stage("milk", 8, 25, 3.8, 48), Stage("harvest", 9, 5, 3.5, 44, 0.1, per_100m=2.0)))
_AUTUMN_FILM = ((-1, 10, 24), (0, 10, 5), 0.55)
_SPRING_FILM = ((0, 3, 12), (0, 10, 5), 0.65)

_POTATO = (
    Stage("sowing", 4, 28, 0.0, 38, per_100m=2.0),
    Stage("emergence", 6, 1, 0.1, 38),
    Stage("squaring", 6, 20, 1.2, 42),
    Stage("flowering", 7, 8, 3.1, 44, 0.0, 0.05),
    Stage("tuber_growth", 8, 1, 3.4, 40),
    Stage("yellowing", 8, 27, 1.9, 25, 0.25, per_100m=2.0),
    Stage("haulm_death", 9, 11, 0.6, 14, 0.8, per_100m=1.0),
    Stage("harvest", 9, 23, 0.3, 3, 1.0, per_100m=0.5),
)

_APPLE = (
    Stage("dormant", 1, 1, 0.12, 3, 1.0, per_100m=0),
    Stage("budbreak", 4, 2, 0.15, 15, 0.8),
    Stage("full_bloom", 4, 22, 0.8, 34, 0.0, 0.16),
    Stage("fruit_set", 5, 12, 2.0, 40),
    Stage("bagging", 6, 10, 2.9, 47),
    Stage("fruit_growth", 8, 15, 3.2, 50),
    Stage("bag_removal", 9, 20, 2.9, 45, per_100m=0),
    Stage("picking", 10, 18, 2.4, 36, 0.08, per_100m=0),
    Stage("leaf_fall", 11, 3, 1.7, 20, 0.5, per_100m=-1.5),
    Stage("bare", 11, 22, 0.14, 3, 1.0, per_100m=-1.5),
    Stage("end", 12, 31, 0.12, 3, 1.0, per_100m=0),
)

_ALFALFA = (
    Stage("dormant", 1, 1, 0.1, 3, 1.0, per_100m=0),
    Stage("green_up", 3, 25, 0.25, 35, 0.4),
    Stage("branching", 4, 28, 1.7, 46),
    Stage("first_cut", 5, 28, 3.8, 48, 0.0, 0.04),
    Stage("first_stubble", 5, 30, 0.4, 30, 0.3),
    Stage("second_regrowth", 6, 22, 1.9, 46),
    Stage("second_cut", 7, 15, 3.5, 46, 0.0, 0.04),
    Stage("second_stubble", 7, 17, 0.4, 30, 0.3),
    Stage("third_regrowth", 8, 12, 1.9, 45),
    Stage("third_cut", 9, 6, 3.0, 44),
    Stage("third_stubble", 9, 8, 0.4, 30, 0.3),
    Stage("autumn", 10, 18, 1.5, 38, 0.1, per_100m=0),
    Stage("frosted", 11, 16, 0.5, 18, 0.8, per_100m=-1.5),
    Stage("end", 12, 31, 0.1, 3, 1.0, per_100m=0),
)


def _wild(peak: float, cab: float, *, dead: float = 0.1) -> tuple[Stage, ...]:
    """Grass and herbs on slopes and abandoned terraces: late, sparse, following the summer rain."""
    return (
        Stage("dormant", 1, 1, dead, 3, 1.0, per_100m=0),
        Stage("green_up", 4, 18, dead, 20, 0.8),
        Stage("growth", 6, 5, 0.45 * peak, cab),
        Stage("peak", 8, 12, peak, cab),
        Stage("yellowing", 9, 28, 0.6 * peak, 0.6 * cab, 0.4, per_100m=-1.5),
        Stage("dead", 11, 2, 0.3 * peak + dead, 10, 1.0, per_100m=-1.5),
        Stage("end", 12, 31, dead, 3, 1.0, per_100m=0),
    )


_WOOD = (
    Stage("dormant", 1, 1, 0.15, 3, 1.0, per_100m=0),
    Stage("leaf_out", 4, 26, 0.3, 30, 0.3),
    Stage("full_leaf", 5, 20, 2.4, 44),
    Stage("summer", 7, 1, 3.4, 48),
    Stage("late_summer", 9, 12, 2.9, 42, per_100m=0),
    Stage("autumn", 10, 16, 1.6, 22, 0.4, per_100m=-1.5),
    Stage("bare", 11, 8, 0.2, 3, 1.0, per_100m=-1.5),
    Stage("end", 12, 31, 0.15, 3, 1.0, per_100m=0),
)
_NOTHING = (Stage("start", 1, 1, 0.0, 20, per_100m=0), Stage("end", 12, 31, 0.0, 20, per_100m=0))

VARIANTS: Final = (
    Variant(
        "winter_wheat",
        "winter_wheat",
        1.0,
        62,
        (
            Stage("sowing", 9, 26, 0.0, 40, year=-1, per_100m=-2.0),
            Stage("emergence", 10, 6, 0.1, 40, year=-1, per_100m=-1.5),
            Stage("tillering", 11, 5, 1.0, 45, year=-1, per_100m=-1.0),
            Stage("overwintering", 12, 1, 0.8, 38, 0.15, year=-1, per_100m=-1.0),
            Stage("midwinter", 2, 1, 0.45, 28, 0.4, per_100m=1.0),
            Stage("green_up", 3, 18, 0.6, 38, 0.15),
            Stage("jointing", 4, 22, 2.6, 48),
            Stage("heading", 5, 20, 4.3, 52),
            Stage("grain_filling", 6, 12, 3.6, 46, 0.05),
            Stage("yellowing", 6, 30, 2.4, 22, 0.5),
            Stage("maturity", 7, 10, 1.4, 3, 1.0),
            Stage("harvest", 7, 14, 1.2, 3, 1.0),
        ),
    ),
    Variant("maize_autumn_film", "spring_maize", 0.50, 52, _GRAIN, film=_AUTUMN_FILM),
    Variant("maize_spring_film", "spring_maize", 0.27, 52, _GRAIN, film=_SPRING_FILM),
    Variant("maize_silage", "spring_maize", 0.15, 52, _SILAGE, film=_SPRING_FILM),
    Variant("maize_open", "spring_maize", 0.08, 52, _GRAIN),
    Variant("potato", "potato", 0.75, 35, _POTATO),
    Variant("potato_film", "potato", 0.25, 35, _POTATO, film=((0, 4, 8), (0, 9, 20), 0.45)),
    Variant("apple_bearing", "apple", 0.75, 42, _APPLE, perennial=True, cover=0.66, under=0.7),
    Variant("apple_young", "apple", 0.25, 42, _APPLE, perennial=True, cover=0.36, under=0.5),
    Variant(
        "rapeseed",
        "rapeseed",
        1.0,
        40,
        (
            Stage("sowing", 8, 25, 0.0, 38, year=-1, per_100m=-2.0),
            Stage("emergence", 9, 3, 0.1, 38, year=-1, per_100m=-1.5),
            Stage("rosette", 10, 20, 1.8, 42, year=-1, per_100m=-1.0),
            Stage("overwintering", 12, 1, 1.0, 32, 0.3, year=-1, per_100m=-1.0),
            Stage("midwinter", 2, 1, 0.35, 22, 0.6, per_100m=1.0),
            Stage("green_up", 3, 12, 0.7, 38, 0.1),
            Stage("budding", 4, 12, 2.6, 45),
            Stage("first_bloom", 4, 27, 3.5, 44, 0.0, 0.35),
            Stage("full_bloom", 5, 8, 3.7, 42, 0.0, 0.6),
            Stage("end_of_bloom", 5, 24, 3.3, 38, 0.0, 0.03),
            Stage("pods", 6, 6, 2.6, 26, 0.2),
            Stage("maturity", 6, 21, 1.2, 3, 0.9),
            Stage("harvest", 6, 25, 1.0, 3, 1.0),
        ),
        flowers="yellow_petals",
    ),
    Variant(
        "flax",
        "flax",
        1.0,
        60,
        (
            Stage("sowing", 4, 5, 0.0, 36, per_100m=2.0),
            Stage("emergence", 4, 26, 0.1, 36),
            Stage("fir_stage", 5, 20, 1.0, 40),
            Stage("budding", 6, 5, 2.1, 42),
            Stage("flowering", 6, 18, 2.6, 40, 0.0, 0.1),
            Stage("green_boll", 7, 5, 2.4, 34),
            Stage("yellowing", 7, 24, 1.3, 16, 0.6),
            Stage("harvest", 8, 5, 0.9, 3, 1.0),
        ),
        flowers="blue_petals",
    ),
    Variant(
        "millet",
        "millet_buckwheat",
        0.65,
        55,
        (
            Stage("sowing", 5, 12, 0.0, 36, per_100m=2.0),
            Stage("emergence", 5, 24, 0.1, 36),
            Stage("tillering", 6, 20, 1.0, 38),
            Stage("jointing", 7, 10, 2.3, 43),
            Stage("heading", 8, 1, 3.3, 45),
            Stage("grain_filling", 8, 22, 2.8, 36, 0.1, per_100m=2.5),
            Stage("maturity", 9, 12, 1.5, 14, 0.7, per_100m=1.5),
            Stage("harvest", 9, 18, 1.2, 3, 0.9, per_100m=1.0),
        ),
    ),
    Variant(
        "buckwheat",
        "millet_buckwheat",
        0.35,
        38,
        (
            Stage("sowing", 6, 26, 0.0, 34, per_100m=-1.0),
            Stage("emergence", 7, 4, 0.15, 34, per_100m=-0.5),
            Stage("branching", 7, 24, 1.4, 36, per_100m=0.5),
            Stage("flowering", 8, 12, 2.6, 34, 0.0, 0.24, per_100m=1.0),
            Stage("seed_set", 9, 4, 2.2, 28, 0.15, 0.08, per_100m=1.0),
            Stage("maturity", 9, 23, 1.0, 12, 0.6, per_100m=0.5),
            Stage("harvest", 9, 28, 0.8, 10, 0.8, per_100m=0.5),
        ),
    ),
    Variant("alfalfa", "alfalfa", 1.0, 42, _ALFALFA, perennial=True),
    Variant(
        "vegetables_twice",
        "vegetables",
        0.45,
        38,
        (
            Stage("planting", 4, 18, 0.0, 42, per_100m=2.0),
            Stage("established", 5, 14, 0.8, 44),
            Stage("first_peak", 6, 10, 2.7, 46),
            Stage("first_harvest", 6, 28, 2.2, 42),
            Stage("replanting", 7, 6, 0.1, 42),
            Stage("regrowth", 8, 4, 1.6, 45, per_100m=2.0),
            Stage("second_peak", 9, 4, 3.0, 46, per_100m=1.0),
            Stage("harvest", 10, 2, 2.2, 40, per_100m=0.0),
        ),
    ),
    Variant(
        "vegetables_once",
        "vegetables",
        0.35,
        38,
        (
            Stage("planting", 5, 28, 0.0, 42, per_100m=2.0),
            Stage("established", 6, 18, 0.8, 44),
            Stage("growth", 7, 18, 2.8, 46),
            Stage("peak", 8, 18, 3.3, 46, per_100m=2.0),
            Stage("harvest", 9, 10, 2.6, 42, per_100m=1.0),
        ),
    ),
    Variant(
        "vegetables_shed",
        "vegetables",
        0.20,
        38,
        (
            Stage("start", 1, 1, 0.5, 44, per_100m=0),
            Stage("summer", 7, 1, 0.9, 44, per_100m=0),
            Stage("end", 12, 31, 0.5, 44, per_100m=0),
        ),
        perennial=True,
        ground=("shed_plastic", 0.7),
    ),
    Variant("village", "other", 0.0, 45, _WOOD, perennial=True, cover=0.3, ground=("built", 0.85)),
    Variant("wood", "other", 0.0, 45, _WOOD, perennial=True, cover=0.85, under=0.8),
    Variant("grass", "other", 0.0, 55, _wild(1.5, 34, dead=0.3), perennial=True),
    Variant("gully", "other", 0.0, 55, _wild(0.6, 30), perennial=True),
    Variant("river", "other", 0.0, 45, _NOTHING, perennial=True, ground=("water", 0.6)),
    Variant("abandoned", "other", 0.0, 50, _wild(1.9, 36, dead=0.35), perennial=True),
)
VARIANT: Final = {item.name: index for index, item in enumerate(VARIANTS)}
VARIANT_CODE: Final = tuple(CODE[item.crop] for item in VARIANTS)
WINTER_CROPS: Final = frozenset({"winter_wheat", "rapeseed"})

#: Share of cropland in the first year, before suitability is applied. Invented, not statistics of Jingning.
INITIAL_SHARE: Final = {
    "winter_wheat": 0.14,
    "spring_maize": 0.22,
    "potato": 0.12,
    "apple": 0.28,
    "rapeseed": 0.05,
    "flax": 0.05,
    "millet_buckwheat": 0.08,
    "alfalfa": 0.06,
    "vegetables": 0.03,
}
#: What follows what; orchards and alfalfa stay. A successor has to fit after its predecessor's harvest.
ROTATION: Final = {
    "winter_wheat": {
        "winter_wheat": 0.30,
        "spring_maize": 0.24,
        "potato": 0.14,
        "millet_buckwheat": 0.12,
        "rapeseed": 0.20,
    },
    "spring_maize": {
        "spring_maize": 0.42,
        "winter_wheat": 0.18,
        "potato": 0.18,
        "flax": 0.10,
        "millet_buckwheat": 0.12,
    },
    "potato": {
        "spring_maize": 0.35,
        "winter_wheat": 0.28,
        "flax": 0.15,
        "millet_buckwheat": 0.14,
        "potato": 0.08,
    },
    "rapeseed": {
        "winter_wheat": 0.42,
        "spring_maize": 0.28,
        "potato": 0.14,
        "rapeseed": 0.06,
        "millet_buckwheat": 0.10,
    },
    "flax": {
        "winter_wheat": 0.36,
        "rapeseed": 0.22,
        "potato": 0.16,
        "spring_maize": 0.16,
        "millet_buckwheat": 0.10,
    },
    "millet_buckwheat": {
        "spring_maize": 0.34,
        "potato": 0.26,
        "winter_wheat": 0.18,
        "flax": 0.14,
        "millet_buckwheat": 0.08,
    },
    "vegetables": {"vegetables": 0.72, "spring_maize": 0.18, "winter_wheat": 0.10},
}

#: kg per mu at vigour 1, and the limits within which a record is plausible. Apple, vegetables and minor
#: grains follow the city's own totals (1.68 t, 87.85 万吨 / 54.4 万亩, 152 kg); the rest are round numbers
#: within the limits.
YIELD_KG_PER_MU: Final = {
    "winter_wheat": (260.0, 120.0, 450.0),
    "spring_maize": (600.0, 300.0, 900.0),
    "potato": (1450.0, 700.0, 2500.0),
    "apple": (1680.0, 1000.0, 3500.0),
    "rapeseed": (130.0, 60.0, 220.0),
    "flax": (105.0, 60.0, 180.0),
    "millet_buckwheat": (152.0, 60.0, 350.0),
    "alfalfa": (480.0, 200.0, 900.0),
    "vegetables": (1615.0, 500.0, 5000.0),
}
