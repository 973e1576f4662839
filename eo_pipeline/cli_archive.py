"""`eo archive`: serve a folder of products on this machine with the protocols and faults of real archives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from eo_pipeline.errors import EOPipelineError


def register(app: typer.Typer) -> None:
    """Add the archive's command to the `eo` command."""
    app.command("archive")(archive)


def archive(
    folder: Annotated[Path, typer.Argument(help="Folder that holds *.SAFE products, at any depth.")],
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8870,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="KIND=P; metadata:KIND=P for searches, data:KIND=P for files only; all=P for every kind."
        ),
    ] = None,
    offline: Annotated[
        list[str] | None,
        typer.Option(help="Product, or a part of its name, that lies in the long-term archive."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same faults.")] = 0,
    user: Annotated[str, typer.Option(help="The one account, of CDSE and DHuS.")] = "demo",
    password: Annotated[str, typer.Option(help="Its password.")] = "demo",  # noqa: S107
    token_life: Annotated[float, typer.Option(min=0.1, help="Seconds an access token lives.")] = 600.0,
    connections: Annotated[int, typer.Option(min=1, help="Downloads at one time.")] = 4,
    speed: Annotated[
        float | None, typer.Option(min=0.001, help="MB/s of each connection; no limit by default.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Keep rasters made on demand here; by default only while it runs.")
    ] = None,
) -> None:
    """Serve simulated products (模拟数据) as CDSE, a STAC API and DHuS do, on this machine only.

    Example: eo archive var/demo/twin/archive --fault data:truncated=0.1 --fault 503=0.1
    """
    try:
        from eo_pipeline.simulate.archive import Faults, serve
        from eo_pipeline.simulate.archive.faults import read_options

        rates: Any = read_options(fault or ())
        faults = Faults(**rates, offline=tuple(offline or ()), seed=seed)
        with serve(
            folder,
            faults=faults,
            port=port,
            user=user,
            password=password,
            token_s=token_life,
            connections=connections,
            bytes_per_s=speed * 1e6 if speed else None,
            cache=cache,
        ) as running:
            typer.echo(greeting(running.url, user=user, password=password, folder=folder))
            try:
                running.wait()
            except KeyboardInterrupt:
                stats = running.stats()
                typer.echo(f"\nStopped. {json.dumps(stats['requests'])}, {stats['bytes'] / 1e6:.1f} MB sent.")
    except EOPipelineError as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error


def greeting(url: str, *, user: str, password: str, folder: Path) -> str:
    """The addresses of a running archive, and what a season file and the environment say to use it."""
    return f"""模拟数据 / simulated: {folder} at {url}  (this machine only; Ctrl-C ends it)
  faults  POST {url}/_faults   counts  GET {url}/_stats

# CDSE (OData, token, files): EO_CDSE_USERNAME={user} EO_CDSE_PASSWORD={password}
[source]
kind = "cdse"
url = "{url}"
root = "data"

# Earth Search (STAC, cloud-optimised rasters); Collection 1 as kind = "earth-search-c1"
[source]
kind = "earth-search"
url = "{url}/stac/v1"
root = "data"
read = "windows"

# Planetary Computer (STAC, signed addresses)
[source]
kind = "planetary-computer"
url = "{url}/pc/api/stac/v1"
root = "data"

# Sentinel-1, terrain-corrected, from the same; beside any of these
[source.radar]
kind = "planetary-computer"
url = "{url}/pc/api/stac/v1"
root = "data"

# Elevation, from the same or from Earth Search, where `eo simulate` left its dem.tif beside the folder
[source.terrain]
kind = "planetary-computer"
url = "{url}/pc/api/stac/v1"
root = "data"

# DHuS: EO_DHUS_USERNAME={user} EO_DHUS_PASSWORD={password}
[source]
kind = "dhus"
url = "{url}/dhus"
root = "data"

# CDSE searched by STAC: EO_CDSE_SEARCH=stac
[source]
kind = "cdse"
url = "{url}/cdse"
root = "data\""""
