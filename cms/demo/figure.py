"""A drawing for the sample article on full-film maize: ridges, film and seed in cross-section."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageDraw

INK, SOIL, LOESS, FILM, LEAF = "#1f2421", "#c9a877", "#8a5a12", "#1f5f8b", "#2f6b3a"
#: Centimetres of the standard: wide ridge 70 and low, narrow ridge 40 and higher, a furrow between.
WIDE, NARROW, LOW, HIGH = 70, 40, 11, 17


def film_cross_section() -> bytes:
    """PNG bytes, 1200 × 330; drawn at twice the size and reduced, which smooths the lines."""
    scale = 2
    per_cm = 1200 * scale / (2 * (WIDE + NARROW) + 20)
    width, height, ground = 1200 * scale, 330 * scale, 215 * scale
    image = Image.new("RGB", (width, height), "#ffffff")
    draw = ImageDraw.Draw(image)
    surface: list[tuple[float, float]] = [(0, ground)]
    furrows: list[float] = [0.0]
    x = 0.0
    for span, rise in ((WIDE, LOW), (NARROW, HIGH), (WIDE, LOW), (NARROW, HIGH), (20, LOW)):
        for share in range(1, 25):
            t = share / 24
            # A flat-topped ridge: zero in the furrow, full height over the middle.
            lift = rise * min(1.0, 4 * t * (1 - t) * 1.6)
            surface.append(((x + span * t) * per_cm, ground - lift * per_cm))
        x += span
        furrows.append(x)
    draw.polygon([*surface, (width, height), (0, height)], fill=SOIL)
    draw.line([(px, py - 5 * scale) for px, py in surface], fill=FILM, width=5 * scale, joint="curve")
    for furrow in furrows[1:-1]:
        px = furrow * per_cm
        draw.line([(px, ground), (px, ground - 105 * scale)], fill=LEAF, width=7 * scale)
        for side in (-1, 1):
            for lift, reach in ((55, 60), (80, 48), (100, 34)):
                draw.line(
                    [(px, ground - lift * scale), (px + side * reach * scale, ground - (lift + 28) * scale)],
                    fill=LEAF,
                    width=7 * scale,
                )
        draw.ellipse([px - 9 * scale, ground + 22 * scale, px + 9 * scale, ground + 40 * scale], fill=LOESS)
    draw.line([(0, height - 2), (width, height - 2)], fill=INK, width=2)
    buffer = BytesIO()
    image.resize((1200, 330), Image.Resampling.LANCZOS).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
