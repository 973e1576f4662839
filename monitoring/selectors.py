"""Reads of `monitoring`.

What the public may see is decided here, in `visible_estimates`, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from django.contrib.auth.models import AnonymousUser
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from accounts.roles import BUREAU, can_review, can_see_unaccepted, has_role
from monitoring import labels
from monitoring.curves import Curve, CurvePoint, band_of, moved, points_of
from monitoring.models import Estimate, Parcel, Run, RunRaster, Series
from monitoring.rasters import pixel_points
from places.facts import PREFECTURE_CODE
from places.selectors import county_code_of

if TYPE_CHECKING:
    from accounts.roles import AnyUser

#: Earlier seasons a curve is compared with.
EARLIER_SEASONS: Final = 5
#: Two seasons are "the same season" of two years when they start within this many days of each other.
SAME_SEASON_DAYS: Final = 45
#: Two runs are of "the same place" when this share of their joint extent is common.
SAME_PLACE_SHARE: Final = 0.8
PUBLIC: Final = AnonymousUser()


def visible_estimates(user: AnyUser) -> QuerySet[Estimate]:
    """The estimates a person may see: accepted ones for all; drafts for the bureau, and for county staff
    their own.

    Replaced versions are nobody's; a returned row is seen by those who may decide on it.
    """
    rows = Estimate.objects.select_related("run", "place")
    accepted = Q(state=Estimate.State.ACCEPTED)
    undecided = Q(run__current=True, state__in=[Estimate.State.DRAFT, Estimate.State.RETURNED])
    if not can_see_unaccepted(user):
        return rows.filter(accepted)
    if has_role(user, BUREAU):
        return rows.filter(accepted | undecided)
    own = str(getattr(user, "county_id", None) or "none")
    return rows.filter(accepted | (undecided & Q(place__adcode__startswith=own)))


def accepted_estimates(
    *, product: str = "", crop: str = "", unit_adcode: str = "", run_id: str = ""
) -> QuerySet[Estimate]:
    """Accepted numbers only, for bulletins, pages and open data."""
    wanted = {"product": product, "crop": crop, "unit_adcode": unit_adcode, "run__run_id": run_id}
    return visible_estimates(PUBLIC).filter(**{name: value for name, value in wanted.items() if value})


def visible_runs(user: AnyUser) -> QuerySet[Run]:
    """Runs with a number the public may see; for bureau and county staff also those that wait for review."""
    accepted = Exists(accepted_estimates().filter(run=OuterRef("pk")))
    if can_see_unaccepted(user):
        return Run.objects.filter(Q(current=True) | accepted)
    return Run.objects.filter(accepted)


def find_run(user: AnyUser, key: str) -> Run | None:
    """The visible run of an address, or the latest one for an empty key."""
    runs = visible_runs(user)
    if not key:
        return runs.first()
    run_id, _, digest = key.rpartition(".")
    return runs.filter(run_id=run_id, digest__startswith=digest).first() if len(digest) == 10 else None


def visible_layers(user: AnyUser, run: Run) -> list[str]:
    """Raster kinds a person may see. A layer is public once a number of its product has been accepted."""
    kinds = set(run.rasters.values_list("kind", flat=True))
    present = [kind for kind in labels.LAYERS if kind in kinds]
    if can_see_unaccepted(user) and run.current:
        return present
    products = set(accepted_estimates().filter(run=run).values_list("product", flat=True))
    return [kind for kind in present if labels.LAYER_PRODUCT[kind] in products]


def rasters_of(run: Run, kind: str, bounds: tuple[float, float, float, float]) -> list[RunRaster]:
    """Rasters of a kind that touch west, south, east, north (degrees)."""
    west, south, east, north = bounds
    touching = run.rasters.filter(
        kind=kind, west__lte=east, east__gte=west, south__lte=north, north__gte=south
    ).select_related("run")
    return list(touching)


@dataclass(frozen=True, slots=True)
class Share:
    """One growth class's part of the monitorable area, per cent."""

    label: str
    colour: str
    value: float
    class_name: str


