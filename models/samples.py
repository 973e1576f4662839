"""Samples as files: an npz with `X`, `y` and optional `groups`, beside an optional table of places.

`X` is (n, t, c) float with NaN where nothing was observed; `y` (or `label`) text or whole numbers; `groups`
any type; `channels` (or `bands`) the channels' names. Made by `numpy.savez_compressed`.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import SampleFileError, SeriesError
from models.series import Codes, LabelledSeries, check_labelled, check_names

_CURE: Final = (
    "Write it with numpy.savez_compressed(path, X=X, y=y), X of shape (samples, dates, channels) as float "
    "with "
    "NaN where nothing was observed, y as text or whole numbers, and if you like groups=…, channels=…"
)


@dataclass(frozen=True)
class Samples:
    """Checked samples of one file.

    Attributes
    ----------
    data : LabelledSeries
        Series, labels, groups.
    channels : tuple of str or None
        Names of the channels where the file gives them.
    grouped : bool
        Whether groups were given; otherwise each sample is a group of its own.
    path : Path
        The file.
    """

    data: LabelledSeries
    channels: tuple[str, ...] | None
    grouped: bool
    path: Path


def read_samples(path: Path, *, table: Path | None = None, group_km: float | None = None) -> Samples:
    """Read and check samples.

    Parameters
    ----------
    path : Path
        The npz.
    table : Path, optional
        CSV with a row per sample, in the same order, with columns `lon` and `lat` (or `longitude` and
        `latitude`): samples within one square of `group_km` become a group.
    group_km : float, optional
        Side of the squares; needs `table`.

    Raises
    ------
    SampleFileError
        Not an npz, a key missing, or a table that does not fit.
    SeriesError
        Series or labels of a wrong shape or content.
    """
    path = Path(path)
    arrays = _read_npz(path)
    y_key = next((key for key in ("y", "label") if key in arrays), None)
    missing = [name for name, there in (("X", "X" in arrays), ("y", y_key is not None)) if not there]
    if missing or y_key is None:
        raise SampleFileError(
            f"{path} holds no {' and no '.join(missing)}; its keys are "
            f"{', '.join(sorted(arrays)) or 'none'}. " + _CURE
        )
    groups = arrays.get("groups")
    if (table is None) != (group_km is None):
        raise SampleFileError(
            f"{path}: places are needed to group samples by squares of ground. Give both a table (lon, lat) "
            "and "
            "the squares' side in km, or neither."
        )
    if table is not None and group_km is not None:
        groups = _square_groups(table, n=len(arrays[y_key]), km=group_km)
    data = check_labelled(arrays["X"], arrays[y_key], groups, where=str(path))
    names = next((arrays[key] for key in ("channels", "bands") if key in arrays), None)
    channels = None
    if names is not None:
        try:
            channels = check_names(names.ravel().tolist(), n=data.X.shape[2], kind="channels", default="c")
        except SeriesError as error:
            raise SampleFileError(f"{path}: {error}") from error
    return Samples(data=data, channels=channels, grouped=groups is not None, path=path)


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise SampleFileError(f"{path} is a single array, not an npz. {_CURE}")
        with archive:
            return {key: archive[key] for key in archive.files}
    except FileNotFoundError as error:
        raise SampleFileError(
            f"{path} is not there. Check the path; samples are an npz file. {_CURE}"
        ) from error
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        if "pickle" in str(error).lower() and zipfile.is_zipfile(path):
            raise SampleFileError(
                f"{path} holds an array of Python objects, which may carry code and is not read. Save "
                "labels as "
                "text with y.astype(str), and X as one float array."
            ) from error
        raise SampleFileError(f"{path} cannot be read as an npz ({_short(error)}). {_CURE}") from error


def _square_groups(table: Path, *, n: int, km: float) -> Codes:
    # evaluate needs torch; a table of places does not, until its squares are asked for.
    from models.groups import square_groups

    try:
        with Path(table).open(newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SampleFileError(
            f"{table} cannot be read as a CSV table ({_short(error)}). Give a UTF-8 CSV with columns lon "
            "and lat."
        ) from error
    columns = set(rows[0]) if rows else set()
    lon = next((name for name in ("lon", "longitude") if name in columns), None)
    lat = next((name for name in ("lat", "latitude") if name in columns), None)
    if lon is None or lat is None:
        raise SampleFileError(
            f"{table} has no columns lon and lat (it has {', '.join(map(str, columns)) or 'none'}). Name "
            "them so, "
            "in degrees."
        )
    if len(rows) != n:
        raise SampleFileError(
            f"{table} has {len(rows)} rows, but there are {n} samples. The table needs one row per sample, "
            "in the "
            "same order."
        )
    try:
        places = np.array([(float(row[lon]), float(row[lat])) for row in rows])
        return square_groups(places[:, 0], places[:, 1], km)
    except (ValueError, TypeError) as error:
        raise SampleFileError(
            f"{table}: {lon} and {lat} must be numbers in degrees and the squares' side more than 0 km "
            f"({_short(error)})."
        ) from error


def _short(error: BaseException) -> str:
    """The first line of an error, without a full stop."""
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__).rstrip(".")
