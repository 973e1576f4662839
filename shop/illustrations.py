# ruff: noqa: E501 - path data does not read better in two lines
"""Our own drawings of produce, one SVG for each `shop.models.Illustration`.

`manage.py draw_illustrations` writes them to frontend/img/shop, where they are committed: a drawing is code, so
who has no drawing program can mend it. Flat shapes, the site's colours, 400 × 300 (4 : 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

WIDTH: Final = 400
HEIGHT: Final = 300

PAPER: Final = "#fbfaf6"
INK: Final = "#1f2421"
LEAF, LEAF_DEEP, LEAF_SOFT = "#2f6b3a", "#22512b", "#dfeee0"
APPLE, APPLE_DEEP, APPLE_SOFT = "#b3261e", "#8c1d17", "#f9dedc"
LOESS, LOESS_SOFT, LOESS_MID = "#8a5a12", "#f6e7c6", "#d9a441"
WOOD, WOOD_DEEP = "#c89a5b", "#a57638"


def _terraces(colour: str, *, opacity: float = 0.5) -> str:
    """Terraced hills of the loess plateau along the lower edge: what all drawings share."""
    rows = []
    for step in range(5):
        y = 196 + 24 * step
        points = " ".join(
            f"{x},{y + 9 * math.sin(x / 62 + step * 1.3) + 5 * math.sin(x / 23 + step):.0f}"
            for x in range(0, 401, 20)
        )
        rows.append(f'<polyline points="{points}"/>')
    return f'<g fill="none" stroke="{colour}" stroke-width="3" opacity="{opacity}">{"".join(rows)}</g>'


def _shadow(x: float, y: float, rx: float) -> str:
    return f'<ellipse cx="{x:g}" cy="{y:g}" rx="{rx:g}" ry="{rx * 0.13:.1f}" fill="{INK}" opacity="0.16"/>'


def _apple(x: float, y: float, size: float, *, skin: str, shade: str, blush: str, leaf: bool = True) -> str:
    """An apple of `size` pixels in width, its middle at (x, y)."""
    scale = size / 100
    leaf_shape = (
        f'<path d="M4-46C12-66 34-68 46-60C40-44 20-38 4-46Z" fill="{LEAF}"/>'
        f'<path d="M6-47C18-54 30-58 43-60" fill="none" stroke="{LEAF_DEEP}" stroke-width="2"/>'
        if leaf
        else ""
    )
    return (
        f'<g transform="translate({x:g} {y:g}) scale({scale:g})">'
        f'<path d="M0-36C14-48 50-46 50-4C50 28 28 48 12 46C4 45-4 45-12 46C-28 48-50 28-50-4C-50-46-14-48 0-36Z" fill="{skin}"/>'
        f'<path d="M28-39C42-34 50-22 50-4C50 28 28 48 12 46C4 45 0 45-4 45C30 38 40 4 28-39Z" fill="{shade}"/>'
        f'<path d="M-34-18C-30-28-22-32-14-32" fill="none" stroke="{blush}" stroke-width="6" stroke-linecap="round"/>'
        f'<path d="M-14-35C-6-30 6-30 14-35" fill="none" stroke="{shade}" stroke-width="4" stroke-linecap="round"/>'
        f'<path d="M0-33C0-44 2-54 8-62" fill="none" stroke="{WOOD_DEEP}" stroke-width="5" stroke-linecap="round"/>'
        f"{leaf_shape}</g>"
    )


def _red(x: float, y: float, size: float, *, leaf: bool = True) -> str:
    return _apple(x, y, size, skin=APPLE, shade=APPLE_DEEP, blush="#e98a80", leaf=leaf)


def _apple_red() -> str:
    return (
        _shadow(205, 247, 150) + _red(112, 190, 112, leaf=False) + _red(296, 192, 108) + _red(204, 172, 148)
    )


def _apple_gold() -> str:
    def gold(x: float, y: float, size: float, *, leaf: bool = True) -> str:
        return _apple(x, y, size, skin="#e3b23c", shade="#c08a1e", blush="#f7e3a6", leaf=leaf)

    return (
        _shadow(205, 247, 140)
        + gold(130, 184, 124)
        + gold(262, 180, 132, leaf=False)
        + _apple(200, 214, 76, skin="#d9853b", shade="#b3261e", blush="#f6cf9a", leaf=False)
    )


def _apple_box() -> str:
    top = "".join(
        _red(x, y, 62, leaf=i % 3 == 0)
        for i, (x, y) in enumerate([(112, 140), (172, 128), (232, 132), (290, 140)])
    )
    front = "".join(_red(x, 158, 62, leaf=False) for x in (140, 200, 262))
    slats = "".join(
        f'<rect x="76" y="{y}" width="250" height="24" rx="3" fill="{WOOD}"/>' for y in (168, 198, 228)
    )
    posts = "".join(
        f'<rect x="{x}" y="162" width="16" height="94" rx="2" fill="{WOOD_DEEP}"/>' for x in (84, 302)
    )
    return _shadow(201, 256, 140) + top + front + slats + posts


def _apple_branch() -> str:
    branch = (
        f'<path d="M-10 74C70 60 120 86 190 70C260 54 320 78 420 48" fill="none" stroke="{WOOD_DEEP}" stroke-width="13" stroke-linecap="round"/>'
        f'<path d="M120 78C126 96 124 104 122 116M268 62C276 78 276 88 272 100" fill="none" stroke="{WOOD_DEEP}" stroke-width="6" stroke-linecap="round"/>'
    )
    leaves = "".join(
        f'<path d="M0 0C14-22 40-24 56-14C44 6 20 12 0 0Z" fill="{fill}" transform="translate({x} {y}) rotate({turn})"/>'
        for x, y, turn, fill in (
            (60, 66, -38, LEAF), (150, 78, -30, LEAF_DEEP), (214, 66, 28, LEAF), (300, 66, -42, LEAF),
            (86, 76, 62, LEAF_DEEP), (338, 66, 40, LEAF_DEEP), (176, 76, 70, LEAF),
        )
    )  # fmt: skip
    streaks = "".join(
        f'<path d="M{x} {y}C{x - 6} {y + 24} {x - 4} {y + 46} {x + 4} {y + 64}" fill="none" stroke="#d8635a" stroke-width="4" stroke-linecap="round" opacity="0.75"/>'
        for x, y in ((104, 152), (126, 150), (146, 154), (254, 138), (276, 136), (298, 140))
    )
    return branch + _red(122, 184, 118, leaf=False) + _red(274, 170, 124, leaf=False) + streaks + leaves


def _apple_gift() -> str:
    trays = "".join(
        f'<rect x="{x - 31}" y="{y - 31}" width="62" height="62" rx="8" fill="#f6efe0" stroke="#d9c7a0" stroke-width="2"/>'
        + _red(x, y + 2, 46, leaf=False)
        for y in (108, 172)
        for x in (104, 168, 232, 296)
    )
    box = (
        f'<rect x="56" y="64" width="288" height="166" rx="8" fill="{APPLE_DEEP}"/>'
        '<rect x="66" y="74" width="268" height="140" rx="4" fill="#e9dcc0"/>'
    )
    front = (
        f'<path d="M56 214H344V240C344 246 338 250 332 250H68C62 250 56 246 56 240Z" fill="{APPLE}"/>'
        f'<rect x="176" y="214" width="48" height="36" fill="{LOESS_MID}"/><circle cx="200" cy="232" r="9" fill="{PAPER}"/>'
    )
    return _shadow(200, 254, 150) + box + trays + front


def _apple_dark() -> str:
    def dark(x: float, y: float, size: float, *, leaf: bool = True) -> str:
        return _apple(x, y, size, skin="#8c2440", shade="#661730", blush="#c9798d", leaf=leaf)

    half = (
        '<g transform="translate(282 196)">'
        '<path d="M0-44C16-58 62-54 62-6C62 34 34 56 14 54C6 53-6 53-14 54C-34 56-62 34-62-6C-62-54-16-58 0-44Z" fill="#8c2440"/>'
        '<path d="M0-37C14-49 54-46 54-5C54 29 30 48 12 46C5 45-5 45-12 46C-30 48-54 29-54-5C-54-46-14-49 0-37Z" fill="#f7efd6"/>'
        '<path d="M0-22C16-18 20 8 0 26C-20 8-16-18 0-22Z" fill="none" stroke="#d9c79a" stroke-width="3"/>'
        '<path d="M-6-4C-10 4-8 10-5 13C-1 8-1 2-6-4ZM6-4C10 4 8 10 5 13C1 8 1 2 6-4Z" fill="#5d4630"/>'
        f'<path d="M0-42C0-50 2-58 8-64" fill="none" stroke="{WOOD_DEEP}" stroke-width="5" stroke-linecap="round"/></g>'
    )
    return _shadow(205, 248, 145) + dark(110, 190, 112, leaf=False) + dark(180, 170, 136) + half


def _beef(marbling: str, outline: str) -> str:
    return (
        '<rect x="58" y="208" width="284" height="34" rx="8" fill="#c89a5b"/>'
        '<rect x="58" y="228" width="284" height="14" rx="7" fill="#a57638"/>'
        f'<path d="{outline}" fill="#ecd0b4"/>'
        f'<g transform="translate(200 162) scale(0.93) translate(-200 -162)"><path d="{outline}" fill="#b4403a"/></g>'
        f'<path d="{marbling}" fill="none" stroke="#f3e3d3" stroke-width="5" stroke-linecap="round" stroke-linejoin="round"/>'
        f'<path d="M322 204C330 190 330 176 322 164M322 188C332 184 338 178 340 170M322 196C312 190 308 184 306 176" fill="none" stroke="{LEAF}" stroke-width="5" stroke-linecap="round"/>'
    )


def _beef_cut() -> str:
    outline = (
        "M92 196C78 150 104 100 170 92C232 84 292 104 304 152C310 182 296 208 262 210C206 214 112 216 92 196Z"
    )
    marbling = "M126 176C146 160 152 136 176 122M168 184C184 170 212 166 222 138M228 186C240 172 262 170 272 148M150 142C160 136 168 134 176 122M206 152C196 146 192 140 196 128M254 164C250 154 250 146 256 138"
    return _shadow(200, 250, 150) + _beef(marbling, outline)


def _beef_shank() -> str:
    outline = "M84 172C88 128 138 112 196 118C250 122 284 104 304 124C326 148 316 196 276 206C226 218 96 226 84 172Z"
    marbling = (
        "M112 170C150 158 190 168 232 156M120 190C160 180 210 194 262 180M140 146C176 142 214 148 262 138"
    )
    bone = (
        '<circle cx="296" cy="164" r="26" fill="#f8efe2"/><circle cx="296" cy="164" r="15" fill="#e6c9a8"/>'
        '<circle cx="296" cy="164" r="8" fill="#b4403a"/>'
    )
    return _shadow(200, 250, 150) + _beef(marbling, outline) + bone


def _tuber(x: float, y: float, rx: float, ry: float, turn: int) -> str:
    eyes = "".join(
        f'<path d="M{dx * rx:.0f} {dy * ry:.0f}q6 6 12 0" fill="none" stroke="{WOOD_DEEP}" stroke-width="3" stroke-linecap="round"/>'
        for dx, dy in ((-0.6, -0.1), (-0.05, -0.5), (0.3, 0.25), (-0.3, 0.45))
    )
    return (
        f'<g transform="translate({x:g} {y:g}) rotate({turn})">'
        f'<path d="M{-rx} 4C{-rx}-{ry * 0.9:.0f} {-rx * 0.3:.0f}-{ry} {rx * 0.2:.0f}-{ry * 0.95:.0f}C{rx * 0.9:.0f}-{ry * 0.9:.0f} {rx} {-ry * 0.2:.0f} {rx * 0.95:.0f} {ry * 0.3:.0f}C{rx * 0.8:.0f} {ry} {-rx * 0.9:.0f} {ry * 1.1:.0f} {-rx} 4Z" fill="#d8b06a"/>'
        f'<path d="M{rx * 0.55:.0f} {-ry * 0.75:.0f}C{rx} {-ry * 0.3:.0f} {rx * 0.9:.0f} {ry * 0.6:.0f} {rx * 0.1:.0f} {ry * 0.88:.0f}" fill="none" stroke="#c0924b" stroke-width="7" stroke-linecap="round"/>'
        f"{eyes}</g>"
    )


def _potato() -> str:
    flower = (
        f'<path d="M318 214C322 170 318 140 326 104" fill="none" stroke="{LEAF}" stroke-width="6" stroke-linecap="round"/>'
        f'<path d="M321 176C338 158 358 158 368 164C360 182 340 188 321 176Z" fill="{LEAF}"/>'
        f'<path d="M319 150C302 136 286 138 278 146C288 160 304 162 319 150Z" fill="{LEAF}"/>'
    )
    petals = "".join(
        f'<ellipse cx="326" cy="84" rx="9" ry="16" fill="#f1e6f4" stroke="#aa4499" stroke-width="2" transform="rotate({72 * i} 326 100)"/>'
        for i in range(5)
    )
    return (
        _shadow(190, 250, 150)
        + flower
        + petals
        + '<circle cx="326" cy="100" r="7" fill="#e3b23c"/>'
        + _tuber(126, 206, 62, 42, -8)
        + _tuber(260, 210, 58, 38, 12)
        + _tuber(192, 162, 70, 46, 4)
    )


def _potato_noodle() -> str:
    def bundle(left: int, top: int) -> str:
        tones = ("#efe4c9", "#dccba0", "#f7f0df")
        strands = "".join(
            f'<path d="M{left + 9 * i} {top + (i * 7) % 10}C{left - 16 + 10 * i} {top + 44} {left + 18 + 8 * i} {top + 70}'
            f' {left - 2 + 9 * i} {top + 124 - (i * 5) % 9}" fill="none" stroke="{tones[i % 3]}" stroke-width="8"'
            ' stroke-linecap="round"/>'
            for i in range(14)
        )
        band = f'<rect x="{left - 10}" y="{top + 46}" width="138" height="30" rx="5" fill="{LOESS}"/>'
        label = f'<rect x="{left + 34}" y="{top + 40}" width="52" height="42" rx="4" fill="{PAPER}" stroke="{LOESS}" stroke-width="3"/>'
        lines = f'<path d="M{left + 46} {top + 56}h28M{left + 46} {top + 66}h18" stroke="{LOESS}" stroke-width="4" stroke-linecap="round"/>'
        return strands + band + label + lines

    return _shadow(200, 246, 150) + bundle(62, 96) + bundle(204, 104) + _tuber(332, 226, 44, 28, 8)


def _honey() -> str:
    def cell(x: int, y: int, fill: str) -> str:
        corners = " ".join(
            f"{x + 24 * math.cos(math.pi / 3 * k):.0f},{y + 24 * math.sin(math.pi / 3 * k):.0f}"
            for k in range(6)
        )
        return f'<polygon points="{corners}" fill="{fill}" stroke="#c98d1b" stroke-width="3"/>'

    comb = (
        (76, 108, "#f0c14b"),
        (112, 129, "#e3b23c"),
        (76, 150, "#f6d77f"),
        (112, 87, "#f6d77f"),
        (40, 129, "#f6d77f"),
    )
    cells = "".join(cell(x, y, fill) for x, y, fill in comb)
    jar = (
        '<rect x="150" y="104" width="132" height="142" rx="22" fill="#f8efd8" stroke="#c98d1b" stroke-width="4"/>'
        '<path d="M154 138C180 128 200 148 226 138C246 130 262 134 278 140V226C278 236 270 242 260 242H172C162 242 154 236 154 226Z" fill="#e0a326"/>'
        '<path d="M166 156V220" stroke="#f6d77f" stroke-width="7" stroke-linecap="round"/>'
        f'<rect x="144" y="82" width="144" height="28" rx="6" fill="{WOOD}"/><rect x="144" y="98" width="144" height="12" rx="4" fill="{WOOD_DEEP}"/>'
        f'<rect x="182" y="164" width="68" height="46" rx="4" fill="{PAPER}"/>'
        f'<path d="M198 187h36M198 197h24" stroke="{LOESS}" stroke-width="4" stroke-linecap="round"/><circle cx="204" cy="175" r="4" fill="{LOESS}"/>'
    )
    bloom = "".join(
        f'<ellipse cx="336" cy="170" rx="9" ry="17" fill="#fbfaf6" stroke="#d8c9a6" stroke-width="2" transform="rotate({72 * i} 336 187)"/>'
        for i in range(5)
    )
    stem = f'<path d="M332 246C330 226 334 210 336 190" fill="none" stroke="{LEAF}" stroke-width="6" stroke-linecap="round"/><path d="M332 228C344 214 358 214 368 218C360 232 346 236 332 228Z" fill="{LEAF}"/>'
    return (
        _shadow(216, 248, 120)
        + cells
        + stem
        + bloom
        + '<circle cx="336" cy="187" r="7" fill="#e3b23c"/>'
        + jar
    )


def _buckwheat() -> str:
    grains = []
    for row, count in enumerate((2, 4, 6, 8)):
        for i in range(count):
            x = 196 + (i - (count - 1) / 2) * 24 + (row % 2) * 5
            y = 128 + row * 18 + (i % 2) * 4 + abs(i - (count - 1) / 2) * 2
            turn = (i * 47 + row * 31) % 70 - 35
            fill = ("#5d4630", "#735a3e", "#4a3826")[(i + row) % 3]
            grains.append(
                f'<path d="M0-16L15 11L-15 11Z" fill="{fill}" stroke="#3b2c1d" stroke-width="1.5" stroke-linejoin="round" transform="translate({x:.0f} {y:.0f}) rotate({turn})"/>'
            )
    bowl = (
        '<path d="M76 196H324C322 226 296 252 258 254H142C104 252 78 226 76 196Z" fill="#1f5f8b"/>'
        '<path d="M92 214C150 226 250 226 308 214" fill="none" stroke="#dcebf5" stroke-width="5"/>'
        '<rect x="70" y="188" width="260" height="14" rx="7" fill="#184b6e"/>'
    )
    plant = "".join(
        f'<path d="M{x} 188C{x + lean} 150 {x + lean} 120 {x + lean * 2} 84" fill="none" stroke="{APPLE_DEEP}" stroke-width="5" stroke-linecap="round"/>'
        + "".join(
            f'<circle cx="{x + lean * 2 + dx}" cy="{78 + dy}" r="8" fill="#fbfaf6" stroke="#e2b8c4" stroke-width="2"/>'
            for dx, dy in ((-14, 6), (0, -6), (14, 6), (-6, 18), (9, 20))
        )
        + f'<path d="M{x + lean} 140C{x + lean + 16} 122 {x + lean + 36} 126 {x + lean + 42} 134C{x + lean + 30} 148 {x + lean + 14} 150 {x + lean} 140Z" fill="{LEAF}"/>'
        for x, lean in ((316, 10),)
    )
    return _shadow(200, 256, 120) + plant + "".join(grains) + bowl


_DRAWINGS: Final[Mapping[str, tuple[str, str, Callable[[], str]]]] = {
    "apple-red": (APPLE_SOFT, "#e9b4ae", _apple_red),
    "apple-box": ("#eef3e4", "#c3d6b4", _apple_box),
    "apple-branch": ("#e3eef0", "#b4d0d4", _apple_branch),
    "apple-gift": ("#f3ead6", "#dccb9f", _apple_gift),
    "apple-dark": ("#efe3ea", "#d6b9c9", _apple_dark),
    "apple-gold": (LOESS_SOFT, "#dcc389", _apple_gold),
    "beef-cut": ("#f4e4da", "#ddb8a3", _beef_cut),
    "beef-shank": ("#efe6da", "#d3bfa3", _beef_shank),
    "potato": (LEAF_SOFT, "#b5d3b8", _potato),
    "potato-noodle": ("#e7e3d3", "#c7bf9f", _potato_noodle),
    "honey": (LOESS_SOFT, "#dcc389", _honey),
    "buckwheat": ("#f1e4e8", "#d9b7c2", _buckwheat),
}


def draw(name: str) -> str:
    """One drawing as an SVG document; `name` is a value of `shop.models.Illustration`."""
    ground, terraces, shapes = _DRAWINGS[name]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{ground}"/>{_terraces(terraces)}{shapes()}</svg>\n'
    )


def names() -> tuple[str, ...]:
    """Names of all drawings."""
    return tuple(_DRAWINGS)


def draw_all(folder: Path) -> list[Path]:
    """Write every drawing into `folder`; the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in names():
        path = folder / f"{name}.svg"
        path.write_text(draw(name), encoding="utf-8")
        paths.append(path)
    return paths
