"""Every write to `monitoring`: runs and parcels come in, reviewers decide. One transaction each."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyogrio
import pyogrio.raw
import pyproj
import shapely
from django.conf import settings
from django.contrib.gis.geos import GEOSGeometry, MultiPolygon, Polygon
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.utils.translation import gettext as _

from accounts.roles import can_review
from monitoring.errors import ReviewConflictError, ReviewError, RunImportError
from monitoring.intake import RunIntake, read_run, verify_folder
from monitoring.models import Estimate, Parcel, Review, Run, RunRaster, Series
from places.models import Unit
from places.selectors import county_code_of, find_unit

if TYPE_CHECKING:
    from accounts.models import User

_GEOD = pyproj.Geod(ellps="WGS84")


@dataclass(frozen=True, slots=True)
class ImportedRun:
    """A run in the database, and whether this call brought it."""

    run: Run
    created: bool
    estimates: int
    series: int


def import_run(*, path: Path, new_version: bool = False) -> ImportedRun:
    """Take a run folder in, whole or not at all; the same folder again changes nothing.

    The folder is verified, copied into `RUNS_DIR`, and the copy is verified too, so what the site reads is
    what was checked. Another content under a known run id becomes a new version: drafts of the old one
    are superseded. Where the old version has accepted numbers this needs `new_version`; they stay public
    until the new version's numbers are accepted.

    Raises
    ------
    RunImportError
        Damaged or unacceptable folder, or accepted numbers would be passed over.
    """
    digest = verify_folder(path)
    if (run := Run.objects.filter(digest=digest).first()) and run.path.is_dir():
        return ImportedRun(run, False, run.estimates.count(), run.series.count())
    runs = Path(settings.RUNS_DIR)
    runs.mkdir(parents=True, exist_ok=True)
    partial = runs / f".partial-{uuid.uuid4().hex}"
    try:
        shutil.copytree(path, partial)
        intake = read_run(partial)
    except RunImportError as error:
        # The message must name the user's folder, not our copy of it.
        raise RunImportError(str(error).replace(str(partial), str(path))) from error
    except (OSError, shutil.Error) as error:
        raise RunImportError(
            f"{path} could not be copied to {runs}: {error}. Check space and rights."
        ) from error
    else:
        return _store(intake, partial, new_version=new_version)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@transaction.atomic
def _store(intake: RunIntake, partial: Path, *, new_version: bool) -> ImportedRun:
    manifest = intake.manifest
    with connection.cursor() as cursor:  # two imports of one run, one after the other
        cursor.execute("select pg_advisory_xact_lock(hashtext(%s))", [f"import_run {manifest.run_id}"])
    folder = f"{manifest.run_id}.{intake.digest[:10]}"
    target = Path(settings.RUNS_DIR) / folder
    known = Run.objects.filter(digest=intake.digest).first()
    run = known or _create_run(intake, folder, new_version=new_version)
    if known is None or not target.is_dir():
        # An import that was killed after this rename left a folder without a row: it is replaced.
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    return ImportedRun(run, known is None, len(intake.estimates), len(intake.series))


def _create_run(intake: RunIntake, folder: str, *, new_version: bool) -> Run:
    manifest = intake.manifest
    older = list(Run.objects.select_for_update().filter(run_id=manifest.run_id).order_by("version"))
    accepted = Estimate.objects.filter(run__in=older, state=Estimate.State.ACCEPTED).count()
    if accepted and not new_version:
        raise RunImportError(
            f"Run {manifest.run_id} is here in version {older[-1].version} with {accepted} accepted "
            "estimate(s), and this folder has other content. Add --new-version to import it beside them: the "
            "accepted numbers stay public until the new ones are accepted. Nothing was imported."
        )
    Run.objects.filter(pk__in=[run.pk for run in older]).update(current=False)
    Estimate.objects.filter(run__in=older, state=Estimate.State.DRAFT).update(state=Estimate.State.SUPERSEDED)
    document = {
        name: value for name, value in intake.document.items() if name not in ("files", "rasters", "digest")
    }
    run = Run.objects.create(
        run_id=manifest.run_id,
        version=older[-1].version + 1 if older else 1,
        digest=intake.digest,
        title=manifest.title[:200],
        simulated=manifest.simulated,
        season_start=intake.season_start,
        season_end=intake.season_end,
        region_name=str(manifest.region.get("name", ""))[:200],
        extent=_extent([raster.bounds for raster in intake.rasters]),
        manifest=document,
        folder=folder,
        created_at=intake.created_at,
    )
    RunRaster.objects.bulk_create(
        RunRaster(
            run=run,
            kind=item.raster.kind,
            tile=item.raster.tile,
            path=item.raster.path,
            title=item.raster.title,
            dates=list(item.raster.dates),
            scale=item.raster.scale,
            classes=[
                {"code": c.code, "name": c.name, "zh": c.zh, "en": c.en, "colour": c.colour}
                for c in item.raster.classes
            ],
            west=item.bounds[0],
            south=item.bounds[1],
            east=item.bounds[2],
            north=item.bounds[3],
        )
        for item in intake.rasters
    )
    places = {
        code: find_unit(code) for code in {row["unit_adcode"] for row in intake.estimates} if code.isdigit()
    }
    Estimate.objects.bulk_create(
        (Estimate(run=run, place=places.get(row["unit_adcode"]), **row) for row in intake.estimates),
        batch_size=1000,
    )
    Series.objects.bulk_create((Series(run=run, **row) for row in intake.series), batch_size=500)
    return run


def _extent(bounds: Sequence[tuple[float, float, float, float]]) -> Polygon | None:
    if not bounds:
        return None
    west, south, east, north = zip(*bounds, strict=True)
    extent: Polygon = Polygon.from_bbox((min(west), min(south), max(east), max(north)))
    extent.srid = 4326
    return extent


@transaction.atomic
def import_parcels(*, path: Path, id_field: str = "id", simulated: bool = False) -> int:
    """Take parcel outlines over from a vector file; the number of parcels is returned.

    Raises
    ------
    RunImportError
        Unreadable, no polygons, no field `id_field`, or a code that is empty or comes twice.
    """
    try:
        meta, _fids, geometries, table = pyogrio.raw.read(str(path))
    except (pyogrio.errors.DataSourceError, ValueError) as error:
        raise RunImportError(
            f"{path} cannot be read as a parcel file: {error}. Give GeoJSON, GeoPackage or Shapefile."
        ) from error
    fields = [str(name) for name in meta["fields"]]
    if geometries is None or len(geometries) == 0:
        raise RunImportError(
            f"{path} holds no parcel. Give a file with parcel polygons; nothing was imported."
        )
    if id_field not in fields:
        raise RunImportError(
            f"{path} has no field {id_field!r}; its fields are {', '.join(fields)}. Name the right one "
            "with --id-field."
        )
    column = {name: table[index] for index, name in enumerate(fields)}
    transformer = pyproj.Transformer.from_crs(meta["crs"] or "EPSG:4326", "EPSG:4326", always_xy=True)
    seen: set[str] = set()
    units = list(Unit.objects.exclude(outline=None).exclude(level=Unit.Level.PREFECTURE))
    for row, wkb in enumerate(geometries, start=1):
        code = str(column[id_field][row - 1] or "").strip()
        shape = shapely.make_valid(shapely.force_2d(shapely.from_wkb(wkb))) if wkb is not None else None
        if shape is None or shape.geom_type not in ("Polygon", "MultiPolygon"):
            raise RunImportError(
                f"{path}, parcel {row} ({code}) is not a polygon. Correct it; nothing was imported."
            )
        if not code or code in seen or len(code) > 60:
            raise RunImportError(
                f"{path}, parcel {row}: code {code!r} is empty, too long or comes twice. Correct it; "
                "nothing was imported."
            )
        seen.add(code)
        shape = shapely.transform(shape, transformer.transform, interleaved=False)
        outline = GEOSGeometry(memoryview(shapely.to_wkb(shape)), srid=4326)
        if not isinstance(outline, MultiPolygon):
            outline = MultiPolygon(outline, srid=4326)
        Parcel.objects.update_or_create(
            code=code,
            defaults={
                "name": _text(column, "name", row),
                "crop": _text(column, "crop", row),
                "place": _place_of(outline, units),
                "outline": outline,
                "area_ha": abs(_GEOD.geometry_area_perimeter(shape)[0]) / 1e4,
                "simulated": simulated,
                "source": path.name[:200],
            },
        )
    return len(seen)


def _text(column: dict[str, Sequence[object]], name: str, row: int) -> str:
    return str(column[name][row - 1] or "")[:40] if name in column else ""


def _place_of(outline: MultiPolygon, units: Iterable[Unit]) -> Unit | None:
    """The smallest unit that holds the parcel's inner point: a township before its county."""
    point = outline.point_on_surface
    holding = [unit for unit in units if unit.outline is not None and unit.outline.contains(point)]
    return max(holding, key=lambda unit: len(unit.adcode), default=None)


