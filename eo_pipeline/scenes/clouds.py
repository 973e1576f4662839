"""Where a Sentinel-2 scene may be used: its scene classification, widened around clouds and along shadows.

The classification (SCL) is read once for a whole tile, at its own 20 m, so that a cloud's buffer and shadow
reach over the edges of blocks. What `cloudless` calls cloud is added to its clouds. The result is a small
file of codes a pixel, which the ingest of every block reads its rows from. What a mask cannot know is found
in time: see `outliers`.
"""

# ruff: noqa: PLR0917 - compiled functions are called with positional arguments
from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eo_pipeline.acquire.sources.base import BlockReader, Scene
from eo_pipeline.engine import Result, write_atomic
from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Block, Grid
from eo_pipeline.scenes.cloudless import WORKING_BYTES, find_clouds
from eo_pipeline.scenes.outliers import (
    NEAR_INFRARED,
    SHORTWAVE_INFRARED,
    VISIBLE,
    can_test,
    shadow_outliers,
)
from eo_pipeline.scenes.verdicts import SceneVerdict, scene_verdicts, verdict_of_counts
from eo_pipeline.storage import Place
from eo_pipeline.tasks import place

__all__ = [
    "NEAR_INFRARED",
    "SHORTWAVE_INFRARED",
    "VISIBLE",
    "CloudRule",
    "SceneMask",
    "SceneVerdict",
    "can_test",
    "mask_of",
    "mask_scene",
    "scene_verdicts",
    "shadow_outliers",
    "verdict_of_counts",
]

UNUSABLE: Final = 0
CLEAR: Final = 1
#: Where a cloud may throw its shadow: usable only if it is not dark in the infrared.
SUSPECT: Final = 2
NO_DATA: Final = 3

SCL: Final = "SCL"
#: Classes of SCL (Sen2Cor, Level-2A ATBD table 3): 0 no data, 3 cloud shadow, 8 and 9 cloud of medium and
#: high probability, 10 thin cirrus; and beside them what another detector calls cloud.
_SCL_NO_DATA: Final = 0
FOUND: Final = 12
_SCL_SPREAD: Final = (3, 8, 9, 10, FOUND)
#: Cirrus is left out: it is far above `_TOP` and its shadow is faint.
_SCL_CASTING: Final = (8, 9, FOUND)
#: Heights of cloud tops above ground that throw a shadow worth looking for, in metres.
_BASE: Final = 200.0
_TOP: Final = 4000.0
#: Sun lower than this: shadows of kilometres cover everything, and there is nothing to be told from them.
_LOWEST_SUN: Final = 80.0
_STRIP: Final = 256
_MAGIC: Final = b"EOMASK1\n"


class CloudRule(Protocol):
    """What `mask_of` needs to know; `season.SentinelSpec` has it."""

    @property
    def clear(self) -> tuple[int, ...]:
        """Classes that count as clear."""
        ...

    @property
    def buffer_m(self) -> float:
        """Metres left out around clouds and their shadows."""
        ...

    @property
    def project_shadow(self) -> bool:
        """Whether shadow is looked for along the sun's direction."""
        ...

    @property
    def threshold(self) -> float:
        """Probability above which a scene's Level-1C shows a cloud."""
        ...


def mask_of(
    classes: NDArray[np.uint8],
    *,
    rule: CloudRule,
    pixel_m: float,
    sun: tuple[float, float] | None,
    origin: tuple[int, int] = (0, 0),
) -> NDArray[np.uint8]:
    """Codes of a scene from its classification.

    Parameters
    ----------
    classes : uint8 [y, x]
        SCL, and `FOUND` where another detector sees cloud.
    rule
        Classes that are clear, the buffer, and whether shadow is projected. Classes 3, 8, 9 and 10 get the
        buffer unless they count as clear, and so does `FOUND`.
    pixel_m
        Side of a pixel in metres.
    sun
        Zenith and azimuth in degrees, azimuth clockwise from north; None: no shadow is projected.
    origin
        Row and column of `classes[0, 0]` on a lattice that other pieces share: a piece with enough around it
        gives what the whole gives.

    Returns
    -------
    uint8 [y, x]
        0 unusable, 1 clear, 2 suspect, 3 no data.

    Notes
    -----
    A cloud at height h throws its shadow h·tan(zenith) away from the sun. The height is not known, so that
    everything from 200 m to 4 km is suspect, and only what is dark there as well is dropped at ingest. The
    view angle (a shift of at most h·tan(10°) of the cloud itself) lies within the buffer for low clouds
    and within the swept zone for high ones.
    """
    spread = _members(classes, [c for c in _SCL_SPREAD if c not in rule.clear])
    codes = np.where(_members(classes, rule.clear), np.uint8(CLEAR), np.uint8(UNUSABLE))
    if sun is not None and rule.project_shadow and 0.0 < sun[0] < _LOWEST_SUN:
        casting = _members(classes, [c for c in _SCL_CASTING if c not in rule.clear])
        casting = dilate(casting, rule.buffer_m / pixel_m)
        swept = shadow_zone(casting, sun=sun, pixel_m=pixel_m, origin=origin)
        codes[swept & (codes == CLEAR)] = SUSPECT
    codes[dilate(spread, rule.buffer_m / pixel_m)] = UNUSABLE
    codes[classes == _SCL_NO_DATA] = NO_DATA
    return codes


