"""What is known of Pingliang's units without any boundary file: codes, names, places of the seats, extents
and areas.

Codes are of GB/T 2260 (counties) and GB/T 10114 (townships). Extents, centroids and areas were computed
once from a simplified boundary (reference/domain.md, section 2); they are facts about the counties, not
outlines of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PREFECTURE_CODE: Final = "620800"
PREFECTURE_NAME: Final = "平凉市"
PREFECTURE_NAME_EN: Final = "Pingliang"


@dataclass(frozen=True, slots=True)
class County:
    """A county-level unit.

    Attributes
    ----------
    centroid
        Longitude and latitude, WGS 84 degrees.
    extent
        West, south, east, north, WGS 84 degrees.
    area_km2
        Geodesic area in km².
    former_codes
        Codes the same place had before; ear tags and old tables still carry them.
    """

    code: str
    name: str
    name_en: str
    centroid: tuple[float, float]
    extent: tuple[float, float, float, float]
    area_km2: float
    former_codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Township:
    """A township shown in the demo.

    `seat` (WGS 84 degrees) is approximate: it only spreads the schematic cells.
    """

    code: str
    name: str
    name_en: str
    seat: tuple[float, float]


COUNTIES: Final = (
    County("620802", "崆峒区", "Kongtong", (106.738, 35.511), (106.430, 35.270, 107.190, 35.746), 1936.0),
    County("620821", "泾川县", "Jingchuan", (107.431, 35.348), (107.105, 35.179, 107.740, 35.523), 1468.0),
    County("620822", "灵台县", "Lingtai", (107.399, 35.069), (107.015, 34.878, 107.859, 35.246), 1966.0),
    County("620823", "崇信县", "Chongxin", (106.992, 35.245), (106.816, 35.027, 107.216, 35.409), 855.0),
    County("620825", "庄浪县", "Zhuanglang", (106.056, 35.250), (105.772, 35.052, 106.398, 35.470), 1508.0),
    County("620826", "静宁县", "Jingning", (105.668, 35.429), (105.342, 35.021, 106.095, 35.750), 2186.0),
    # County until 2018, then a city of its own: one place, two codes.
    County(
        "620881",
        "华亭市",
        "Huating",
        (106.595, 35.198),
        (106.359, 35.022, 106.879, 35.390),
        1197.0,
        ("620824",),
    ),
)

TOWNSHIPS: Final = (
    Township("620802100", "四十里铺镇", "Sishilipu", (106.86, 35.49)),
    Township("620802101", "崆峒镇", "Kongtong Town", (106.58, 35.54)),
    Township("620802102", "草峰镇", "Caofeng", (106.86, 35.62)),
    Township("620802103", "白水镇", "Baishui", (106.98, 35.43)),
    Township("620802104", "安国镇", "Anguo", (106.56, 35.60)),
    Township("620802105", "柳湖镇", "Liuhu", (106.70, 35.56)),
    Township("620802219", "大寨回族乡", "Dazhai", (106.76, 35.41)),
    Township("620821100", "城关镇", "Chengguan", (107.36, 35.34)),
    Township("620821101", "玉都镇", "Yudu", (107.42, 35.44)),
    Township("620821102", "高平镇", "Gaoping", (107.55, 35.25)),
    Township("620821104", "王村镇", "Wangcun", (107.25, 35.36)),
    Township("620821106", "党原镇", "Dangyuan", (107.24, 35.44)),
    Township("620821108", "飞云镇", "Feiyun", (107.62, 35.36)),
    Township("620822100", "中台镇", "Zhongtai", (107.62, 35.07)),
    Township("620822101", "什字镇", "Shizi", (107.52, 35.17)),
    Township("620822102", "朝那镇", "Chaona", (107.27, 35.14)),
    Township("620822104", "独店镇", "Dudian", (107.74, 35.14)),
    Township("620822107", "百里镇", "Baili", (107.28, 34.99)),
    Township("620822108", "蒲窝镇", "Puwo", (107.47, 34.99)),
    Township("620823100", "锦屏镇", "Jinping", (107.03, 35.30)),
    Township("620823101", "新窑镇", "Xinyao", (106.93, 35.19)),
    Township("620823102", "柏树镇", "Baishu", (107.10, 35.24)),
    Township("620823103", "黄寨镇", "Huangzhai", (107.02, 35.12)),
    Township("620825100", "水洛镇", "Shuiluo", (106.04, 35.20)),
    Township("620825101", "南湖镇", "Nanhu", (105.93, 35.29)),
    Township("620825102", "朱店镇", "Zhudian", (106.09, 35.30)),
    Township("620825104", "韩店镇", "Handian", (106.22, 35.22)),
    Township("620825106", "阳川镇", "Yangchuan", (105.87, 35.20)),
    Township("620825112", "岳堡镇", "Yuebao", (106.17, 35.37)),
    Township("620826100", "城关镇", "Chengguan", (105.808, 35.518)),
    Township("620826101", "威戎镇", "Weirong", (105.808, 35.337)),
    Township("620826102", "界石铺镇", "Jieshipu", (105.51, 35.58)),
    Township("620826103", "李店镇", "Lidian", (105.547, 35.337)),
    Township("620826105", "甘沟镇", "Gangou", (105.547, 35.518)),
    Township("620826107", "仁大镇", "Renda", (105.66, 35.17)),
    Township("620826110", "雷大镇", "Leida", (105.86, 35.41)),
    Township("620826111", "四河镇", "Sihe", (105.63, 35.64)),
    Township("620881100", "东华镇", "Donghua", (106.65, 35.22)),
    Township("620881101", "安口镇", "Ankou", (106.79, 35.22)),
    Township("620881102", "西华镇", "Xihua", (106.59, 35.17)),
    Township("620881103", "马峡镇", "Maxia", (106.47, 35.21)),
    Township("620881104", "策底镇", "Cedi", (106.60, 35.31)),
    Township("620881105", "上关镇", "Shangguan", (106.52, 35.10)),
)

#: Former code → code of today, for counties; a township's first six digits follow it.
CURRENT_CODE: Final = {former: county.code for county in COUNTIES for former in county.former_codes}


def current_code(code: str) -> str:
    """The code a unit has today.

    Examples
    --------
    >>> current_code("620824"), current_code("620824101"), current_code("620826")
    ('620881', '620881101', '620826')
    """
    return CURRENT_CODE.get(code[:6], code[:6]) + code[6:]
