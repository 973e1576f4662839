"""Level-1C products beside the L2A products of a season: found, and held against them.

Level 1C is reflectance at the top of the atmosphere. It serves the search for clouds alone (`cloudless`): no
value of it reaches the cube.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from eo_pipeline.errors import EOPipelineError, RadiometryError, SourceError
from eo_pipeline.scenes.cloudless import MODEL_BANDS
from eo_pipeline.scenes.placing import Place, place_bands
from eo_pipeline.scenes.radiometry import SHIFT, shifted
from eo_pipeline.scenes.sentinel2 import Sentinel2Product, read_name, read_product

#: Platform, start of the datatake, relative orbit, tile.
Datatake = tuple[str, str, int, str]


@dataclass(frozen=True, slots=True)
class Level1C:
    """A product that may be used: the places of `cloudless.MODEL_BANDS`, and what its numbers mean."""

    product: Sentinel2Product
    places: tuple[Place, ...]
    offset: int


def datatake_of(name: str) -> Datatake | None:
    """What an L1C and an L2A product of one observation have in common; None for other names.

    Examples
    --------
    >>> datatake_of("S2A_MSIL1C_20260601T033541_N0510_R061_T48SXE_20260601T053000.SAFE")
    ('S2A', '20260601T033541', 61, '48SXE')
    """
    if (found := read_name(name)) is None:
        return None
    return found.platform, f"{found.sensed:%Y%m%dT%H%M%S}", found.orbit, found.tile


class Level1CFolder:
    """Level-1C products among `paths`, by datatake. `refused` are those that were looked into in vain."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.refused: dict[Path, str] = {}
        self._paths: dict[Datatake, list[Path]] = defaultdict(list)
        for path in paths:
            try:
                name = path.name.removesuffix(".zip")
                name = name if read_name(name) else read_product(path, level=None).name
                if (key := datatake_of(name)) and "_MSIL1C_" in name:
                    self._paths[key].append(path)
            except SourceError as error:
                self.refused[path] = str(error)

    def of(self, product: Sentinel2Product, *, pixel: float) -> Level1C | None:
        """The L1C product of an L2A product, of several the newest that can be used; None: there is none.

        Parameters
        ----------
        product
            Of level L2A.
        pixel
            Metres of a pixel of the tile's grid.
        """
        key = datatake_of(product.name)
        paths = self._paths.get(key, []) if key else []
        for path in sorted(paths, key=lambda item: (_processing(item), str(item)), reverse=True):
            try:
                return open_level1c(path, like=product, pixel=pixel)
            except EOPipelineError as error:
                self.refused[path] = str(error)
        return None


def open_level1c(path: Path, *, like: Sentinel2Product, pixel: float) -> Level1C:
    """Read and check the L1C product of the observation `like`.

    Raises
    ------
    SourceError
        It is damaged, of another datatake or tile, lacks a band, or lies beside the tile's grid.
    RadiometryError
        Its metadata and its baseline do not agree about the offset.
    """
    product = read_product(path, level="L1C")
    if datatake_of(product.name) != datatake_of(like.name):
        raise SourceError(
            f"{path}: its metadata say that it is {product.name}, of another datatake or tile than "
            f"{like.name}. Fetch the L1C product of this observation again."
        )
    offset = offset_of(product)
    if missing := [band for band in MODEL_BANDS if not product.bands.get(band)]:
        raise SourceError(
            f"{path} has no raster of {', '.join(missing)}; s2cloudless needs {', '.join(MODEL_BANDS)}. "
            "Fetch the whole L1C product."
        )
    places, own = place_bands(product, MODEL_BANDS)
    if own != pixel or len({(p.row, p.col, p.height, p.width) for p in places}) > 1:
        raise SourceError(
            f"{path}: its bands do not cover the same ground, or not in pixels of {pixel:g} m as {like.name} "
            "does. Fetch the L1C product again."
        )
    return Level1C(product, places, offset)


def offset_of(product: Sentinel2Product) -> int:
    """What is to be added to the numbers of an L1C product: RADIO_ADD_OFFSET, if its baseline agrees.

    The pixels are not asked, as they are for L2A: the atmosphere lies over dark ground, as bright as a shift.

    Raises
    ------
    RadiometryError
        Name and metadata do not agree.
    """
    told = sorted(set((product.offsets or {}).values())) or [0.0]
    for where, baseline in (("name", product.name_baseline), ("metadata", product.baseline)):
        expected = SHIFT if shifted(baseline) else 0
        if baseline and told != [expected]:
            raise RadiometryError(
                f"{product.path}: RADIO_ADD_OFFSET says {', '.join(f'{value:+g}' for value in told)}, but "
                f"baseline {baseline} in the {where} says {expected:+d}. The metadata were altered: fetch "
                "the L1C product again."
            )
    return round(told[0])


def _processing(path: Path) -> tuple[str, str]:
    named = read_name(path.name.removesuffix(".zip"))
    return (named.baseline, named.made) if named else ("", "")
