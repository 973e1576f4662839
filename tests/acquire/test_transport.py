"""The transport against a real server that misbehaves."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from loopback import Handler, Site, cut, drip, other, stall, status

from eo_pipeline.acquire import download as download_module
from eo_pipeline.acquire.checks import DamagedError
from eo_pipeline.acquire.pacing import Backoff, Limits, StoppedError, retry_after, watched
from eo_pipeline.acquire.transport import AnswerError, Basic, Bearer, KeycloakToken, Transport, redact
from eo_pipeline.errors import ArchiveError

BAND = random.Random(1).randbytes(300_000)
MD5 = {"md5": hashlib.md5(BAND).hexdigest()}


@pytest.fixture
def band(site: Site) -> str:
    site.files["/b04.jp2"] = BAND
    return f"{site.url}/b04.jp2"


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- small answers
def test_transient_errors_are_tried_again_and_retry_after_is_obeyed(site: Site, transport: Transport) -> None:
    site.files["/q"] = b'{"value": [1]}'
    site.trouble["/q"] = [status(503), status(429, b"Max session number 4 exceeded", Retry_After="0.4")]
    before = time.monotonic()
    assert transport.json(f"{site.url}/q") == {"value": [1]}
    assert time.monotonic() - before >= 0.4
    assert len(site.requests("/q")) == 3


def test_retry_after_reads_seconds_and_dates() -> None:
    now = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after("Fri, 01 May 2026 12:00:30 GMT", now) == 30.0
    assert retry_after("Fri, 01 May 2026 11:00:00 GMT", now) == 0.0
    assert retry_after("120") == 120.0
    assert retry_after("tomorrow") is None


def test_retry_after_is_capped(site: Site, transport: Transport) -> None:
    site.files["/q"] = b"{}"
    site.trouble["/q"] = [status(429, Retry_After="3600")]
    before = time.monotonic()
    transport.get(f"{site.url}/q")
    assert 0.9 <= time.monotonic() - before < 5


def test_404_is_tried_twice_more_and_then_told(site: Site, transport: Transport) -> None:
    with pytest.raises(AnswerError, match="no such file") as caught:
        transport.get(f"{site.url}/gone")
    assert caught.value.status == 404
    assert len(site.requests("/gone")) == 3


def test_403_is_tried_once_more_422_is_not_and_both_quote_the_archive(
    site: Site, transport: Transport
) -> None:
    site.always["/f"] = status(403, b'{"detail":{"code":"DAT-ZIP-111","message":"terms not accepted"}}')
    with pytest.raises(AnswerError, match=r"DAT-ZIP-111: terms not accepted.*accept its terms"):
        transport.get(f"{site.url}/f")
    site.always["/v"] = status(422, b'{"detail":[{"type":"less_than_equal"}]}')
    with pytest.raises(AnswerError, match="less_than_equal"):
        transport.get(f"{site.url}/v")
    assert (len(site.requests("/f")), len(site.requests("/v"))) == (2, 1)


def test_429_that_stays_is_told_with_its_words(site: Site, transport: Transport) -> None:
    site.always["/q"] = status(429, b"Max session number 4 exceeded")
    with pytest.raises(AnswerError, match="Max session number 4 exceeded") as caught:
        transport.get(f"{site.url}/q")
    assert caught.value.status == 429
    assert len(site.requests("/q")) == 6


def test_a_silent_and_a_dripping_server_both_time_out(site: Site, transport: Transport) -> None:
    site.files["/q"] = b'"' + b"x" * 3000 + b'"'
    site.trouble["/q"] = [stall(2.0, after=10), drip(10.0)]
    before = time.monotonic()
    assert len(transport.json(f"{site.url}/q")) == 3000
    assert time.monotonic() - before < 4
    assert len(site.requests("/q")) == 3


def test_the_session_handed_to_libraries_keeps_the_same_promises(site: Site, transport: Transport) -> None:
    site.files["/q"] = b'{"ok": true, "pad": "' + b"x" * 2000 + b'"}'
    site.trouble["/q"] = [status(503), stall(2.0, after=5), drip(10.0), cut(7)]
    before = time.monotonic()
    # no timeout given, as sentinelsat does it
    assert transport.session.get(f"{site.url}/q").json()["ok"] is True
    assert time.monotonic() - before < 5
    assert len(site.requests("/q")) == 5
    # and what stays is the library's to judge
    site.always["/q"] = status(500)
    assert transport.session.get(f"{site.url}/q").status_code == 500


def test_a_host_that_is_not_there_is_told(transport: Transport) -> None:
    with pytest.raises(ArchiveError, match=r"127\.0\.0\.1:9 gave no whole answer in 6 tries"):
        transport.get("http://127.0.0.1:9/x?sig=secret")


def test_no_json_is_told(site: Site, transport: Transport) -> None:
    site.files["/q"] = b"<html>sign in</html>"
    with pytest.raises(ArchiveError, match=r"something else than JSON.*sign in"):
        transport.json(f"{site.url}/q")


def test_connections_per_host_are_limited(site: Site, limits: Limits, tmp_path: Path) -> None:
    site.files["/b"] = bytes(120_000)
    site.pace = 0.01
    transport = Transport(limits=Limits(connections=2, read_timeout=5))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: transport.download(f"{site.url}/b", tmp_path / str(n)), range(8)))
    assert site.most == 2


def test_bandwidth_is_shared_by_all_threads(site: Site, tmp_path: Path) -> None:
    site.files["/b"] = bytes(100_000)
    transport = Transport(limits=Limits(bytes_per_s=400_000))
    before = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: transport.download(f"{site.url}/b", tmp_path / str(n)), range(4)))
    # 400 kB at 400 kB/s, less the quarter of a second that may be made up for
    assert 0.7 <= time.monotonic() - before < 2.5


# ---- who may see what
def test_authorization_goes_to_its_hosts_only_and_never_across_a_redirect(
    make_site: Callable[[], Site], transport: Transport
) -> None:
    ours, store, foreign = make_site(), make_site(), make_site()
    store.files["/x"] = foreign.files["/x"] = b"bytes"
    auth = Bearer("s3cret", hosts=(ours.host, store.host))
    ours.trouble["/x"] = [status(301, Location=f"{store.url}/x"), status(302, Location=f"{foreign.url}/x")]
    assert transport.get(f"{ours.url}/x", auth=auth).content == b"bytes"
    assert store.seen[0].headers["Authorization"] == "Bearer s3cret"
    assert transport.get(f"{ours.url}/x", auth=auth).content == b"bytes"
    assert "Authorization" not in foreign.seen[0].headers
    # a library that follows by itself
    ours.trouble["/x"] = [status(302, Location=f"{foreign.url}/x")]
    transport.session.get(f"{ours.url}/x", headers={"Authorization": "Bearer s3cret"})
    assert "Authorization" not in foreign.seen[1].headers


def test_a_netrc_is_not_sent(
    site: Site, transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    site.files["/q"] = b"{}"
    transport.get(f"{site.url}/q")
    assert "Authorization" not in site.seen[0].headers


def test_tokens_are_not_sent_in_the_clear() -> None:
    from eo_pipeline.acquire.auth import allowed

    auth = Bearer("t", hosts=("archive.example", "127.0.0.1"))
    assert allowed(auth, "https://archive.example/x") and allowed(auth, "http://127.0.0.1:80/x")
    assert not allowed(auth, "http://archive.example/x") and not allowed(auth, "https://evil.example/x")


def test_secrets_are_in_no_message_log_or_pickle(
    site: Site, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    site.always["/q"] = status(403, b'{"detail": "sig=topsecret is old", "token": "topsecret"}')
    with pytest.raises(AnswerError) as caught:
        transport.get(f"{site.url}/q", params={"sig": "topsecret", "se": "2026"})
    assert "sig=***" in str(caught.value)
    token = KeycloakToken(f"{site.url}/token", "me", "topsecret", "TOPSECRET", transport=transport)
    for holder in (token, Bearer("topsecret", ()), Basic("me", "topsecret", ()), transport):
        assert "topsecret" not in repr(holder).lower()
        with pytest.raises(TypeError, match="holds secrets and is not pickled"):
            pickle.dumps(holder)
    with pytest.raises(TypeError):
        pickle.dumps(transport.session)
    assert "topsecret" not in str(caught.value) + caplog.text
    assert "GET /q?sig=***" in caplog.text
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), AnswerError)
    assert redact("https://me:pw@a/x?X-Amz-Signature=1&b=2") == "https://***@a/x?X-Amz-Signature=***&b=2"
    quoted = "url=https%3A%2F%2Fa%2Fx%3Fsig%3Dabc%252B%26se%3D2026%26token%3Dx&b=2"
    assert redact(quoted) == "url=https%3A%2F%2Fa%2Fx%3Fsig%3D***%26se%3D2026%26token%3D***&b=2"


class Sas:
    """Signs like a blob store: the second signature is the good one."""

    def __init__(self, host: str) -> None:
        self.hosts = (host,)
        self.made = 0

    def headers(self, *, refresh: bool = False) -> Mapping[str, str]:
        return {}

    def sign(self, url: str, *, refresh: bool = False) -> str:
        self.made += 1
        return f"{url}?sig={'new' if refresh else 'old'}"


def test_an_expired_signature_is_made_anew_once(site: Site, transport: Transport) -> None:
    site.files["/b"] = b"bytes"

    def guard(handler: Handler) -> bool:
        return not handler.path.endswith("sig=new") and handler.answer(403, b"Signature not valid")

    site.always["/b"] = guard
    sas = Sas(site.host)
    assert transport.get(f"{site.url}/b", auth=sas).content == b"bytes"
    assert sas.made == 2
    site.always["/b"] = status(403)
    with pytest.raises(AnswerError):
        transport.get(f"{site.url}/b", auth=sas)
    assert sas.made == 4


# ---- tokens
class Realm:
    """A token endpoint: counts sessions, knows which tokens live."""

    def __init__(self, site: Site, *, life: float = 600, refresh_life: float = 3600) -> None:
        self.site, self.life, self.refresh_life = site, life, refresh_life
        self.grants: list[str] = []
        self.totps: list[str] = []
        self.valid: set[str] = set()
        self.refreshable = True
        site.always["/token"] = self.token
        site.always["/data"] = self.data

    def token(self, handler: Handler) -> bool:
        from urllib.parse import parse_qs

        form = {key: value[0] for key, value in parse_qs(handler.body.decode()).items()}
        time.sleep(0.05)
        self.grants.append(form["grant_type"])
        if form["grant_type"] == "password":
            self.totps.append(form.get("totp", ""))
            if form["password"] != "right":
                return handler.answer(
                    401, b'{"error":"invalid_grant","error_description":"Invalid user credentials"}'
                )
        elif not self.refreshable:
            return handler.answer(400, b'{"error":"invalid_grant"}')
        access = f"a{len(self.grants)}"
        self.valid.add(access)
        document = {"access_token": access, "expires_in": self.life, "refresh_token": "r",
                    "refresh_expires_in": self.refresh_life}  # fmt: skip
        return handler.answer(200, json.dumps(document).encode())

    def data(self, handler: Handler) -> bool:
        if handler.headers.get("Authorization", "").removeprefix("Bearer ") in self.valid:
            return handler.answer(200, b"{}")
        return handler.answer(401, b'{"detail":{"code":"DAT-ZIP-604","message":"Token not found"}}')


@pytest.fixture
def realm(site: Site) -> Realm:
    return Realm(site)


def token(realm: Realm, transport: Transport, password: str = "right", **more: str) -> KeycloakToken:
    site = realm.site
    return KeycloakToken(f"{site.url}/token", "me", password, transport=transport, hosts=(site.host,), **more)


def test_many_threads_share_one_token_and_one_renewal(realm: Realm, transport: Transport) -> None:
    auth = token(realm, transport)

    def ask(_: int) -> int:
        return transport.get(f"{realm.site.url}/data", auth=auth).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(16))) == {200}
        assert realm.grants == ["password"]
        realm.valid.clear()  # the provider ends the session: all threads are refused at once
        assert set(pool.map(ask, range(16))) == {200}
    assert realm.grants == ["password", "refresh_token"]


def test_a_token_is_renewed_at_four_fifths_of_its_life(realm: Realm, transport: Transport) -> None:
    realm.life = 1.0
    auth = token(realm, transport)
    assert auth.headers()["Authorization"] == "Bearer a1"
    time.sleep(0.5)
    assert auth.headers()["Authorization"] == "Bearer a1"
    time.sleep(0.4)
    assert auth.headers()["Authorization"] == "Bearer a2"
    assert realm.grants == ["password", "refresh_token"]


def test_the_password_is_used_again_only_where_the_refresh_token_is_refused(
    realm: Realm, transport: Transport
) -> None:
    auth = token(realm, transport)
    auth.headers()
    realm.refreshable = False
    auth.headers(refresh=True)
    assert realm.grants == ["password", "refresh_token", "password"]


def test_a_second_401_ends_with_the_archives_words(realm: Realm, transport: Transport) -> None:
    realm.site.always["/data"] = status(401, b'{"detail":{"code":"DAT-ZIP-609","message":"Audience"}}')
    with pytest.raises(AnswerError, match="DAT-ZIP-609: Audience"):
        transport.get(f"{realm.site.url}/data", auth=token(realm, transport))
    assert len(realm.site.requests("/data")) == 2


def test_a_wrong_password_names_the_variables_and_not_itself(realm: Realm, transport: Transport) -> None:
    with pytest.raises(ArchiveError, match=r"Invalid user credentials.*EO_CDSE_USERNAME") as caught:
        token(realm, transport, password="wrong-one").headers()
    assert "wrong-one" not in str(caught.value)
    assert realm.grants == ["password"]


def test_the_second_factor_is_a_code_of_now(realm: Realm, transport: Transport) -> None:
    import pyotp

    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    token(realm, transport, totp_secret=secret).headers()
    assert pyotp.TOTP(secret).verify(realm.totps[0], valid_window=1)
    with pytest.raises(ArchiveError, match="no base32 secret"):
        token(realm, transport, totp_secret="not base 32!").headers()


# ---- files
def test_a_file_arrives_whole_under_its_name(band: str, transport: Transport, tmp_path: Path) -> None:
    got: list[int] = []
    target = tmp_path / "deep" / "b04.jp2"
    transport.download(band, target, size=len(BAND), checksums=MD5, on_bytes=got.append)
    assert target.read_bytes() == BAND
    assert sum(got) == len(BAND)
    assert parts(target.parent) == ["b04.jp2"]


def test_a_truncated_body_goes_on_from_where_it_is(
    site: Site, band: str, transport: Transport, tmp_path: Path
) -> None:
    site.trouble["/b04.jp2"] = [cut(100_000), stall(2.0, after=0), cut(70_000)]
    transport.download(band, tmp_path / "b", size=len(BAND), checksums=MD5)
    assert (tmp_path / "b").read_bytes() == BAND
    ranges = [one.headers.get("Range") for one in site.requests("/b04.jp2")]
    assert ranges[:2] == [None, "bytes=100000-"]


def test_a_200_instead_of_a_206_starts_from_zero(
    site: Site, band: str, transport: Transport, tmp_path: Path
) -> None:
    site.ranges = False
    site.trouble["/b04.jp2"] = [cut(100_000)]
    got: list[int] = []
    transport.download(band, tmp_path / "b", size=len(BAND), on_bytes=got.append)
    assert (tmp_path / "b").read_bytes() == BAND
    assert sum(got) == len(BAND) and min(got) == -100_000


@pytest.mark.parametrize("etags", [True, False])
def test_a_file_that_changed_meanwhile_is_not_glued(
    site: Site, band: str, transport: Transport, tmp_path: Path, etags: bool
) -> None:
    site.etags = etags
    first = bytes(200_000)
    site.trouble["/b04.jp2"] = [lambda handler: handler.serve("", content=first, cut=90_000)]
    transport.download(band, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == BAND


def test_a_206_of_the_wrong_place_is_thrown_away(
    site: Site, band: str, transport: Transport, tmp_path: Path
) -> None:
    wrong = status(206, BAND[5:], Content_Range=f"bytes 5-{len(BAND) - 1}/{len(BAND)}")
    site.trouble["/b04.jp2"] = [cut(100_000), wrong]
    transport.download(band, tmp_path / "b", checksums=MD5)
    assert (tmp_path / "b").read_bytes() == BAND


def test_416_on_a_whole_partial_file_is_the_end_and_else_a_new_begin(
    site: Site, band: str, transport: Transport, tmp_path: Path
) -> None:
    for length in (len(BAND), len(BAND) + 7):
        target = tmp_path / str(length)
        (tmp_path / f"{length}.partial").write_bytes((BAND + b"1234567")[:length])
        (tmp_path / f"{length}.partial.json").write_text(
            json.dumps({"address": band, "etag": "", "modified": "", "length": None})
        )
        transport.download(band, target, checksums=MD5)
        assert target.read_bytes() == BAND
    assert [one.headers.get("Range") for one in site.requests("/b04.jp2")] == [
        f"bytes={len(BAND)}-", f"bytes={len(BAND) + 7}-", None
    ]  # fmt: skip


def test_a_wrong_checksum_is_thrown_away_and_fetched_again(
    site: Site, band: str, transport: Transport, tmp_path: Path
) -> None:
    site.trouble["/b04.jp2"] = [other(BAND[:-1] + b"?")]
    transport.download(band, tmp_path / "b", size=len(BAND), checksums=MD5)
    assert (tmp_path / "b").read_bytes() == BAND
    site.always["/b04.jp2"] = other(BAND[:-1] + b"?")
    with pytest.raises(DamagedError, match=r"3 times something else.*md5"):
        transport.download(band, tmp_path / "c", size=len(BAND), checksums=MD5)
    assert parts(tmp_path) == ["b"]


def test_an_error_page_with_200_is_no_file(
    site: Site, band: str, transport: Transport, tmp_path: Path
) -> None:
    site.trouble["/b04.jp2"] = [other(b"<html>try later</html>")]
    transport.download(band, tmp_path / "b", size=len(BAND))
    assert (tmp_path / "b").read_bytes() == BAND


def test_what_lies_there_is_believed_only_if_it_fits(
    site: Site, band: str, transport: Transport, tmp_path: Path
) -> None:
    target = tmp_path / "b"
    target.write_bytes(BAND)
    transport.download(band, target, size=len(BAND), checksums=MD5)
    assert not site.seen
    target.write_bytes(BAND[:-1] + b"?")
    transport.download(band, target, size=len(BAND), checksums=MD5)
    assert target.read_bytes() == BAND and len(site.seen) == 1


def test_a_token_that_expires_in_the_middle_is_renewed_for_the_rest(
    realm: Realm, band: str, transport: Transport, tmp_path: Path
) -> None:
    site = realm.site

    def guarded(handler: Handler) -> bool:
        if handler.headers.get("Authorization", "").removeprefix("Bearer ") not in realm.valid:
            return handler.answer(401, b'{"detail":{"code":"DAT-ZIP-604"}}')
        realm.valid.clear()
        return handler.serve("/b04.jp2", cut=150_000)

    site.always["/b04.jp2"] = guarded
    transport.download(band, tmp_path / "b", checksums=MD5, auth=token(realm, transport))
    assert (tmp_path / "b").read_bytes() == BAND
    assert realm.grants == ["password", "refresh_token"]


def test_a_full_disk_is_told_and_what_arrived_is_kept(
    band: str, transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a real limit of the kernel in a process of its own: files may not grow beyond 100 kB there
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from eo_pipeline.errors import DiskFullError\n"
        "from eo_pipeline.acquire.transport import Transport\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    Transport().download(sys.argv[1], Path(sys.argv[2]))\n"
        "except DiskFullError as error:\n    print('TOLD', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, band, str(tmp_path / "b")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "b cannot be written (File too large). The disk may be full, " in done.stdout, done.stderr
    assert (tmp_path / "b.partial").read_bytes() == BAND[:100_000]
    transport.download(band, tmp_path / "b", checksums=MD5)
    assert (tmp_path / "b").read_bytes() == BAND


def test_a_stopped_transfer_ends_soon_and_keeps_its_part(
    site: Site, band: str, transport: Transport, tmp_path: Path
) -> None:
    site.pace = 0.02
    stop = threading.Event()
    arrived: list[int] = []

    def told(count: int) -> None:
        arrived.append(count)
        if sum(arrived) > 60_000:
            stop.set()

    with watched(told, stop), pytest.raises(StoppedError):
        transport.download(band, tmp_path / "b")
    kept = (tmp_path / "b.partial").read_bytes()
    assert 60_000 < len(kept) < len(BAND) and BAND.startswith(kept)


_DOWNLOAD = (
    "import sys; from pathlib import Path\n"
    "from eo_pipeline.acquire.transport import Transport\n"
    "print('up', flush=True)\n"
    "Transport().download(sys.argv[1], Path(sys.argv[2]), checksums={'md5': sys.argv[3]})\n"
)


def _start(band: str, target: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _DOWNLOAD, band, str(target), MD5["md5"]], stdout=subprocess.PIPE, text=True
    )


def test_a_killed_download_goes_on_where_it_was(
    site: Site, band: str, transport: Transport, tmp_path: Path
) -> None:
    site.pace = 0.03
    target, partial = tmp_path / "b", tmp_path / "b.partial"
    process = _start(band, target)
    deadline = time.monotonic() + 30
    while not (partial.exists() and partial.stat().st_size > 50_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    while site.busy:  # the server notices late that nobody listens
        time.sleep(0.01)
    kept = partial.stat().st_size
    assert 50_000 < kept < len(BAND) and not target.exists()
    site.pace, site.sent = 0.0, 0
    transport.download(band, target, checksums=MD5)
    assert target.read_bytes() == BAND
    assert site.sent == len(BAND) - kept
    assert parts(tmp_path) == ["b"]


def test_two_processes_at_one_file_bring_it_once(site: Site, band: str, tmp_path: Path) -> None:
    site.pace = 0.02
    target = tmp_path / "b"
    processes = [_start(band, target) for _ in range(2)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert target.read_bytes() == BAND
    assert site.sent == len(BAND)
    assert parts(tmp_path) == ["b"]


def test_backoff_waits_with_full_jitter_below_its_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("eo_pipeline.acquire.pacing.pause", waits.append)
    for _ in range(300):
        backoff = Backoff(Limits(attempts=6, backoff_s=1, backoff_cap_s=4))
        while backoff.again(503):
            pass
    third = waits[2::5]
    assert len(waits) == 1500 and max(waits) <= 4
    assert min(third) < 0.5 and 1.7 < sum(third) / len(third) < 2.3


def test_a_certificate_nobody_trusts_is_not_tried_again(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise requests.exceptions.SSLError("certificate verify failed")

    monkeypatch.setattr(transport.session, "request", refuse)
    with pytest.raises(ArchiveError, match="REQUESTS_CA_BUNDLE"):
        transport.get("https://127.0.0.1/x")


def test_the_lock_file_does_not_stay_in_the_way(tmp_path: Path) -> None:
    target = tmp_path / "b"
    (tmp_path / "b.lock").touch()  # of a process that died
    with download_module.locked(target):
        assert (tmp_path / "b.lock").exists()
    assert parts(tmp_path) == []
