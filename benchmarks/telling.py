"""What the ingest benchmark was measured on, and its figures as a table."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table


# ---- telling --------------------------------------------------------------------------------------------
def machine() -> dict[str, Any]:
    """What it was measured on."""
    import rasterio

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    libraries = ("numpy", "numba", "numbagg", "rasterio", "zarr", "zarrs", "odc-stac", "xarray", "dask")
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "gdal": rasterio.__gdal_version__,
        "versions": {name: version(name) for name in libraries},
    }


def table(results: Sequence[dict[str, Any]]) -> Table:
    """Figures, a row a part."""
    shown = Table(title="Ingest", show_lines=True)
    for column in ("part", "what", "figures", "ratio"):
        shown.add_column(column)
    for item in results:
        part = item["part"]
        if part in ("safe", "cog"):
            figures = (
                f"ours {item['ours_s']:.2f} s ({item['ours_spread']}), decode + write "
                f"{item['limit_s']:.2f} s ({item['limit_spread']}), with codec {item['codec_s']:.2f} s; "
                f"{item['mpx_dates_per_s']:.1f} Mpx·date/s"
            )
            ratio = f"{item['share_of_limit']:.0%} of the limit ({item['share_of_limit_cpu']:.0%} by CPU), "
            ratio += f"{item['share_of_limit_with_codec']:.0%} with codec"
        elif part == "composite":
            speeds = ", ".join(f"{name} {value:.1f} Mpx/s" for name, value in item["mpx_per_s"].items())
            figures = f"{speeds}; equal: {item['equal']}"
            ratio = f"{item['times_numbagg']:.1f} × {item['best_numbagg']}"
        elif part == "scaling":
            figures, ratio = f"{item['one_s']:.2f} s, {item['many_s']:.2f} s", f"{item['times']:.2f} ×"
        else:
            peak, same = item["peak_gb"], item["agreement"]
            figures = (
                f"ours {item['ours_mpx_dates_per_s']:.1f} Mpx·date/s ({peak['ours']:.1f} GB), with "
                f"shadows and outliers {item['whole_mpx_dates_per_s']:.1f} ({peak['whole']:.1f} GB); "
                f"odc-stac {item['peer_mpx_dates_per_s']:.1f} ({peak['peer']:.1f} GB); filled in both "
                f"{same['filled_in_both']:.1%}, equal there {same['equal']:.1%}"
            )
            ratio = (
                f"{item['times_peer']:.1f} × odc-stac + xarray + dask ({item['times_peer_cpu']:.1f} by CPU)"
            )
        shown.add_row(part, item["what"], figures, ratio)
    return shown
