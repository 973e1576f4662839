"""`eo inspect`: what is in a scene, and whether its numbers can be trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eo_pipeline.errors import EOPipelineError, RadiometryError

if TYPE_CHECKING:
    from eo_pipeline.scenes.radiometry import OffsetProof
    from eo_pipeline.scenes.sentinel2 import Sentinel2Product

#: Exit status of a scene that is in quarantine.
QUARANTINED = 3


def register(app: typer.Typer) -> None:
    """Add `eo inspect` to the `eo` command."""
    app.command("inspect")(inspect)


def inspect(
    scene: Annotated[
        Path,
        typer.Argument(
            help="A SAFE folder, a zip of one, or a folder of COGs with item.json.", metavar="SCENE"
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")] = False,
) -> None:
    """Show what a Sentinel-2 scene is, and prove the offset of its numbers from four sources.

    Of a Level-1C product, which serves the search for clouds alone, metadata and name are compared.

    Leaves with 0 where the offset is proven, 3 where the scene is in quarantine, 2 where it cannot be read.

    Example: eo inspect S2A_MSIL2A_20230821T221941_N0509_R029_T01KAB_20230822T021825.SAFE
    """
    from eo_pipeline.scenes.radiometry import prove_offset
    from eo_pipeline.scenes.sentinel2 import read_product

    try:
        product = read_product(scene, level=None)
        if product.level == "L1C":
            _inspect_level1c(product, as_json)
            return
        proof = prove_offset(product)
    except EOPipelineError as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error
    if as_json:
        typer.echo(json.dumps(facts(product, proof), ensure_ascii=False, allow_nan=False))
    else:
        _show(product, proof)
    if not proof.proven:
        raise typer.Exit(QUARANTINED)


def _inspect_level1c(product: Sentinel2Product, as_json: bool) -> None:
    from eo_pipeline.scenes.level1c import offset_of

    offset, doubt = None, ""
    try:
        offset = offset_of(product)
    except RadiometryError as error:
        doubt = str(error)
    told = _product_facts(product) | {"offset": {"proven": offset, "reason": doubt}}
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=False, allow_nan=False))
    else:
        _show_product(product, told)
        typer.echo("  level        1C, top of the atmosphere: for the search for clouds alone")
        if doubt:
            typer.secho("  quarantined  this product will not be used", fg="red")
            typer.echo(f"               {doubt}")
        else:
            typer.secho(
                f"  agreed       reflectance = (DN {offset:+d}) / {product.quantification:g}, by metadata "
                "and baseline",
                fg="green",
            )
    if doubt:
        raise typer.Exit(QUARANTINED)


def _product_facts(product: Sentinel2Product) -> dict[str, Any]:
    from rasterio.crs import CRS

    return {
        "name": product.name,
        "path": product.path,
        "level": product.level,
        "provider": product.provider,
        "platform": product.platform,
        "sensed": product.sensed.isoformat(),
        "baseline": product.baseline,
        "tile": product.tile,
        "orbit": product.orbit,
        "direction": product.direction,
        "crs": f"EPSG:{CRS.from_wkt(product.grid.crs).to_epsg()}",
        "transform": list(product.grid.transform),
        "shape": list(product.grid.shape),
        "bands": {name: [file.metres for file in files] for name, files in product.bands.items()},
        "quantification": product.quantification,
        "footprint": product.footprint,
        "cloud_cover": product.cloud_cover,
        "empty_share": product.empty_share,
        "sun": None if product.sun is None else {"zenith": product.sun[0], "azimuth": product.sun[1]},
    }


def facts(product: Sentinel2Product, proof: OffsetProof) -> dict[str, Any]:
    """Everything `eo inspect --json` prints."""
    dark = proof.dark
    return _product_facts(product) | {
        "offset": {
            "metadata": proof.metadata,
            "name": proof.name,
            "provider": proof.provider,
            "pixels": proof.pixels,
            "advertised": product.advertised,
            "proven": proof.offset if proof.proven else None,
            "verdict": proof.verdict,
            "reason": proof.reason,
        },
        "dark_targets": None
        if dark is None
        else {
            "count": dark.count,
            "clear": dark.clear,
            "darkest": dark.darkest if dark.count else None,
            "share_below_1000": dark.share,
        },
    }


def _show_product(product: Sentinel2Product, told: dict[str, Any]) -> None:
    say = typer.echo
    say(product.name)
    say(
        f"  sensed       {told['sensed']}  {product.platform}  "
        f"orbit {product.orbit or 'unknown'} {product.direction}"
    )
    say(f"  tile         {product.tile}  {told['crs']}  {told['shape'][0]} × {told['shape'][1]} at 10 m")
    say(f"  baseline     {product.baseline or 'unknown'}  files by {product.provider or 'unknown'}")
    shares = [_percent(product.cloud_cover, "cloud"), _percent(product.empty_share, "empty")]
    if product.sun:
        shares.append(f"sun {product.sun[0]:.1f}° from the zenith, azimuth {product.sun[1]:.1f}°")
    say(f"  seen         {', '.join(filter(None, shares)) or 'unknown'}")
    bands = "  ".join(f"{name} {'/'.join(map(str, m))}" for name, m in told["bands"].items())
    say(f"  bands (m)    {bands or 'none'}")
    say(f"  footprint    {product.footprint or 'unknown'}")


def _show(product: Sentinel2Product, proof: OffsetProof) -> None:
    told = facts(product, proof)
    say = typer.echo
    _show_product(product, told)
    say("  offset by")
    for source in ("metadata", "name", "provider", "pixels"):
        value = told["offset"][source]
        say(
            f"    {source:<10} {'unknown' if value is None else f'{value:+d}'}{_note(source, product, proof)}"
        )
    if proof.proven:
        typer.secho(
            f"  proven       reflectance = (DN {proof.offset:+d}) / {product.quantification:g}", fg="green"
        )
    else:
        typer.secho("  quarantined  this scene will not be used", fg="red")
    say(f"               {proof.reason}")


def _percent(value: float | None, what: str) -> str:
    return "" if value is None else f"{value:.1f} % {what}"


def _note(source: str, product: Sentinel2Product, proof: OffsetProof) -> str:
    if source == "metadata" and product.advertised is not None:
        return f"   (the item shows {product.advertised:+g}, which is not believed)"
    if source == "name" and product.name_baseline:
        return f"   (baseline {product.name_baseline})"
    if source == "provider" and product.applied is not None:
        return f"   (boa_offset_applied = {str(product.applied).lower()})"
    if source == "pixels" and proof.dark is not None:
        dark = proof.dark
        lies = f", lying at {dark.darkest:.0f}" if dark.count else ""
        return f"   ({dark.count} dark targets{lies}; {dark.share:.1%} of clear land below 1000)"
    return ""