@dataclass(frozen=True, slots=True)
class Group:
    """Estimates that are read and decided together: one product of one crop in one unit."""

    product: str
    crop: str
    unit_adcode: str
    rows: tuple[Estimate, ...]
    reviewable: bool = False
    last_year: float | None = None

    @property
    def run(self) -> Run:
        return self.rows[0].run

    @property
    def headline(self) -> Estimate:
        """The row whose number stands first: the best method's."""
        return min(self.rows, key=lambda row: labels.method_rank(row.method))

    @property
    def others(self) -> list[Estimate]:
        """The same quantity by other methods (the pixel count beside the adjusted area)."""
        return [
            row
            for row in self.rows
            if row.pk != self.headline.pk and row.class_name == self.headline.class_name
        ]

    @property
    def state(self) -> str:
        """The rows' common state; "draft" while they differ, because something is left to decide."""
        states = {row.state for row in self.rows}
        return states.pop() if len(states) == 1 else Estimate.State.DRAFT.value

    @property
    def state_label(self) -> str:
        return str(Estimate.State(self.state).label)

    @property
    def crop_label(self) -> str:
        return labels.crop_label(self.run.crops, self.crop)

    @property
    def product_label(self) -> str:
        return labels.product_label(self.product)

    @property
    def unit_label(self) -> str:
        return unit_label(self.rows[0])

    @property
    def shares(self) -> list[Share]:
        """Growth classes from good to poor; they sum to 100."""
        values = {row.class_name: row.value for row in self.rows}
        return [
            Share(str(item.label), item.colour, value, item.name)
            for item in reversed(labels.GROWTH)
            if (value := values.get(item.name)) is not None
        ]

    @property
    def seen(self) -> str:
        """Keys and revisions for a review form: "12:0,13:1"."""
        return ",".join(f"{row.pk}:{row.row_version}" for row in self.rows)


def unit_label(row: Estimate) -> str:
    """A unit's name as people say it."""
    if row.place is not None:
        return row.place.name if row.place.level != "township" else f"{row.place.parent} {row.place.name}"
    if row.unit_adcode.startswith("parcel:"):
        return row.unit_adcode.removeprefix("parcel:")
    if row.unit_adcode == "region":
        return row.run.region_name or row.unit_adcode
    # A unit that is none of ours (another region's): the run's own name for it, where it gives one.
    named = row.run.manifest["region"].get("units") or {}
    return str(named.get(row.unit_adcode, row.unit_adcode))


def unit_order(unit_adcode: str) -> tuple[bool, int, str]:
    """Sorts the whole first, then counties, townships, parcels, each by code."""
    return unit_adcode not in ("region", PREFECTURE_CODE), len(unit_adcode), unit_adcode


def group_estimates(user: AnyUser, rows: Sequence[Estimate]) -> list[Group]:
    """Rows → groups, in the order in which each group's first row comes."""
    groups: dict[tuple[int, str, str, str], list[Estimate]] = {}
    for row in rows:
        groups.setdefault((row.run_id, row.product, row.crop, row.unit_adcode), []).append(row)
    return [
        Group(
            product=product,
            crop=crop,
            unit_adcode=unit,
            rows=tuple(members),
            reviewable=members[0].run.current
            and can_review(user, county_code=county_code_of(members[0].place)),
        )
        for (_run, product, crop, unit), members in groups.items()
    ]


@dataclass(frozen=True, slots=True)
class UnitState:
    """How far the review of a county or township is in one run."""

    adcode: str
    draft: int
    accepted: int
    returned: int

    @property
    def state(self) -> str:
        """todo, returned, accepted or none."""
        if self.draft:
            return "todo"
        if self.returned:
            return "returned"
        return "accepted" if self.accepted else "none"


def unit_states(user: AnyUser, run: Run) -> dict[str, UnitState]:
    """Review state of each unit, counted over the rows the person may see."""
    counted = (
        visible_estimates(user)
        .filter(run=run, place__isnull=False)
        .values("place_id")
        .annotate(
            draft=Count("pk", filter=Q(state=Estimate.State.DRAFT)),
            accepted=Count("pk", filter=Q(state=Estimate.State.ACCEPTED)),
            returned=Count("pk", filter=Q(state=Estimate.State.RETURNED)),
        )
        .order_by("place_id")
    )
    return {
        row["place_id"]: UnitState(row["place_id"], row["draft"], row["accepted"], row["returned"])
        for row in counted
    }


def earlier_runs(user: AnyUser, run: Run) -> list[tuple[int, Run]]:
    """(years before, run) of the same season in earlier years, last year first; never real beside
    simulated.
    """
    found: dict[int, Run] = {}
    candidates = visible_runs(user).filter(
        simulated=run.simulated, season_start__lt=run.season_start, current=True
    )
    for other in candidates:
        days = (run.season_start - other.season_start).days
        years = round(days / 365.25)
        same_days = abs(days - years * 365.25) <= SAME_SEASON_DAYS
        if 1 <= years <= EARLIER_SEASONS and same_days and _same_place(run, other):
            found.setdefault(years, other)
    return sorted(found.items(), key=lambda item: item[0])


def _same_place(one: Run, other: Run) -> bool:
    """Whether two runs cover mostly the same ground: "region" of one must not be compared with another's."""
    if one.extent is None or other.extent is None:
        return one.extent is other.extent and one.region_name == other.region_name
    common = one.extent.intersection(other.extent).area
    return bool(common >= SAME_PLACE_SHARE * one.extent.union(other.extent).area)