@dataclass(frozen=True, slots=True)
class Seen:
    """An estimate as the reviewer saw it: its key and the revision shown in the form."""

    pk: int
    row_version: int


def accept_estimate(*, user: User, estimate: Estimate, reason: str = "", comment: str = "") -> Estimate:
    """Accept one estimate as `estimate` shows it; see `review`."""
    seen = [Seen(estimate.pk, estimate.row_version)]
    return review(user=user, seen=seen, decision=Review.Decision.ACCEPT, reason=reason, comment=comment)[0]


def return_estimate(*, user: User, estimate: Estimate, reason: str, comment: str = "") -> Estimate:
    """Send one estimate back with a reason; an accepted one is taken off the public pages by this."""
    seen = [Seen(estimate.pk, estimate.row_version)]
    return review(user=user, seen=seen, decision=Review.Decision.RETURN, reason=reason, comment=comment)[0]


@transaction.atomic
def review(
    *, user: User, seen: Sequence[Seen], decision: Review.Decision, reason: str = "", comment: str = ""
) -> list[Estimate]:
    """Decide on estimates that belong together (a crop's area by all methods, its five growth classes):
    all or none.

    Raises
    ------
    PermissionDenied
        The user may not decide on one of the units.
    ReviewConflictError
        One of them was decided, or replaced by a new version, since the form was opened.
    ReviewError
        No reason for a return, an unknown reason, or nothing to decide.
    """
    _check_form(seen, decision, reason)
    versions = {item.pk: item.row_version for item in seen}
    rows = list(
        Estimate.objects.select_for_update(of=("self",))
        .select_related("run", "place")
        .filter(pk__in=versions)
        .order_by("pk")
    )
    if len(rows) != len(versions):
        raise ReviewConflictError(_("有结果已不存在。请刷新页面再看。"))
    for row in rows:
        if not can_review(user, county_code=county_code_of(row.place)):
            raise PermissionDenied(_("您只能审核本县的结果。"))
        if row.row_version != versions[row.pk]:
            raise ReviewConflictError(_conflict(row))
        if row.state == Estimate.State.SUPERSEDED:
            raise ReviewConflictError(_("这条结果已被新版替代，请审核新版。"))
    target = Estimate.State.ACCEPTED if decision == Review.Decision.ACCEPT else Estimate.State.RETURNED
    rows = [row for row in rows if row.state != target]
    if not rows:
        raise ReviewError(_("这些结果已经是“%(state)s”，没有改动。") % {"state": target.label})
    for row in rows:
        _decide(row, user, decision, target, reason=reason, comment=comment)
        if decision == Review.Decision.ACCEPT:
            for old in _older_accepted(row):
                _decide(old, user, Review.Decision.SUPERSEDE, Estimate.State.SUPERSEDED)
    return rows


