"""A shelf of small real products (JP2, manifest) served on loopback, and an archive that reads it."""

from __future__ import annotations

import hashlib
import io
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import rasterio
from loopback import Site
from rasterio.transform import from_origin

from eo_pipeline.acquire.products import Health, Product, Query, RemoteFile
from eo_pipeline.acquire.screening import Region
from eo_pipeline.acquire.transport import Auth, Transport
from eo_pipeline.errors import ArchiveError

#: The upper left corner of tile 48SWE; the little tile is 1.28 km wide.
CORNER = (499_980.0, 3_900_000.0)
SIDE = 64
FOOTPRINT = "POLYGON((105 35.2, 105.02 35.2, 105.02 35.25, 105 35.25, 105 35.2))"


def jp2(pixels: np.ndarray) -> bytes:
    height, width = pixels.shape
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "band.jp2"
        with rasterio.open(
            path, "w", driver="JP2OpenJPEG", width=width, height=height, count=1, dtype=pixels.dtype,
            crs="EPSG:32648", transform=from_origin(*CORNER, 20, 20), QUALITY="100", REVERSIBLE="YES",
        ) as sink:  # fmt: skip
            sink.write(pixels, 1)
        return path.read_bytes()


def scl(cloudy: float) -> np.ndarray:
    """Vegetation below, cloud over the given share of rows from the top."""
    pixels = np.full((SIDE, SIDE), 4, dtype=np.uint8)
    pixels[: round(SIDE * cloudy)] = 9
    return pixels


def safe(
    sensed: datetime, *, tile: str = "48SWE", cloudy: float = 0.0, baseline: str = "05.10", seed: int = 0
) -> tuple[str, dict[str, bytes]]:
    """Name and files of a product, the keys being paths below its folder."""
    stamp = sensed.strftime("%Y%m%dT%H%M%S")
    number = baseline.replace(".", "")
    name = f"S2A_MSIL2A_{stamp}_N{number}_R018_T{tile}_{stamp}.SAFE"
    granule = f"GRANULE/L2A_T{tile}_A000001_{stamp}"
    rng = np.random.default_rng(seed)
    files = {
        "MTD_MSIL2A.xml": f"<product><baseline>{baseline}</baseline></product>".encode(),
        f"{granule}/MTD_TL.xml": f"<tile><sensed>{stamp}</sensed></tile>".encode(),
        f"{granule}/IMG_DATA/R20m/T{tile}_{stamp}_SCL_20m.jp2": jp2(scl(cloudy)),
        f"{granule}/IMG_DATA/R10m/T{tile}_{stamp}_B04_10m.jp2": jp2(
            rng.integers(0, 9000, (160, 160), dtype=np.uint16)
        ),
        f"{granule}/IMG_DATA/R10m/T{tile}_{stamp}_B08_10m.jp2": jp2(
            rng.integers(0, 9000, (160, 160), dtype=np.uint16)
        ),
    }
    rows = "".join(
        f'<dataObject><byteStream size="{len(body)}"><fileLocation href="./{path}"/>'
        f'<checksum checksumName="MD5">{hashlib.md5(body).hexdigest()}</checksum></byteStream></dataObject>'
        for path, body in files.items()
    )
    files["manifest.safe"] = f"<xfdu>{rows}</xfdu>".encode()
    return name, files


def key_of(path: str) -> str:
    if path == "manifest.safe":
        return "manifest"
    stem = Path(path).stem
    return stem if stem.startswith("MTD") else stem.split("_")[-2]


class Shelf:
    """An `Archive` over a loopback site; real requests through the real transport."""

    def __init__(
        self, name: str, url: str, transport: Transport, *, auth: Auth | None = None, checksums: bool = True
    ) -> None:
        self.name, self.url, self.transport, self.auth, self.checksums = name, url, transport, auth, checksums
        self.windows = True
        self.products: list[Product] = []
        self.searches = 0
        self.broken = ""

    def add(
        self, site: Site, name: str, files: Mapping[str, bytes], sensed: datetime, *, cloud: float = 10.0,
        tile: str = "48SWE", baseline: str = "05.10", zipped: bool = False, online: bool = True,
    ) -> Product:  # fmt: skip
        remote = []
        for path, body in files.items():
            place = f"/{self.name}/{name}/{path}"
            site.files[place] = body
            sums = {"md5": hashlib.md5(body).hexdigest()} if self.checksums else {"MD5": ""}
            remote.append(RemoteFile(key_of(path), path, self.url + place, len(body), sums))
        if zipped:
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                for path, body in files.items():
                    archive.writestr(f"{name}/{path}", body)
            place = f"/{self.name}/{name}.zip"
            site.files[place] = packed.getvalue()
            remote = [RemoteFile("product", f"{name}.zip", self.url + place)]
        product = Product(
            source=self.name, id=name, name=name, collection="sentinel-2-l2a", tile=tile, sensed=sensed,
            footprint=FOOTPRINT, baseline=baseline, cloud_cover=cloud, files=tuple(remote), online=online,
        )  # fmt: skip
        self.products.append(product)
        return product

    def search(self, query: Query) -> Iterator[Product]:
        self.searches += 1
        if self.broken:
            raise ArchiveError(self.broken)
        for product in sorted(self.products, key=lambda p: (p.sensed, p.name)):
            if query.start <= product.sensed.date() <= query.end:
                yield product

    def files(self, product: Product, keys: Sequence[str]) -> tuple[RemoteFile, ...]:
        offered = {file.key: file for file in product.files}
        if missing := [key for key in keys if key not in offered]:
            raise ArchiveError(f"{self.name}: {product.name} has no file {missing}")
        return tuple(offered[key] for key in keys)

    def open(self, file: RemoteFile) -> str:
        return file.href

    def fetch(self, file: RemoteFile, target: Path) -> None:
        self.transport.download(file.href, target, size=file.size, checksums=file.checksums, auth=self.auth)

    def check(self) -> Health:
        return Health(self.name, "shelf", self.url, "none", True, "answers")


def day(month: int, number: int, minute: int = 35) -> datetime:
    return datetime(2026, month, number, 3, minute, 41, tzinfo=UTC)


def fields(west: float = 105.001, north: float = 35.2425, size: float = 0.012) -> Region:
    """Two fields in the little tile."""
    import shapely

    half = size / 2
    boxes = [
        shapely.box(west, north - size, west + half * 0.8, north),
        shapely.box(west + half, north - size, west + size, north),
    ]
    return Region("parcels", np.array(boxes, dtype=object))


def contents(root: Path) -> dict[str, bytes]:
    """All files of products below a root, without the ledger."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith("ledger.sqlite")
    }


def stock(shelf: Shelf, site: Site, *, count: int = 6, cloudy: Sequence[int] = ()) -> None:
    """Products every fourth day from 1 May on; those numbered in `cloudy` are all cloud."""
    for number in range(count):
        sensed = day(5, 1 + 4 * number)
        name, files = safe(sensed, cloudy=1.0 if number in cloudy else 0.1, seed=number)
        shelf.add(site, name, files, sensed)