def parcel_curve(parcel_code: str, *, user: AnyUser = PUBLIC) -> Curve | None:
    """The latest visible season curve of a parcel (NDVI where there are several indices), or None.

    Farms and shop show this as evidence; without `user` only runs with accepted numbers are looked at.
    """
    series = (
        Series.objects.filter(scope="parcel", scope_id=parcel_code, run__in=visible_runs(user))
        .select_related("run")
        .order_by("-run__season_end", "-run__current", "-run__imported_at")
    )
    for candidate in series.filter(index__iexact="NDVI")[:1] or series[:1]:
        parcel = Parcel.objects.filter(code=parcel_code).first()
        return series_curve(user, candidate, label=str(parcel or parcel_code))
    return None


def series_curve(user: AnyUser, series: Series, *, label: str) -> Curve:
    """A stored curve with last year and the earlier years' range beside it."""
    run = series.run
    earlier: list[tuple[int, tuple[CurvePoint, ...]]] = []
    runs = earlier_runs(user, run)
    same = {
        item.run_id: item
        for item in Series.objects.filter(
            run__in=[other for _, other in runs],
            scope=series.scope,
            scope_id=series.scope_id,
            index=series.index,
        )
    }
    for years, other in runs:
        if item := same.get(other.pk):
            earlier.append((years, moved(points_of(item.points), years)))
    crop = labels.crop_label(run.crops, series.crop) if series.crop else ""
    points = points_of(series.points)
    return _curve(run=run, label=label, crop=crop, index=series.index, points=points, earlier=earlier)


def pixel_curve(user: AnyUser, run: Run, lon: float, lat: float) -> Curve | None:
    """The season curve of the pixel at a point (WGS 84 degrees); None outside the run's index rasters."""
    points = pixel_points(run, lon, lat)
    if not points:
        return None
    earlier = [
        (years, moved(found, years))
        for years, other in earlier_runs(user, run)
        if (found := pixel_points(other, lon, lat))
    ]
    place = f"{lon:.4f}°E {lat:.4f}°N"
    return _curve(run=run, label=place, crop="", index="NDVI", points=points, earlier=earlier)


def _curve(
    *,
    run: Run,
    label: str,
    crop: str,
    index: str,
    points: tuple[CurvePoint, ...],
    earlier: list[tuple[int, tuple[CurvePoint, ...]]],
) -> Curve:
    seasons = [season for _, season in earlier]
    band = band_of([point.day for point in points], seasons)
    return Curve(
        label=label,
        crop=crop,
        index=index,
        run_key=run.key,
        run_title=str(run),
        simulated=run.simulated,
        points=points,
        last_year=next((season for years, season in earlier if years == 1), ()),
        band=band,
        band_seasons=len(seasons) if band else 0,
    )


def is_near(run: Run, lon: float, lat: float) -> bool:
    """Whether a point lies in the run's extent."""
    if run.extent is None:
        return False
    west, south, east, north = run.extent.extent
    return bool(west <= lon <= east and south <= lat <= north)


def image_dates(run: Run) -> tuple[str, str]:
    """First and last image date the curves of a run stand on; empty strings without curves."""
    for raster in run.rasters.filter(kind="index"):
        if raster.dates:
            return raster.dates[0], raster.dates[-1]
    return "", ""


def last_year_values(user: AnyUser, run: Run, product: str) -> dict[tuple[str, str, str], float]:
    """(crop, unit, method) → the value one season earlier."""
    last = next((other for years, other in earlier_runs(user, run) if years == 1), None)
    if last is None:
        return {}
    rows = visible_estimates(user).filter(run=last, product=product).exclude(value=None)
    return {(row.crop, row.unit_adcode, row.method): row.value for row in rows if row.value is not None}


def parcel_choices(run: Run, *, limit: int) -> list[tuple[str, str]]:
    """(code, name) of parcels the run has curves of, also of those whose outline was never imported."""
    codes = (
        Series.objects.filter(run=run, scope="parcel").order_by("scope_id").values_list("scope_id", flat=True)
    )
    chosen = list(codes.distinct()[:limit])
    names = {parcel.code: str(parcel) for parcel in Parcel.objects.filter(code__in=chosen)}
    return [(code, names.get(code, code)) for code in chosen]


def parcels_in(run: Run) -> QuerySet[Parcel]:
    """Parcels of which the run has a curve."""
    codes = Series.objects.filter(run=run, scope="parcel").values("scope_id")
    return Parcel.objects.filter(code__in=codes)


def with_last_year(user: AnyUser, groups: Sequence[Group], run: Run, product: str) -> list[Group]:
    """The same groups with last season's number of the same method beside them, where there is one."""
    values = last_year_values(user, run, product) if product == "area" else {}
    return [
        replace(group, last_year=values.get((group.crop, group.unit_adcode, group.headline.method)))
        for group in groups
    ]