def _check_form(seen: Sequence[Seen], decision: Review.Decision, reason: str) -> None:
    if decision not in (Review.Decision.ACCEPT, Review.Decision.RETURN):
        raise ReviewError(_("决定只能是通过或退回。"))
    if decision == Review.Decision.RETURN and not reason:
        raise ReviewError(_("退回要选一个原因，填报单位才知道改什么。"))
    if reason not in Review.Reason.values:
        raise ReviewError(_("没有这个原因：%(reason)s。请从列表中选。") % {"reason": reason})
    if not seen:
        raise ReviewError(_("没有选中任何结果。请勾选后再提交。"))


def _decide(
    row: Estimate,
    user: User,
    decision: Review.Decision,
    target: Estimate.State,
    *,
    reason: str = "",
    comment: str = "",
) -> None:
    Review.objects.create(
        estimate=row,
        user=user,
        decision=decision,
        reason=reason,
        comment=comment[:500],
        state_before=row.state,
    )
    row.state, row.row_version = target, row.row_version + 1
    row.save(update_fields=["state", "row_version"])


def _older_accepted(row: Estimate) -> list[Estimate]:
    """The same number in other versions of the run, so that the public never sees two."""
    return list(
        Estimate.objects.select_for_update()
        .filter(
            run__run_id=row.run.run_id,
            product=row.product,
            crop=row.crop,
            class_name=row.class_name,
            unit_adcode=row.unit_adcode,
            method=row.method,
            state=Estimate.State.ACCEPTED,
        )
        .exclude(pk=row.pk)
        .order_by("pk")
    )


def _conflict(row: Estimate) -> str:
    last = row.reviews.select_related("user").first()
    if last is None:
        return _("这条结果刚刚有改动。请刷新页面再决定。")
    return _("%(who)s 已先作出决定：%(what)s。请刷新页面看过再决定。") % {
        "who": str(last.user),
        "what": last.get_decision_display(),
    }
