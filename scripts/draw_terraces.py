"""Draw frontend/img/terraces.svg: terraced loess hills with an orchard, in the site's flat colours.

Each hill is a stack of terraces: a tread (the field) on a riser (the loess bank), smaller and higher from one
to the next, seen from the side. Numbers are fixed by a seed, so the same file comes out every time.

    python scripts/draw_terraces.py
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from pathlib import Path

WIDTH, HEIGHT = 640, 400
OUT = Path(__file__).resolve().parents[1] / "frontend" / "img" / "terraces.svg"
POINTS = 28


@dataclass(frozen=True)
class Hill:
    """A stack of terraces; lengths in user units of the drawing."""

    x: float
    foot: float
    half_width: float
    levels: int
    rise: float
    treads: tuple[str, ...]
    riser: str
    lean: float = 0.0
    seed: int = 1


HILLS = (
    Hill(120, 300, 360, 9, 12, ("#edf1e6", "#f1f0de", "#e6ede0", "#efeedd"), "#dfd9c6", lean=7, seed=4),
    Hill(
        545,
        330,
        400,
        12,
        13.5,
        ("#d3e1ca", "#e9e3ba", "#c6dabf", "#e2ddb0", "#cddcc2"),
        "#cdbd95",
        lean=-9,
        seed=21,
    ),
    Hill(
        235,
        418,
        470,
        10,
        15,
        ("#86ad82", "#d8cb80", "#9bbb87", "#79a378", "#ddd08a", "#a8c392"),
        "#b3925c",
        lean=11,
        seed=9,
    ),
)
#: Rows of apple trees on the nearest hill: terrace, first and last angle (90 is the front), number, size.
ROWS = ((1, 62, 126, 9, 27.0), (3, 52, 120, 9, 22.0), (5, 48, 132, 7, 18.0), (7, 40, 140, 5, 14.0))


def outline(hill: Hill, level: int, rng: random.Random) -> list[tuple[float, float]]:
    """Points of one terrace's edge, clockwise from its right end round the front."""
    share = 1 - level / hill.levels
    half = hill.half_width * share**0.9
    depth = half * 0.145
    cx = hill.x + hill.lean * level
    cy = hill.foot - hill.rise * level
    # The same bulges on every terrace of a hill, a little moved: contour lines follow one slope.
    phase = [hill.seed * (k + 1) * 1.7 + rng.uniform(-0.25, 0.25) for k in range(4)]
    ring = []
    for step in range(POINTS):
        angle = math.tau * step / POINTS
        wave = sum(math.sin((k + 2) * angle + phase[k]) * 0.085 / (k + 1) ** 0.7 for k in range(4))
        ring.append((cx + half * (1 + wave) * math.cos(angle), cy + depth * (1 + wave) * math.sin(angle)))
    return ring


def path(ring: list[tuple[float, float]]) -> str:
    """A closed smooth path through the points (quadratic curves between the middles of the edges)."""
    middles = [
        ((ax + bx) / 2, (ay + by) / 2) for (ax, ay), (bx, by) in zip(ring, ring[1:] + ring[:1], strict=True)
    ]
    parts = [f"M{middles[-1][0]:.0f} {middles[-1][1]:.0f}"]
    parts += [f"Q{x:.0f} {y:.0f} {mx:.0f} {my:.0f}" for (x, y), (mx, my) in zip(ring, middles, strict=True)]
    return "".join(parts) + "Z"


def tree(x: float, y: float, size: float, apples: int, rng: random.Random) -> str:
    """An apple tree: trunk, three-lobed crown, red fruit."""
    crown = "".join(
        f'<circle cx="{x + dx * size:.1f}" cy="{y - dy * size:.1f}" r="{r * size:.1f}"/>'
        for dx, dy, r in ((-0.36, 0.95, 0.42), (0.36, 0.95, 0.42), (0, 1.28, 0.5))
    )
    fruit = "".join(
        f'<circle cx="{x + rng.uniform(-0.55, 0.55) * size:.1f}"'
        f' cy="{y - rng.uniform(0.75, 1.45) * size:.1f}" r="{0.105 * size:.1f}"/>'
        for _ in range(apples)
    )
    return (
        f'<path d="M{x:.1f} {y:.1f}v{-0.8 * size:.1f}" stroke="#6d460c" stroke-width="{0.14 * size:.1f}"/>'
        f'<g fill="#2f6b3a">{crown}</g><g fill="#b3261e">{fruit}</g>'
    )


def row_of_trees(
    ring: list[tuple[float, float]],
    rng: random.Random,
    *,
    first: float,
    last: float,
    number: int,
    size: float,
) -> str:
    """Trees along the front of a terrace, a little inside its edge."""
    trees = []
    for k in range(number):
        at = (first + (last - first) * k / (number - 1)) / 360 * len(ring)
        (ax, ay), (bx, by) = ring[int(at)], ring[int(at) + 1]
        x, y = ax + (bx - ax) * (at % 1), ay + (by - ay) * (at % 1)
        trees.append(tree(x + rng.uniform(-4, 4), y - 0.28 * size, size, 4, rng))
    return "".join(trees)


def draw() -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
        '<circle cx="330" cy="118" r="40" fill="#f6e7c6"/>',
        '<g fill="none" stroke="#e4e0d5" stroke-width="1.5">',
    ]
    # Contour lines in the sky, as on the maps the site is about.
    for line in range(5):
        y = 30 + 24 * line
        parts.append(
            f'<path d="M0 {y + 40}C120 {y - 20} 220 {y + 60} 330 {y + 14}S540 {y - 26} 640 {y + 18}"/>'
        )
    parts.append("</g>")
    rings: list[list[tuple[float, float]]] = []
    for hill in HILLS:
        rng = random.Random(hill.seed)  # noqa: S311 - a drawing
        for level in range(hill.levels):
            ring = outline(hill, level, rng)
            bank = [(x, y + hill.rise * 0.42) for x, y in ring]
            tread = hill.treads[level % len(hill.treads)]
            parts.append(
                f'<path d="{path(bank)}" fill="{hill.riser}"/><path d="{path(ring)}" fill="{tread}"/>'
            )
            if hill is HILLS[-1]:
                rings.append(ring)
    # Upper terraces stand behind: from the top row down.
    parts += [
        row_of_trees(rings[level], rng, first=first, last=last, number=number, size=size)
        for level, first, last, number, size in sorted(ROWS, reverse=True)
    ]
    parts.append("</svg>\n")
    return "".join(parts)


if __name__ == "__main__":
    OUT.write_text(draw(), encoding="utf-8")
    print(f"{OUT.name}: {OUT.stat().st_size / 1024:.1f} KB")
