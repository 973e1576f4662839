# ruff: noqa: E501 - rows of a table stay on one line
"""Sample booths, products and stock: invented, marked 示例, and loaded by `manage.py load_demo_shop`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from django.db import transaction

from accounts.models import User
from farms.models import Batch, Grower, ProductKind
from shop.models import Illustration, Product, Seller, Sku
from shop.services import add_sku, create_product, open_booth


@dataclass(frozen=True, slots=True)
class _Pack:
    """A grade in its pack: SKU code, grade, grade in English, pack, pack in English, grams, fen, batch, stock."""

    code: str
    grade: str
    grade_en: str
    pack: str
    pack_en: str
    grams: int
    fen: int
    batch: str
    stock: int


@dataclass(frozen=True, slots=True)
class _Item:
    slug: str
    grower: str
    kind: ProductKind
    illustration: Illustration
    name: str
    name_en: str
    summary: str
    summary_en: str
    description: str
    description_en: str
    packs: tuple[_Pack, ...] = field(default=())
    fresh: bool = True


_A, _BOX, _KG5 = ProductKind.APPLE, "5 公斤箱装", "5 kg box"
_KEEP = "收到后放阴凉处或冰箱冷藏，可存放一个月以上。"
_KEEP_EN = "Keep cool or refrigerated; good for more than a month."

_ITEMS: Final = (
    _Item(
        "jingning-red-fuji", "JN-C01", _A, Illustration.APPLE_RED, "静宁红富士苹果", "Jingning Red Fuji apples",
        "梯田果园，套袋，十月下旬采收", "Terrace orchards, bagged, picked in late October",
        f"烟富3号，海拔 1560 米的梯田果园，六月套袋、九月下旬摘袋，十月中旬后分批采收。果面着色均匀，脆、汁多、甜酸适口。\n\n{_KEEP}",
        f"Yanfu 3 from terraces at 1,560 m, bagged in June, unbagged in late September. Crisp and juicy.\n\n{_KEEP_EN}",
        (
            _Pack("JN-RF-75-5", "75#", "75 mm", _BOX, _KG5, 5000, 5800, "JN-GY-01-2610", 180),
            _Pack("JN-RF-80-5", "80#", "80 mm", _BOX, _KG5, 5000, 6800, "JN-GY-01-2610", 120),
            _Pack("JN-RF-85-5", "85#", "85 mm", _BOX, _KG5, 5000, 8800, "JN-GY-01-2610", 8),
        ),
    ),
    _Item(
        "jingning-fuji-gift", "JN-C01", _A, Illustration.APPLE_GIFT, "静宁红富士礼盒", "Jingning Fuji gift box",
        "一果一托，12 枚或 9 枚装", "One apple, one tray: 12 or 9 in a box",
        f"长富2号，逐个选果，果径 80 毫米以上，一果一托，外箱加厚。\n\n{_KEEP}",
        f"Nagafu 2, hand-picked at 80 mm and above, each in its own tray.\n\n{_KEEP_EN}",
        (
            _Pack("JN-GB-80-12", "80#", "80 mm", "12 枚礼盒", "box of 12", 3200, 7800, "JN-GY-02-2610", 60),
            _Pack("JN-GB-85-9", "85#", "85 mm", "9 枚礼盒", "box of 9", 2800, 8600, "JN-GY-02-2610", 45),
        ),
    ),
    _Item(
        "jingning-chengji", "JN-C01", _A, Illustration.APPLE_BRANCH, "静宁成纪1号苹果", "Jingning Chengji 1 apples",
        "当地选育的品种，果形端正，条纹红", "A local variety: well shaped, striped red",
        f"成纪1号，2015 年建园。果形高桩，条纹红，肉质细脆。\n\n{_KEEP}",
        f"Chengji 1, planted in 2015. Tall fruit, striped red, fine crisp flesh.\n\n{_KEEP_EN}",
        (
            _Pack("JN-CJ-75-5", "75#", "75 mm", _BOX, _KG5, 5000, 6200, "JN-GY-03-2610", 90),
            _Pack("JN-CJ-80-25", "80#", "80 mm", "2.5 公斤箱装", "2.5 kg box", 2500, 3900, "JN-GY-03-2610", 0),
        ),
    ),
    _Item(
        "lidian-fuji", "JN-F01", _A, Illustration.APPLE_BOX, "静宁李店矮化富士", "Jingning Lidian dwarf Fuji",
        "防雹网下的矮化密植园，特级果", "Dwarf trees under hail nets, top grade",
        f"烟富3号，M9-T337 矮化自根砧，2018 年建园，全园防雹网。逐果测重分级。\n\n{_KEEP}",
        f"Yanfu 3 on M9-T337, planted in 2018 under hail nets, graded by weight.\n\n{_KEEP_EN}",
        (
            _Pack("JN-LD-80-5", "80#", "80 mm", _BOX, _KG5, 5000, 7600, "JN-GY-04-2610", 140),
            _Pack("JN-LD-85-5", "85#", "85 mm", _BOX, _KG5, 5000, 9600, "JN-GY-04-2610", 70),
            _Pack("JN-LD-80-25", "80#", "80 mm", "2.5 公斤箱装", "2.5 kg box", 2500, 4200, "JN-GY-04-2610", 66),
        ),
    ),
    _Item(
        "lidian-ruixue", "JN-F01", _A, Illustration.APPLE_GOLD, "静宁瑞雪黄苹果", "Jingning Ruixue yellow apples",
        "黄皮品种，免套袋，酸甜带香", "A yellow variety, unbagged, sweet-sour and fragrant",
        f"瑞雪，2019 年建园，不套袋，十月下旬采收。\n\n{_KEEP}",
        f"Ruixue, planted in 2019, unbagged, picked in late October.\n\n{_KEEP_EN}",
        (
            _Pack("JN-RX-75-5", "75#", "75 mm", _BOX, _KG5, 5000, 6600, "JN-GY-05-2610", 85),
            _Pack("JN-RX-75-25", "75#", "75 mm", "2.5 公斤箱装", "2.5 kg box", 2500, 3600, "JN-GY-05-2610", 40),
        ),
    ),
    _Item(
        "zhuanglang-terrace-fuji", "ZL-C01", _A, Illustration.APPLE_BRANCH, "庄浪梯田富士", "Zhuanglang terrace Fuji",
        "南湖梯田，海拔 1620 米", "Nanhu terraces, 1,620 m",
        f"长富2号，2006 年建园，海拔 1620 米，昼夜温差大。\n\n{_KEEP}",
        f"Nagafu 2, planted in 2006 at 1,620 m.\n\n{_KEEP_EN}",
        (
            _Pack("ZL-TF-75-5", "75#", "75 mm", _BOX, _KG5, 5000, 5200, "ZL-GY-01-2610", 200),
            _Pack("ZL-TF-80-5", "80#", "80 mm", _BOX, _KG5, 5000, 6000, "ZL-GY-01-2610", 150),
        ),
    ),
    _Item(
        "zhuanglang-qinguan", "ZL-C01", _A, Illustration.APPLE_DARK, "庄浪秦冠苹果", "Zhuanglang Qinguan apples",
        "老品种，耐放，放到春节更甜", "An old variety that keeps well and sweetens by spring",
        f"秦冠，1998 年建园的老果园。采收时偏硬，存放后转甜。\n\n{_KEEP}",
        f"Qinguan from an orchard of 1998. Firm when picked, sweeter with time.\n\n{_KEEP_EN}",
        (
            _Pack("ZL-QG-75-5", "75#", "75 mm", _BOX, _KG5, 5000, 3900, "ZL-GY-02-2610", 110),
            _Pack("ZL-QG-75-10", "75#", "75 mm", "10 公斤箱装", "10 kg box", 10000, 7200, "ZL-GY-02-2610", 50),
        ),
    ),
    _Item(
        "kongtong-beef-brisket", "KT-E01", ProductKind.BEEF, Illustration.BEEF_CUT, "崆峒冷鲜牛腩", "Kongtong chilled brisket",
        "自繁自育，冷鲜分割，冷链发货", "Home-bred, chilled cuts, cold chain",
        "18 至 24 月龄肉牛，屠宰后排酸 48 小时分割。炖煮、红烧皆宜。\n\n0 至 4 ℃ 冷藏 3 天内食用，或冷冻保存。",
        "Cattle of 18 to 24 months, aged for 48 hours.\n\nUse within 3 days at 0 to 4 °C, or freeze.",
        (
            _Pack("KT-NN-1", "冷鲜", "chilled", "1 公斤真空装", "1 kg vacuum pack", 1000, 8800, "KT-NR-2611", 60),
            _Pack("KT-NN-25", "冷鲜", "chilled", "2.5 公斤真空装", "2.5 kg vacuum pack", 2500, 20900, "KT-NR-2611", 24),
        ),
    ),
    _Item(
        "kongtong-beef-shank", "KT-E01", ProductKind.BEEF, Illustration.BEEF_SHANK, "崆峒冷鲜牛腱", "Kongtong chilled beef shank",
        "整条牛腱，酱卤切片", "Whole shank, for braising and slicing",
        "整条分割，筋肉相间，适合酱卤。\n\n0 至 4 ℃ 冷藏 3 天内食用，或冷冻保存。",
        "Whole shank, well marbled with tendon.\n\nUse within 3 days at 0 to 4 °C, or freeze.",
        (
            _Pack("KT-NJ-1", "冷鲜", "chilled", "1 公斤真空装", "1 kg vacuum pack", 1000, 9600, "KT-NR-2611", 36),
            _Pack("KT-NJ-2", "冷鲜", "chilled", "2 公斤真空装", "2 kg vacuum pack", 2000, 18600, "KT-NR-2611", 3),
        ),
    ),
    _Item(
        "zhuanglang-potato", "ZL-C01", ProductKind.POTATO, Illustration.POTATO, "庄浪洋芋（马铃薯）", "Zhuanglang potatoes",
        "全膜栽培，沙面口感", "Grown under film, floury",
        "九月下旬收获，单薯 150 克以上。蒸、炒、做洋芋搅团都合适。\n\n避光通风存放，发芽变绿的不要食用。",
        "Harvested in late September, 150 g and above.\n\nStore dark and airy; do not eat green or sprouting ones.",
        (
            _Pack("ZL-YY-5", "150 克以上", "150 g and above", "5 公斤网袋", "5 kg net", 5000, 1980, "ZL-YY-2609", 300),
            _Pack("ZL-YY-10", "150 克以上", "150 g and above", "10 公斤箱装", "10 kg box", 10000, 3680, "ZL-YY-2609", 160),
        ),
    ),
    _Item(
        "zhuanglang-buckwheat", "ZL-C01", ProductKind.BUCKWHEAT, Illustration.BUCKWHEAT, "庄浪荞麦米", "Zhuanglang buckwheat groats",
        "当年新荞，脱壳精选", "This year's crop, hulled and sorted",
        "九月底收获，脱壳筛选。可蒸饭、煮粥、打糊。\n\n密封防潮，常温存放。",
        "Harvested at the end of September, hulled and sorted.\n\nKeep dry and sealed.",
        (
            _Pack("ZL-QM-1", "一级", "grade 1", "1 公斤袋装", "1 kg bag", 1000, 1680, "ZL-QM-2609", 150),
            _Pack("ZL-QM-25", "一级", "grade 1", "2.5 公斤袋装", "2.5 kg bag", 2500, 3900, "ZL-QM-2609", 80),
        ),
        fresh=False,
    ),
    _Item(
        "huating-honey", "HT-S01", ProductKind.HONEY, Illustration.HONEY, "华亭关山百花蜜", "Huating Guanshan wildflower honey",
        "关山林缘，七月取蜜", "From the Guanshan forest edge, taken in July",
        "关山林缘放蜂，七月下旬取蜜，过滤后装瓶，不加糖不浓缩。低温会结晶，是正常现象。\n\n一岁以下婴儿不能食用蜂蜜。",
        "Taken in late July, filtered, nothing added. It crystallises in the cold.\n\nNot for infants under one year.",
        (
            _Pack("HT-FM-500", "百花蜜", "wildflower", "500 克瓶装", "500 g jar", 500, 4500, "HT-FM-2607", 120),
            _Pack("HT-FM-1000", "百花蜜", "wildflower", "1 公斤瓶装", "1 kg jar", 1000, 8200, "HT-FM-2607", 60),
        ),
        fresh=False,
    ),
)  # fmt: skip

# The numbers of 0933-555-xxxx are invented.
_BOOTHS: Final[dict[str, dict[str, str]]] = {
    "JN-C01": {"licence_name": "静宁示例红果苹果专业合作社（示例）", "service_phone": "0933-5550101"},
    "JN-F01": {"licence_name": "静宁示例李店家庭农场（示例）", "service_phone": "0933-5550102"},
    "ZL-C01": {"licence_name": "庄浪示例梯田果业合作社（示例）", "service_phone": "0933-5550103"},
    "KT-E01": {
        "licence_name": "崆峒示例红牛牧业有限公司（示例）",
        "licence_number": "食品经营许可证 示例-62080200001",
        "service_phone": "0933-5550104",
    },
    "HT-S01": {
        "self_declaration": "自产自销农户，依电子商务法第十条免于市场主体登记（示例）。",
        "service_phone": "0933-5550105",
    },
}
#: User of `load_demo_users` who works for the first booth.
SELLER_USER: Final = "seller-demo"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load found or made."""

    sellers: int
    products: int
    skus: int


