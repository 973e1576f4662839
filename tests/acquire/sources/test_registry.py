"""From season files and the environment to archives, and the commands that show and search them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import shapely.geometry
import typer
from source_server import Answer, Asked, Loopback
from test_cdse import Catalogue, entry
from test_stac import Api, item, landing
from typer.testing import CliRunner

from eo_pipeline import cli_sources
from eo_pipeline.acquire.fetch import Fetcher
from eo_pipeline.acquire.products import Query
from eo_pipeline.acquire.screening import Region
from eo_pipeline.acquire.sources.cdse import CdseArchive
from eo_pipeline.acquire.sources.registry import known_sources, open_archive, open_archives, season_query
from eo_pipeline.acquire.sources.stac import StacArchive
from eo_pipeline.acquire.transport import Transport
from eo_pipeline.acquire.wanted import WantedBands
from eo_pipeline.errors import ArchiveError, SeasonFileError
from eo_pipeline.season import Season, read_season
from eo_pipeline.season_source import KINDS

ACCOUNT = {"EO_CDSE_USERNAME": "user", "EO_CDSE_PASSWORD": "hidden-word"}
_SEASON = """
[season]
id = "jingning-2024"
title = "静宁 2024"
start = 2024-06-01
end = 2024-07-31
step = "dekad"

[region]
name = "静宁县"
bbox = [105.2, 35.2, 105.8, 35.8]

[source]
{source}

[[classes]]
code = 1
name = "wheat"
zh = "小麦"
en = "wheat"
colour = "#ffcc00"
crop = true

[area]

[growth]
index = "NDVI"

