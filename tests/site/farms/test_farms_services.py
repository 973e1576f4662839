"""Growers, orchards and batches: what is taken in and what is refused."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction

from farms import services
from farms.errors import BatchStateError, CertificateMissingError, OriginMismatchError
from farms.models import Batch, Grower, Orchard, ProductKind
from places.models import Unit

pytestmark = pytest.mark.django_db


def _batch(grower: Grower, **changes: Any) -> Batch:
    fields: dict[str, Any] = {
        "code": "T-2610",
        "grower": grower,
        "kind": ProductKind.APPLE,
        "harvest_date": dt.date(2026, 10, 18),
        "quantity_kg": Decimal("1000"),
    }
    return services.record_batch(**fields | changes)


def test_a_credit_code_is_registered_once(grower: Grower, jingning: Unit) -> None:
    with pytest.raises(ValidationError, match="已登记"):
        services.register_grower(
            code="T-C02",
            name="另一家",
            kind=Grower.Kind.COOP,
            credit_code=grower.credit_code,
            county=jingning,
        )
    assert Grower.objects.count() == 1


def test_only_self_producers_do_without_a_credit_code(jingning: Unit) -> None:
    with pytest.raises(ValidationError, match="须填写统一社会信用代码"):
        services.register_grower(code="T-C03", name="无代码", kind=Grower.Kind.FIRM, county=jingning)
    farmer = services.register_grower(
        code="T-S01", name="农户", kind=Grower.Kind.SELF_PRODUCER, county=jingning
    )
    assert farmer.credit_code == ""


def test_a_township_of_another_county_is_refused(weirong: Unit, zhuanglang: Unit) -> None:
    with pytest.raises(ValidationError, match="不属于"):
        services.register_grower(
            code="T-S02", name="农户", kind=Grower.Kind.SELF_PRODUCER, county=zhuanglang, township=weirong
        )


@pytest.mark.parametrize("quantity", ["0", "-1"])
def test_a_batch_weighs_something(grower: Grower, quantity: str) -> None:
    with pytest.raises(ValidationError, match="大于 0 公斤"):
        _batch(grower, quantity_kg=Decimal(quantity))
    assert Batch.objects.count() == 0


def test_the_database_itself_refuses_a_weightless_batch(grower: Grower) -> None:
    batch = _batch(grower)
    with pytest.raises(IntegrityError, match="batch_mass_positive"), transaction.atomic():
        connection.cursor().execute("update farms_batch set quantity_kg = 0 where id = %s", [batch.pk])
    batch.refresh_from_db()
    assert batch.quantity_kg == Decimal("1000")


def test_a_batch_names_an_orchard_of_its_grower(orchard: Orchard, jingning: Unit) -> None:
    other = services.register_grower(
        code="T-S03", name="农户", kind=Grower.Kind.SELF_PRODUCER, county=jingning
    )
    with pytest.raises(OriginMismatchError, match=orchard.code):
        _batch(other, orchard=orchard)


def test_release_needs_the_certificate_of_a_registered_grower(grower: Grower) -> None:
    batch = _batch(grower)
    with pytest.raises(CertificateMissingError, match="承诺达标合格证"):
        services.release_batch(batch=batch)
    batch.refresh_from_db()
    assert batch.state == Batch.State.HELD


def test_held_released_recalled_and_no_way_back(grower: Grower) -> None:
    batch = _batch(grower, pledge_certificate="示例-1")
    assert batch.state == Batch.State.HELD
    services.release_batch(batch=batch)
    with pytest.raises(BatchStateError, match="已放行"):
        services.release_batch(batch=batch)
    with pytest.raises(BatchStateError, match="原因"):
        services.recall_batch(batch=batch, reason=" ")
    services.recall_batch(batch=batch, reason="农残复检不合格")
    with pytest.raises(BatchStateError, match="已经召回"):
        services.recall_batch(batch=batch, reason="再次")
    with pytest.raises(BatchStateError, match="已召回"):
        services.release_batch(batch=batch)
    batch.refresh_from_db()
    assert (batch.state, batch.recall_reason) == (Batch.State.RECALLED, "农残复检不合格")
