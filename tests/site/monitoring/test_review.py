"""Who may decide, what a decision does, and two reviewers at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, connection, transaction
from django.test import Client

from accounts.models import User
from monitoring import selectors, services
from monitoring.errors import ReviewConflictError, ReviewError
from monitoring.models import Estimate, Review, Run
from monitoring.services import Seen, accept_estimate, return_estimate, review

URL = "/monitoring/estimates/review/"


@pytest.mark.django_db
def test_accepting_makes_a_number_public_and_returning_takes_it_back(bureau: User, wheat: Estimate) -> None:
    assert not selectors.accepted_estimates().exists()
    accepted = accept_estimate(user=bureau, estimate=wheat, comment="与台账一致")
    assert [row.pk for row in selectors.accepted_estimates()] == [wheat.pk]
    return_estimate(user=bureau, estimate=accepted, reason="confusion", comment="混入苹果")
    assert not selectors.accepted_estimates().exists()
    log = list(
        wheat.reviews.order_by("pk").values_list("decision", "reason", "comment", "state_before", "user")
    )
    assert log == [
        ("accept", "", "与台账一致", "draft", bureau.pk),
        ("return", "confusion", "混入苹果", "accepted", bureau.pk),
    ]
    wheat.refresh_from_db()
    assert (wheat.state, wheat.row_version) == ("returned", 2)


@pytest.mark.django_db
def test_county_staff_decide_on_their_county_and_its_townships(
    county: User, wheat: Estimate, imported: Run
) -> None:
    accept_estimate(user=county, estimate=wheat)
    accept_estimate(user=county, estimate=Estimate.objects.filter(run=imported, unit_adcode="620826100")[0])
    for unit in ("region", "620822", "parcel:P-001"):
        row = Estimate.objects.filter(run=imported, unit_adcode=unit)[0]
        with pytest.raises(PermissionDenied):
            accept_estimate(user=county, estimate=row)
    assert Review.objects.count() == 2


@pytest.mark.django_db
def test_nobody_else_decides(others: dict[str, User], wheat: Estimate) -> None:
    for user in others.values():
        with pytest.raises(PermissionDenied):
            accept_estimate(user=user, estimate=wheat)
        with pytest.raises(PermissionDenied):
            return_estimate(user=user, estimate=wheat, reason="other")
    wheat.refresh_from_db()
    assert (wheat.state, wheat.row_version, Review.objects.count()) == ("draft", 0, 0)


@pytest.mark.django_db
def test_the_same_over_http(
    client: Client, bureau: User, county: User, others: dict[str, User], wheat: Estimate
) -> None:
    form = {"seen": f"{wheat.pk}:0", "decision": "accept"}
    assert client.post(URL, form).status_code == 302  # to the login
    assert "/accounts/login/" in client.post(URL, form).url
    for user in others.values():
        client.force_login(user)
        assert client.post(URL, form).status_code == 403
    wheat.refresh_from_db()
    assert wheat.state == "draft"
    client.force_login(county)
    answer = client.post(URL, {**form, "next": "https://evil.example/"})
    assert (answer.status_code, answer.url) == (302, "/monitoring/estimates/")
    wheat.refresh_from_db()
    assert wheat.state == "accepted"
    client.force_login(bureau)
    assert client.get(URL).status_code == 405
    answer = client.post(URL, {"seen": f"{wheat.pk}:0", "decision": "accept"}, follow=True)
    assert "已先作出决定" in answer.content.decode()


@pytest.mark.django_db
def test_a_stale_form_is_told_who_was_first(bureau: User, county: User, wheat: Estimate) -> None:
    stale = Estimate.objects.get(pk=wheat.pk)
    accept_estimate(user=county, estimate=wheat)
    with pytest.raises(ReviewConflictError, match=str(county)):
        return_estimate(user=bureau, estimate=stale, reason="other")
    wheat.refresh_from_db()
    assert (wheat.state, Review.objects.count()) == ("accepted", 1)


@pytest.mark.django_db
def test_a_group_is_decided_whole_or_not_at_all(county: User, imported: Run, wheat: Estimate) -> None:
    foreign = Estimate.objects.filter(run=imported, unit_adcode="620822")[0]
    with pytest.raises(PermissionDenied):
        review(user=county, seen=[Seen(wheat.pk, 0), Seen(foreign.pk, 0)], decision=Review.Decision.ACCEPT)
    wheat.refresh_from_db()
    assert wheat.state == "draft"
    rows = Estimate.objects.filter(run=imported, product="growth", crop="apple", unit_adcode="620826")
    done = review(user=county, seen=[Seen(row.pk, 0) for row in rows], decision=Review.Decision.ACCEPT)
    assert len(done) == 5
    assert sum(row.value or 0 for row in selectors.accepted_estimates(product="growth")) == pytest.approx(100)


@pytest.mark.django_db
@pytest.mark.parametrize(("reason", "said"), [("", "原因"), ("because", "because")])
def test_a_return_needs_a_known_reason(bureau: User, wheat: Estimate, reason: str, said: str) -> None:
    with pytest.raises(ReviewError, match=said):
        return_estimate(user=bureau, estimate=wheat, reason=reason)
    assert not Review.objects.exists()


@pytest.mark.django_db
def test_nothing_to_decide_is_said(client: Client, bureau: User, wheat: Estimate) -> None:
    with pytest.raises(ReviewError):
        review(user=bureau, seen=[], decision=Review.Decision.ACCEPT)
    accepted = accept_estimate(user=bureau, estimate=wheat)
    with pytest.raises(ReviewError, match="没有改动"):
        accept_estimate(user=bureau, estimate=accepted)
    client.force_login(bureau)
    answer = client.post(URL, {"seen": "one:two", "decision": "accept"}, follow=True)
    assert "表单内容不完整" in answer.content.decode()


@pytest.mark.django_db
def test_the_log_cannot_be_changed(bureau: User, wheat: Estimate) -> None:
    accept_estimate(user=bureau, estimate=wheat)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        Review.objects.update(comment="nothing happened")
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        Review.objects.all().delete()
    assert Review.objects.get().comment == ""


@pytest.mark.django_db(transaction=True)
def test_two_reviewers_at_once(
    person: Callable[..., User], runs_dir: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the row lock, then sees the new revision: one decision, one conflict."""
    run = services.import_run(path=run_folder).run
    row = Estimate.objects.filter(run=run, unit_adcode="620826")[0]
    first, second = person("bureau"), person("county", county="620826")
    outcome: list[str] = []

    def rival() -> None:
        try:
            return_estimate(user=second, estimate=row, reason="cloud")
            outcome.append("decided")
        except ReviewConflictError as error:
            outcome.append(str(error))
        finally:
            connection.close()

    thread = threading.Thread(target=rival)
    decide = services._decide

    def decide_while_rival_waits(*args: object, **kwargs: object) -> None:
        decide(*args, **kwargs)  # type: ignore[arg-type]
        if not thread.ident:
            thread.start()
            thread.join(0.5)
            assert thread.is_alive()  # it waits for our lock

    monkeypatch.setattr(services, "_decide", decide_while_rival_waits)
    accept_estimate(user=first, estimate=row)
    thread.join(10)
    assert len(outcome) == 1
    assert str(first) in outcome[0]
    row.refresh_from_db()
    assert (row.state, row.row_version, Review.objects.count()) == ("accepted", 1, 1)