[output]
root = "runs"
"""


def season_file(folder: Path, source: str) -> Path:
    path = folder / "season.toml"
    path.write_text(_SEASON.format(source=source), encoding="utf-8")
    return path


def season(folder: Path, source: str) -> Season:
    return read_season(season_file(folder, source))


class Both:
    """A host with the services of CDSE and a STAC API, as `eo archive` lays them out."""

    def __init__(self, server: Loopback) -> None:
        first = datetime(2024, 6, 1, 3, 35, 41, tzinfo=UTC)
        rows = [entry(n, first + timedelta(days=5 * n)) for n in range(9)]
        self.odata = Catalogue(rows)
        self.stac = Api(server.url, [item(server.url, n, first + timedelta(days=5 * n)) for n in range(9)])
        self.down: tuple[str, ...] = ()
        self.tokens = 0

    def __call__(self, asked: Asked) -> Answer:
        if asked.path.startswith(self.down or ("/none",)):
            return Answer({"detail": "down"}, 503)
        if asked.path.endswith("/token"):
            self.tokens += 1
            return Answer({"access_token": "a-token", "expires_in": 600})
        if asked.path.startswith("/odata"):
            return self.odata(asked) if "$filter" in asked.query else Answer({"value": []})
        return self.stac(asked)


# ---- archives
def test_every_kind_of_a_season_file_is_known() -> None:
    assert {source.name for source in known_sources()} == set(KINDS) - {"folder"}


def test_providers_in_their_order(server: Loopback, quick: Transport, tmp_path: Path) -> None:
    # given
    source = f'kind = "cdse"\nroot = "safe"\nurl = "{server.url}/"\nfallback = ["earth-search"]'
    # when
    first, second = open_archives(season(tmp_path, source), transport=quick, environment=ACCOUNT)
    # then
    assert isinstance(first, CdseArchive)
    assert isinstance(second, StacArchive)
    assert [first.name, second.name] == ["cdse", "earth-search"]
    assert first._addresses.token == f"{server.url}/auth/realms/CDSE/protocol/openid-connect/token"
    assert first._addresses.catalogue == f"{server.url}/odata/v1"
    assert second._url == "https://earth-search.aws.element84.com/v1"  # url is the first one's alone


def test_one_token_for_the_process(server: Loopback, quick: Transport) -> None:
    one, two = (open_archive("cdse", transport=quick, url=server.url, environment=ACCOUNT) for _ in range(2))
    assert isinstance(one, CdseArchive)
    assert isinstance(two, CdseArchive)
    assert one._auth is two._auth is not None
    other = open_archive(
        "cdse", transport=quick, url=server.url, environment=ACCOUNT | {"EO_CDSE_USERNAME": "else"}
    )
    assert isinstance(other, CdseArchive)
    assert other._auth is not one._auth
    assert "hidden-word" not in repr(one._auth)


@pytest.mark.parametrize(
    ("url", "root", "sas"),
    [
        ("", "https://planetarycomputer.microsoft.com/api/stac/v1", "https://planetarycomputer.microsoft.com/api/sas/v1"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9/stac/v1", "http://127.0.0.1:9/api/sas/v1"),
        ("http://127.0.0.1:9/stac/v1/", "http://127.0.0.1:9/stac/v1", "http://127.0.0.1:9/api/sas/v1"),
        ("http://127.0.0.1:9/api/stac/v1", "http://127.0.0.1:9/api/stac/v1", "http://127.0.0.1:9/api/sas/v1"),
    ],
)  # fmt: skip
def test_addresses_of_planetary_computer(quick: Transport, url: str, root: str, sas: str) -> None:
    archive = open_archive(
        "planetary-computer", transport=quick, environment={"EO_PLANETARY_COMPUTER_URL": url}
    )
    assert isinstance(archive, StacArchive)
    assert archive._url == root
    assert repr(archive._sas) == f"SasTokens({sas})"


def test_settings_of_the_environment(quick: Transport) -> None:
    environment = {"EO_CDSE_URL": "http://127.0.0.1:9", "EO_CDSE_SEARCH": "stac", **ACCOUNT}
    archive = open_archive("cdse", transport=quick, environment=environment)
    assert isinstance(archive, CdseArchive)
    assert archive._search_by == "stac"
    assert archive._addresses.stac == "http://127.0.0.1:9/stac/v1"
    with pytest.raises(ArchiveError, match="set it to odata or stac"):
        open_archive("cdse", transport=quick, environment={"EO_CDSE_SEARCH": "opensearch"})
    with pytest.raises(ArchiveError, match="EO_CDSE_S3_KEY"):
        open_archive("cdse", transport=quick, environment={"EO_CDSE_ROUTE": "s3"})
    keys = {"EO_CDSE_ROUTE": "s3", "EO_CDSE_S3_KEY": "k", "EO_CDSE_S3_SECRET": "hidden-word"}
    archive = open_archive("cdse", transport=quick, environment=keys)
    assert isinstance(archive, CdseArchive)
    assert archive._route == "s3"
    with pytest.raises(ArchiveError, match="no web address"):
        open_archive("cdse", transport=quick, environment={"EO_CDSE_URL": "ftp.example"})
    with pytest.raises(ArchiveError, match="holds a user name or password") as caught:
        open_archive(
            "dhus", transport=quick, environment={"EO_DHUS_URL": "https://me:hidden-word@dhus.example"}
        )
    assert "hidden-word" not in str(caught.value)
    with pytest.raises(ArchiveError, match="set \\[source\\] url"):
        open_archive("dhus", transport=quick, environment={})
    with pytest.raises(ArchiveError, match="No source is called 'scihub'"):
        open_archive("scihub", transport=quick, environment={})


def test_query_of_a_season(tmp_path: Path) -> None:
    source = 'kind = "earth-search"\nroot = "cogs"\ntiles = ["48SWE"]\nmax_cloud = 60'
    query = season_query(season(tmp_path, source))
    assert (query.collection, query.tiles, query.max_cloud) == ("sentinel-2-l2a", ("48SWE",), 60.0)
    assert (query.start.isoformat(), query.end.isoformat()) == ("2024-06-01", "2024-07-31")
    assert query.geometry.startswith("POLYGON ((105.8 35.2")
    # without names it is the tiles whose squares the region touches, as the cube has them: the products of
    # 48SWE reach over this box, too
    near = season_file(tmp_path, 'kind = "earth-search"\nroot = "cogs"')
    text = near.read_text(encoding="utf-8").replace(
        "[105.2, 35.2, 105.8, 35.8]", "[106.15, 35.42, 106.43, 35.68]"
    )
    near.write_text(text, encoding="utf-8")
    assert season_query(read_season(near)).tiles == ("48SXE",)


@pytest.mark.parametrize(
    "more", ["", '\nfallback = ["cdse"]\n[source.radar]\nkind = "planetary-computer"\nroot = "r"']
)
def test_an_address_with_a_password_is_refused_and_not_shown(tmp_path: Path, more: str) -> None:
    kind = "earth-search" if more else "stac"
    url = 'url = "https://me:hidden-word@stac.example/v1"'
    lines = f'kind = "{kind}"\nroot = "cogs"' + (f"{more}\n{url}" if more else f"\n{url}")
    with pytest.raises(SeasonFileError, match="url holds a user name or password") as caught:
        season(tmp_path, lines)
    assert "hidden-word" not in str(caught.value)


def test_folder_has_nothing_to_search(tmp_path: Path, quick: Transport) -> None:
    (tmp_path / "safe").mkdir()
    read = season(tmp_path, 'kind = "folder"\nroot = "safe"\nlayout = "safe"')
    assert open_archives(read, transport=quick) == ()
    with pytest.raises(SeasonFileError, match="nothing to search"):
        season_query(read)


@pytest.mark.realdata
def test_real_rasters_come_through_the_whole_chain(
    server: Loopback, quick: Transport, shared_data: Path, tmp_path: Path
) -> None:
    # given a real item of Earth Search and its rasters, served from loopback
    folder = shared_data / "s2-cog-29RKH"
    row = json.loads((folder / "S2A_29RKH_20200219_0_L2A.json").read_text())
    row["collection"] = "sentinel-2-l2a"
    row["links"] = [{"rel": "self", "href": f"{server.url}/stac/v1/collections/s2/items/{row['id']}"}]
    for asset in row["assets"].values():
        asset["href"] = f"{server.url}/files/{Path(asset['href']).name}"
    api = Api(server.url, [row])

    def answer(asked: Asked) -> Answer:
        if not asked.path.startswith("/files/"):
            return api(asked)
        file = folder / Path(asked.path).name
        return Answer(file.read_bytes()) if file.exists() else Answer(status=404)

    server.answer = answer
    archive = open_archive("earth-search", transport=quick, url=server.url, environment={})
    west, south, east, north = shapely.geometry.shape(row["geometry"]).bounds
    region = Region("region", np.array([shapely.box(west, south, east, north)], dtype=object))
    # when
    fetcher = Fetcher(
        [archive],
        root=tmp_path,
        query=Query("sentinel-2-l2a", region.wkt, date(2020, 2, 1), date(2020, 2, 29)),
        wanted=WantedBands(("B04", "B11"), region, 100.0),
    )
    (scene,) = fetcher.run().scenes
    # then
    assert (scene.tile, scene.source, scene.state) == ("29RKH", "earth-search", "done")
    assert scene.blocked == pytest.approx(4.060371398900468)
    place = tmp_path / "sentinel-2-l2a" / "29RKH" / row["id"]
    for name in ("B04.tif", "B11.tif", "SCL.tif"):
        assert (place / name).read_bytes() == (folder / name).read_bytes()
    assert json.loads((place / "item.json").read_text()) == row


# ---- commands
@pytest.fixture
def eo(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the sources' commands; every variable of a source is unset."""
    for name in ("USERNAME", "PASSWORD", "TOTP_SECRET", "S3_KEY", "S3_SECRET", "URL", "SEARCH", "ROUTE"):
        monkeypatch.delenv(f"EO_CDSE_{name}", raising=False)
    app = typer.Typer()
    cli_sources.register(app)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