def _members(classes: NDArray[np.uint8], wanted: Sequence[int]) -> NDArray[np.bool_]:
    table = np.zeros(256, dtype=np.bool_)
    table[list(wanted)] = True
    found: NDArray[np.bool_] = table[classes]
    return found


def dilate(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """All pixels whose centre is at most `radius` pixels from that of a pixel in `mask`.

    >>> dilate(np.eye(1, 5, 2, dtype=bool), 1.0).tolist()
    [[False, True, True, True, False]]
    """
    reach = math.floor(radius)
    if reach < 1 or not mask.any():
        return mask.copy()
    # widths[d]: how far the disk reaches along a row that is d rows away
    widths = np.array([math.floor(math.sqrt(radius**2 - d * d)) for d in range(reach + 1)], dtype=np.int32)
    out = np.zeros(mask.shape, dtype=np.bool_)
    _dilate(np.ascontiguousarray(mask), widths, out)
    return out


def shadow_zone(
    casting: NDArray[np.bool_],
    *,
    sun: tuple[float, float],
    pixel_m: float,
    origin: tuple[int, int] = (0, 0),
) -> NDArray[np.bool_]:
    """Pixels on which what stands in `casting` may throw a shadow, from 200 m to 4 km above them.

    >>> casting = np.eye(1, 60, 5, dtype=bool)
    >>> zone = shadow_zone(casting, sun=(45.0, 270.0), pixel_m=20.0)  # sun in the west: shadow to the east
    >>> int(zone[0].argmax()), int(zone[0].sum())
    (15, 45)
    """
    zenith, azimuth = math.radians(sun[0]), math.radians(sun[1])
    # one unit of length away from the sun, in columns (to the east) and rows (to the south)
    east, south = -math.sin(azimuth), math.cos(azimuth)
    steep = abs(south) >= abs(east)
    major, minor = (south, east) if steep else (east, south)
    first = _BASE * math.tan(zenith) / pixel_m * abs(major)
    last = _TOP * math.tan(zenith) / pixel_m * abs(major)
    mask = casting if steep else casting.T
    lattice = origin if steep else origin[::-1]
    out = np.zeros(mask.shape, dtype=np.bool_)
    if mask.size and casting.any():
        _sweep(
            np.ascontiguousarray(mask),
            1 if major > 0 else -1,
            minor / major,
            lattice[0],
            math.floor(first + 1e-9),
            math.ceil(last - 1e-9),
            out,
        )
    return out if steep else np.ascontiguousarray(out.T)


@njit(nogil=True, cache=True)
def _dilate(mask: NDArray[np.bool_], widths: NDArray[np.int32], out: NDArray[np.bool_]) -> None:
    height, width = mask.shape
    reach = widths.size - 1
    # rows of distances to the nearest pixel of the mask within the row, kept for the rows a disk can reach
    kept = 2 * reach + 1
    far = np.int32(1 << 20)
    lines = np.full((kept, width), far, dtype=np.int32)
    filled = np.zeros(kept, dtype=np.bool_)
    for y in range(height + reach):
        slot = y % kept
        filled[slot] = False
        if y < height:
            line = lines[slot]
            distance = far
            some = False
            for x in range(width):
                distance = np.int32(0) if mask[y, x] else distance + np.int32(1)
                some = some or mask[y, x]
                line[x] = distance
            if some:
                distance = far
                for x in range(width - 1, -1, -1):
                    distance = np.int32(0) if mask[y, x] else distance + np.int32(1)
                    line[x] = min(line[x], distance)
                filled[slot] = True
        target = y - reach
        if target < 0:
            continue
        for d in range(-reach, reach + 1):
            source = target + d
            if source < 0 or source >= height or not filled[source % kept]:
                continue
            line, limit = lines[source % kept], widths[abs(d)]
            for x in range(width):
                out[target, x] |= line[x] <= limit


@njit(nogil=True, cache=True)
def _sweep(
    mask: NDArray[np.bool_],
    direction: int,
    slope: float,
    origin: int,
    first: int,
    last: int,
    out: NDArray[np.bool_],
) -> None:
    """Follow each line along the shadow's direction, row by row, and count down from what it met.

    A line is known by its column at row 0 of the lattice; at row r it stands `round(slope·r)` columns further
    on, where r is counted along the lattice whatever the direction.
    """
    height, width = mask.shape
    ends = np.floor(slope * (origin - first - 1)), np.floor(slope * (origin + height + first))
    low, high = int(min(ends)) - 2, int(max(ends)) + 2
    # lines that can touch the image stand at columns -high … width - low at row 0 of the lattice
    left = np.zeros(width + high - low + 1, dtype=np.int32)
    span = np.int32(last - first + 1)
    for step in range(-first, height):
        # where the shadow falls, and `first` rows back towards the sun what throws it
        y = step if direction > 0 else height - 1 - step
        back = y - direction * first
        if 0 <= back < height:
            shift = int(np.floor(slope * (origin + back) + 0.5))
            for x in range(width):
                if mask[back, x]:
                    left[x - shift + high] = span
        if 0 <= y < height:
            shift = int(np.floor(slope * (origin + y) + 0.5))
            for x in range(width):
                remaining = left[x - shift + high]
                out[y, x] = remaining > 0
        for k in range(left.size):
            left[k] = max(left[k] - np.int32(1), np.int32(0))


@dataclass(frozen=True, slots=True)
class SceneMask:
    """A scene's codes in a file: strips of rows, each compressed by itself, so that a block reads its own.

    `zoom` is how many pixels of the tile's grid a code covers; `shift` the rows and columns by which the
    first code reaches over the grid's upper left corner.
    """

    shape: tuple[int, int]
    zoom: int
    shift: tuple[int, int]

    def write(self, path: Place, codes: NDArray[np.uint8]) -> None:
        """Write atomically."""
        from numcodecs import Blosc  # type: ignore[import-untyped]

        codec = Blosc("zstd", 3, Blosc.NOSHUFFLE)
        strips = [
            codec.encode(np.ascontiguousarray(codes[y : y + _STRIP])) for y in range(0, len(codes), _STRIP)
        ]
        head = json.dumps(asdict(self) | {"strips": [len(strip) for strip in strips]}).encode() + b"\n"
        write_atomic(path, b"".join((_MAGIC, head, *strips)))

    @staticmethod
    def read(path: Place, block: Block) -> NDArray[np.uint8]:
        """Codes of a block, uint8 (height, width) on the tile's grid.

        Raises
        ------
        SourceError
            The file is missing or no mask.
        """
        from numcodecs import Blosc

        codec = Blosc()
        try:
            with place(path).open(path.name) as stream:
                if bytes(stream.readline()) != _MAGIC:
                    raise ValueError("it does not begin as one")
                head: dict[str, Any] = json.loads(bytes(stream.readline()))
                start, sizes = stream.tell(), head["strips"]
                width = int(head["shape"][1])
                zoom, (dy, dx) = head["zoom"], head["shift"]
                first, end = (block.row + dy) // zoom, -(-(block.row + block.height + dy) // zoom)
                strips = range(first // _STRIP, min(-(-end // _STRIP), len(sizes)))
                stream.seek(start + sum(sizes[: strips.start]))
                parts = [codec.decode(stream.read(sizes[n])) for n in strips]
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise SourceError(
                f"{path} is no readable cloud mask ({error}). Remove it and run `eo run` again."
            ) from error
        codes = np.frombuffer(b"".join(parts), dtype=np.uint8).reshape(-1, width)
        y0, x0 = block.row + dy - strips.start * _STRIP * zoom, block.col + dx
        left, right = x0 // zoom, -(-(x0 + block.width) // zoom)
        codes = codes[y0 // zoom : -(-(y0 + block.height) // zoom), left:right]
        if zoom > 1:
            codes = codes.repeat(zoom, axis=0).repeat(zoom, axis=1)
        y, x = y0 % zoom, x0 % zoom
        return codes[y : y + block.height, x : x + block.width]


def mask_scene(
    *,
    scene: Scene,
    grid: Grid,
    owned: tuple[int, int, int, int] | None,
    clouds: CloudRule,
    mask_file: Place,
) -> Result:
    """Make the mask of one Sentinel-2 scene and write it; a task of the engine.

    Parameters
    ----------
    scene
        With an asset SCL. Where it has Level-1C bands, clouds are looked for in these too.
    grid
        The tile's; the mask covers all of it.
    owned
        The window the counts are made in; the mask itself is of the whole tile.
    mask_file
        Where to write it; see `SceneMask`.

    Returns
    -------
    dict
        `pixels` of the mask in the owned window, of them `clear`, `suspect`, `unusable` and `no_data`;
        `projected`: whether the sun's place was known and shadows were looked for; and `detector`, "scl" or
        "s2cloudless". With the latter also `found`: pixels of the window that SCL calls clear and the model
        cloud; and `unseen`: pixels with a class, but without Level-1C.
    """
    asset = scene.asset(SCL)
    zoom = asset.zoom
    row, col = asset.corner
    shift = row % zoom, col % zoom
    shape = -(-(grid.height + shift[0]) // zoom), -(-(grid.width + shift[1]) // zoom)
    native = replace(asset, corner=(row // zoom, col // zoom), zoom=1)
    with BlockReader(Block(scene.tile, 0, 0, *shape)) as reader:
        classes = reader.numbers(native)
    if classes.dtype != np.uint8:
        classes = np.where((classes >= 0) & (classes < 256), classes, 0).astype(np.uint8)
    pixel_m = abs(grid.transform[0]) * zoom
    inside = _owned(owned, zoom, shift)
    told: Result = {"detector": "scl"}
    if scene.level1c:
        found = find_clouds(
            scene.level1c,
            rows=(np.arange(shape[0]) + 0.5) * zoom - shift[0],
            columns=(np.arange(shape[1]) + 0.5) * zoom - shift[1],
            pixel_m=abs(grid.transform[0]),
            threshold=clouds.threshold,
        )
        measured = classes != _SCL_NO_DATA
        told = {
            "detector": "s2cloudless",
            "found": int((found.cloud & _members(classes, clouds.clear))[inside].sum()),
            "unseen": int((measured & ~found.seen)[inside].sum()),
        }
        classes = np.where(found.cloud & measured, np.uint8(FOUND), classes)
    # the lattice all tiles of a zone share: in an overlap of tiles the shadows' lines are the same
    origin = round(-grid.transform[5] / pixel_m), round(grid.transform[2] / pixel_m)
    codes = mask_of(classes, rule=clouds, pixel_m=pixel_m, sun=scene.sun, origin=origin)
    SceneMask(shape, zoom, shift).write(mask_file, codes)
    codes = codes[inside]
    counts = np.bincount(codes.ravel(), minlength=4)
    return {
        "pixels": int(codes.size),
        "unusable": int(counts[UNUSABLE]),
        "clear": int(counts[CLEAR]),
        "suspect": int(counts[SUSPECT]),
        "no_data": int(counts[NO_DATA]),
        "projected": bool(
            scene.sun is not None and clouds.project_shadow and 0.0 < scene.sun[0] < _LOWEST_SUN
        ),
        **told,
    }


def _owned(
    window: tuple[int, int, int, int] | None, zoom: int, shift: tuple[int, int]
) -> tuple[slice, slice]:
    """The owned window in pixels of the mask."""
    if window is None:
        return slice(None), slice(None)
    top, left, bottom, right = window
    return (
        slice(-(-(top + shift[0]) // zoom), -(-(bottom + shift[0]) // zoom)),
        slice(-(-(left + shift[1]) // zoom), -(-(right + shift[1]) // zoom)),
    )


def mask_bytes(grid: Grid, zoom: int = 2, *, level1c: bool = False) -> int:
    """Memory `mask_scene` needs at most: classes, codes and the masks between, and the search for clouds."""
    return 8 * (-(-grid.height // zoom)) * (-(-grid.width // zoom)) + WORKING_BYTES * level1c