@transaction.atomic
def load() -> Loaded:
    """Enter the sample that is not there yet; stock and prices that people changed stay as they are.

    Raises
    ------
    LookupError
        The sample growers are not loaded.
    """
    sellers = {code: _seller(code, fields) for code, fields in _BOOTHS.items()}
    # The newest stands first in the list, so the last of the table goes in first.
    for item in reversed(_ITEMS):
        product = _product(item, sellers[item.grower])
        for pack in item.packs:
            _sku(pack, product)
    return Loaded(sellers=len(sellers), products=len(_ITEMS), skus=sum(len(item.packs) for item in _ITEMS))


def _seller(code: str, fields: dict[str, str]) -> Seller:
    grower = Grower.objects.filter(code=code).first()
    if grower is None:
        raise LookupError(f"grower {code} is not there; run `manage.py load_demo_farms` first")
    seller = Seller.objects.filter(grower=grower).first() or open_booth(grower=grower, **fields)
    if code == next(iter(_BOOTHS)) and (user := User.objects.filter(username=SELLER_USER).first()):
        seller.members.add(user)
    return seller


def _product(item: _Item, seller: Seller) -> Product:
    return Product.objects.filter(slug=item.slug).first() or create_product(
        seller=seller,
        slug=item.slug,
        name=item.name,
        name_en=item.name_en,
        kind=item.kind,
        illustration=item.illustration,
        summary=item.summary,
        summary_en=item.summary_en,
        description=item.description,
        description_en=item.description_en,
        fresh=item.fresh,
        published=True,
        sample=True,
    )


def _sku(pack: _Pack, product: Product) -> Sku:
    return Sku.objects.filter(code=pack.code).first() or add_sku(
        product=product,
        code=pack.code,
        grade=pack.grade,
        grade_en=pack.grade_en,
        pack=pack.pack,
        pack_en=pack.pack_en,
        net_weight_g=pack.grams,
        price_fen=pack.fen,
        batch=Batch.objects.get(code=pack.batch),
        stock=pack.stock,
    )