def test_search_lists_and_counts(server: Loopback, eo: Any, tmp_path: Path) -> None:
    server.answer = Both(server)
    path = season_file(tmp_path, f'kind = "cdse"\nroot = "safe"\nurl = "{server.url}"')
    # for machines
    result = eo("search", path, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["sources"] == ["cdse"]
    assert facts["counts"] == {"48SWE": {"2024-06": 6, "2024-07": 3}}
    assert len(facts["products"]) == 9
    assert facts["products"][1] == {
        "source": "cdse",
        "tile": "48SWE",
        "sensed": "2024-06-06T03:35:41Z",
        "baseline": "05.10",
        "orbit": 61,
        "cloud_cover": 10.0,
        "bytes": 700000001,
        "online": True,
        "name": "S2A_MSIL2A_20240606T033541_N0510_R061_T48SWE_20240001T000000.SAFE",
        "id": "id-00001",
        "checksums": {},
    }
    # for people
    shown = eo("search", path).stdout
    assert "9 products" in shown
    assert "700 MB" in shown
    assert "2024-06-06 03:35" in shown


def test_search_goes_on_to_the_next_provider(
    server: Loopback, eo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a catalogue that is down, and quick tries
    both = server.answer = Both(server)
    both.down = ("/odata",)
    monkeypatch.setattr("eo_pipeline.acquire.pacing.pause", lambda seconds: None)
    monkeypatch.setenv("EO_EARTH_SEARCH_URL", server.url)
    source = f'kind = "cdse"\nroot = "safe"\nurl = "{server.url}"\nfallback = ["earth-search"]'
    # when
    result = eo("search", season_file(tmp_path, source), "--json")
    # then
    facts = json.loads(result.stdout)
    assert facts["sources"] == ["earth-search"]
    assert facts["failures"][0].startswith("cdse: ")
    assert [p["source"] for p in facts["products"]] == ["earth-search"] * 9
    # when all are asked, an observation counts once
    both.down = ()
    facts = json.loads(eo("search", season_file(tmp_path, source), "--all", "--json").stdout)
    assert len(facts["products"]) == 18
    assert facts["counts"] == {"48SWE": {"2024-06": 6, "2024-07": 3}}
    # when none answers
    both.down = ("/odata", "/stac")
    result = eo("search", season_file(tmp_path, source))
    assert result.exit_code == 2
    assert "No source answered" in result.output


def test_sources_are_tested_and_secrets_kept(
    server: Loopback, eo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given an account, one host that answers, and one that does not
    both = server.answer = Both(server)
    both.down = ("/api/stac",)
    for name in ("CDSE", "EARTH_SEARCH", "EARTH_SEARCH_C1"):
        monkeypatch.setenv(f"EO_{name}_URL", server.url)
    monkeypatch.setenv("EO_PLANETARY_COMPUTER_URL", f"{server.url}/api/stac/v1")
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)
    # when
    result = eo("sources", "--json")
    # then it is no error that one is down
    assert result.exit_code == 0, result.output
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert {name: row["reachable"] for name, row in rows.items()} == {
        "cdse": True,
        "earth-search": True,
        "earth-search-c1": True,
        "planetary-computer": False,
        "stac": None,
        "dhus": None,
    }
    assert rows["cdse"]["message"] == "answers; logged in"
    assert rows["cdse"]["credentials"] == "user (from environment)"
    assert rows["earth-search"]["message"] == "answers as “Loopback API”"
    assert "EO_DHUS_USERNAME" in rows["dhus"]["credentials"]
    assert both.tokens == 1
    for text in (result.output, eo("sources").output):
        assert "hidden-word" not in text
        assert "a-token" not in text


def test_sources_of_a_season(server: Loopback, eo: Any, tmp_path: Path) -> None:
    server.answer = lambda asked: Answer(landing(f"{server.url}/stac/v1"))
    path = season_file(tmp_path, f'kind = "stac"\nroot = "cogs"\nurl = "{server.url}/stac/v1"')
    rows = json.loads(eo("sources", path, "--json").stdout)
    assert [(row["name"], row["reachable"]) for row in rows] == [("stac", True)]
    assert eo("sources", tmp_path / "none.toml").exit_code == 2


def test_help_has_examples(eo: Any) -> None:
    for command in ("sources", "search"):
        assert f"eo {command} examples/" in eo(command, "--help").output
