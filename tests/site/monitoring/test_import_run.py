"""`manage.py import_run`: whole or not at all, once, and never over accepted numbers."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
from django.core.management import CommandError, call_command
from runfolder import build_run, dates_of, parcels_file

from accounts.models import User
from eo_pipeline.publish import contract
from monitoring.models import Estimate, Parcel, Review, Run, RunRaster, Series
from monitoring.services import Seen, accept_estimate, import_run, review

pytestmark = pytest.mark.django_db


def command(*arguments: object) -> str:
    out = io.StringIO()
    call_command("import_run", *[str(argument) for argument in arguments], stdout=out)
    return out.getvalue()


def counts() -> tuple[int, ...]:
    return tuple(model.objects.count() for model in (Run, RunRaster, Estimate, Series, Parcel, Review))


def refused(runs_dir: Path, *arguments: object) -> str:
    """The command fails with exit code 2, one paragraph, and nothing new in database or folder."""
    before = counts(), sorted(path.name for path in runs_dir.glob("*"))
    with pytest.raises(CommandError) as caught:
        command(*arguments)
    assert caught.value.returncode == 2
    assert (counts(), sorted(path.name for path in runs_dir.glob("*"))) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def copy(run_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_folder, tmp_path / "copy"))


def reseal(folder: Path, **changes: Any) -> Path:
    """Seal the folder again after a change, as a faulty pipeline would."""
    manifest = contract.read_manifest(folder)
    values = {name: getattr(manifest, name) for name in contract.RunManifest.__dataclass_fields__}
    (folder / contract.MANIFEST).unlink()
    contract.seal(folder, contract.RunManifest(**{**values, **changes}))
    return folder


def test_a_run_comes_in_with_all_its_rows(units: None, runs_dir: Path, run_folder: Path) -> None:
    answer = command(run_folder)
    assert "demo-2026 version 1: imported; 121 estimates, 3 curves, simulated data" in answer
    run = Run.objects.get()
    assert run.simulated
    assert (run.season_start.isoformat(), run.season_end.isoformat()) == ("2025-09-01", "2026-10-31")
    assert run.path == runs_dir / run.folder
    assert (run.path / "crop_type/T1/crop_type.tif").is_file()
    assert contract.verify(run.path).run_id == "demo-2026"
    west, south, east, north = run.extent.extent
    assert 105.64 < west < east < 105.67
    assert 35.43 < south < north < 35.46
    row = Estimate.objects.get(
        product="area", crop="apple", unit_adcode="620826", method="adjusted_count_model_based"
    )
    assert (row.value, row.se, row.ci_low, row.ci_high) == (600.0, 12.0, 576.0, 624.0)
    assert (row.unit, row.n_samples, row.state, row.place_id) == ("ha", 400, "draft", "620826")
    assert row.monitorable_share is None  # NaN is "not given", never a number
    assert (
        Estimate.objects.get(product="stage", unit_adcode="parcel:P-001", class_name="heading").place is None
    )
    curve = Series.objects.get(scope="parcel", scope_id="P-001")
    assert [point[0] for point in curve.points] == dates_of(2026)
    assert curve.points[2][1] is None  # cloudy


def test_importing_again_changes_nothing(imported: Run, runs_dir: Path, run_folder: Path) -> None:
    before = counts()
    assert "already imported" in command(run_folder)
    assert counts() == before
    # the same content from another place is the same run
    assert import_run(path=imported.path).created is False


def test_a_lost_copy_is_brought_back(imported: Run, run_folder: Path) -> None:
    shutil.rmtree(imported.path)
    before = counts()
    assert import_run(path=run_folder).created is False
    assert counts() == before
    assert (imported.path / "run.json").is_file()


@pytest.mark.parametrize(
    "name",
    [
        "run.json", "catalog.json", "estimates.parquet", "series.parquet", "accuracy.json", "report.html",
        "crop_type/T1/crop_type.tif", "crop_type/T1/confidence.tif", "growth/T1/growth.tif",
        "index/T1/ndvi.tif",
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_one_flipped_byte_anywhere_is_refused(
    db: None, runs_dir: Path, copy: Path, name: str, where: float
) -> None:
    raw = bytearray((copy / name).read_bytes())
    raw[int(where * (len(raw) - 1))] ^= 0x01
    (copy / name).write_bytes(raw)
    assert name in refused(runs_dir, copy)


@pytest.mark.parametrize("name", ["estimates.parquet", "growth/T1/growth.tif", "run.json"])
def test_a_missing_file_is_refused(db: None, runs_dir: Path, copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert name in refused(runs_dir, copy)


def test_an_extra_file_is_refused(db: None, runs_dir: Path, copy: Path) -> None:
    (copy / "evil.txt").write_text("x")
    assert "evil.txt is not listed" in refused(runs_dir, copy)


def test_what_is_no_run_folder_is_refused(db: None, runs_dir: Path, tmp_path: Path) -> None:
    assert "is not a folder" in refused(runs_dir, tmp_path / "nowhere")
    assert "run.json" in refused(runs_dir, tmp_path)


def test_a_failure_in_the_database_leaves_no_folder(
    units: None, runs_dir: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr(Series.objects, "bulk_create", fail)
    with pytest.raises(RuntimeError):
        import_run(path=run_folder)
    assert counts()[:4] == (0, 0, 0, 0)
    assert list(runs_dir.iterdir()) == []


def change_table(folder: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    path = folder / name
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    return reseal(folder)


def test_values_that_parse_but_make_no_sense_are_refused(units: None, runs_dir: Path, copy: Path) -> None:
    def twice(table: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([table, table.iloc[:1]])

    assert "two rows" in refused(runs_dir, change_table(copy, "estimates.parquet", twice))


def test_infinite_numbers_are_refused(units: None, runs_dir: Path, copy: Path) -> None:
    message = refused(runs_dir, change_table(copy, "estimates.parquet", lambda t: t.assign(se=np.inf)))
    assert "se is infinite" in message


def test_rows_of_another_run_are_refused(units: None, runs_dir: Path, copy: Path) -> None:
    message = refused(runs_dir, change_table(copy, "series.parquet", lambda t: t.assign(run_id="other")))
    assert "'other'" in message


def test_a_bad_date_is_refused(units: None, runs_dir: Path, copy: Path) -> None:
    message = refused(
        runs_dir, change_table(copy, "estimates.parquet", lambda t: t.assign(period_end="soon"))
    )
    assert "'soon'" in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run_id": "../evil"}, "small letters"),
        ({"season": {"start": "2026-09-01", "end": "2025-09-01"}}, "ends"),
        ({"season": {}}, "season.start"),
        ({"created_at": "2026-11-01T08:00:00"}, "time zone"),
        ({"crops": (contract.MapClass(1, "x", "x", "x", "red;}"),)}, "#rrggbb"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(
    units: None, runs_dir: Path, copy: Path, changes: dict[str, Any], said: str
) -> None:
    if "run_id" in changes:
        for name in ("estimates.parquet", "series.parquet"):
            path = copy / name
            pd.read_parquet(path).assign(run_id=changes["run_id"]).to_parquet(path, index=False)
    assert said in refused(runs_dir, reseal(copy, **changes))


def test_a_large_raster_without_overviews_is_refused(units: None, runs_dir: Path, copy: Path) -> None:
    path = copy / "growth/T1/growth.tif"
    with rasterio.open(path) as image:
        profile = image.profile
    profile.update(driver="GTiff", width=1100, height=1100)
    with rasterio.open(path, "w", **profile) as image:
        image.write(np.ones((1, 1100, 1100), np.uint8))
    assert "without overviews" in refused(runs_dir, reseal(copy))


def test_a_new_version_replaces_drafts(imported: Run, runs_dir: Path, tmp_path: Path) -> None:
    again = build_run(tmp_path / "again", scale=1.1)
    assert "version 2: imported" in command(again)
    imported.refresh_from_db()
    assert not imported.current
    assert set(imported.estimates.values_list("state", flat=True)) == {"superseded"}
    new = Run.objects.get(current=True)
    assert new.version == 2
    assert set(new.estimates.values_list("state", flat=True)) == {"draft"}
    assert new.path != imported.path


def test_accepted_numbers_are_not_passed_over_silently(
    imported: Run, runs_dir: Path, tmp_path: Path, bureau: User, wheat: Estimate
) -> None:
    accept_estimate(user=bureau, estimate=wheat)
    again = build_run(tmp_path / "again", scale=1.1)
    assert "--new-version" in refused(runs_dir, again)
    # told to: the accepted number stays public …
    assert "version 2" in command(again, "--new-version")
    from monitoring.selectors import accepted_estimates

    assert [row.value for row in accepted_estimates()] == [900.0]
    # … until the new version's is accepted: then there is one, the new one, and the log says so
    new = Estimate.objects.get(
        run__version=2, product="area", crop="winter_wheat", unit_adcode="620826", method=wheat.method
    )
    accept_estimate(user=bureau, estimate=new)
    assert [row.value for row in accepted_estimates()] == [pytest.approx(990.0)]
    wheat.refresh_from_db()
    assert wheat.state == "superseded"
    assert [entry.decision for entry in wheat.reviews.all()] == ["supersede", "accept"]
    # an old version can no longer be decided on
    from monitoring.errors import ReviewConflictError

    with pytest.raises(ReviewConflictError):
        review(user=bureau, seen=[Seen(wheat.pk, wheat.row_version)], decision=Review.Decision.ACCEPT)


def test_parcels_come_in_with_their_township(imported: Run, tmp_path: Path, run_folder: Path) -> None:
    path = parcels_file(tmp_path / "parcels.geojson")
    assert "2 parcel outlines imported" in command(run_folder, "--parcels", path)
    parcel = Parcel.objects.get(pk="P-001")
    assert parcel.area_ha == pytest.approx(4.0, rel=0.002)  # 200 m × 200 m, UTM scale aside
    assert parcel.place is not None
    assert parcel.place.adcode.startswith("620826")
    assert parcel.simulated
    command(run_folder, "--parcels", path)
    assert Parcel.objects.count() == 2


def test_bad_parcel_files_are_refused(
    imported: Run, runs_dir: Path, run_folder: Path, tmp_path: Path
) -> None:
    path = parcels_file(tmp_path / "parcels.geojson")
    assert "--id-field" in refused(runs_dir, run_folder, "--parcels", path, "--id-field", "nr")
    document = json.loads(path.read_text())
    document["features"][1]["properties"]["id"] = "P-001"
    path.write_text(json.dumps(document))
    assert "comes twice" in refused(runs_dir, run_folder, "--parcels", path)
    document["features"][1] = {
        "type": "Feature", "properties": {"id": "P-9"}, "geometry": {"type": "Point",
        "coordinates": [105.6, 35.4]}
    }  # fmt: skip
    path.write_text(json.dumps(document))
    assert "not a polygon" in refused(runs_dir, run_folder, "--parcels", path)
