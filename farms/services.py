"""Every write of the farms room: one function a use case, one transaction each."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from django.db import transaction
from django.utils.translation import gettext as _

from farms.errors import BatchStateError, CertificateMissingError, OriginMismatchError
from farms.models import Batch, Grower, Orchard, ProductKind
from places.models import Unit


@transaction.atomic
def register_grower(
    *,
    code: str,
    name: str,
    kind: Grower.Kind,
    county: Unit,
    credit_code: str = "",
    township: Unit | None = None,
    name_en: str = "",
    intro: str = "",
    intro_en: str = "",
    sample: bool = False,
) -> Grower:
    """Enter a grower; the credit code is checked (GB 32100) and may be registered once.

    Raises
    ------
    ValidationError
        A field that does not hold; nothing is written.
    """
    grower = Grower(
        code=code,
        name=name,
        name_en=name_en,
        kind=kind,
        credit_code=credit_code,
        county=county,
        township=township,
        intro=intro,
        intro_en=intro_en,
        sample=sample,
    )
    grower.full_clean()
    grower.save(force_insert=True)
    return grower


@transaction.atomic
def register_orchard(
    *,
    code: str,
    name: str,
    grower: Grower,
    township: Unit,
    area_mu: Decimal,
    variety: str,
    planting_year: int,
    rootstock: str = "",
    parcel_code: str = "",
    hail_net: bool = False,
    elevation_m: int | None = None,
    name_en: str = "",
    variety_en: str = "",
    sample: bool = False,
) -> Orchard:
    """Enter an orchard of a grower; its township must lie in the grower's county.

    Raises
    ------
    ValidationError
        A field that does not hold; nothing is written.
    """
    orchard = Orchard(
        code=code,
        name=name,
        name_en=name_en,
        grower=grower,
        township=township,
        area_mu=area_mu,
        variety=variety,
        variety_en=variety_en,
        planting_year=planting_year,
        rootstock=rootstock,
        parcel_code=parcel_code,
        hail_net=hail_net,
        elevation_m=elevation_m,
        sample=sample,
    )
    orchard.full_clean()
    orchard.save(force_insert=True)
    return orchard


@transaction.atomic
def link_parcel(*, orchard: Orchard, parcel_code: str) -> Orchard:
    """Say which parcel of the monitoring room an orchard stands on; an empty code takes the link away."""
    orchard.parcel_code = parcel_code
    orchard.full_clean()
    orchard.save(update_fields=["parcel_code"])
    return orchard


@transaction.atomic
def record_batch(
    *,
    code: str,
    grower: Grower,
    kind: ProductKind,
    harvest_date: dt.date,
    quantity_kg: Decimal,
    orchard: Orchard | None = None,
    grade: str = "",
    pledge_certificate: str = "",
    sample: bool = False,
) -> Batch:
    """Enter a batch; it is held until `release_batch`.

    Raises
    ------
    OriginMismatchError
        The orchard is another grower's.
    ValidationError
        A field that does not hold, among them a mass that is not above zero.
    """
    if orchard is not None and orchard.grower_id != grower.pk:
        raise OriginMismatchError(
            _("果园 %(orchard)s 不属于 %(grower)s；请选这个主体自己的果园。")
            % {"orchard": orchard.code, "grower": grower}
        )
    batch = Batch(
        code=code,
        grower=grower,
        orchard=orchard,
        kind=kind,
        harvest_date=harvest_date,
        quantity_kg=quantity_kg,
        grade=grade,
        pledge_certificate=pledge_certificate,
        sample=sample,
    )
    batch.full_clean()
    batch.save(force_insert=True)
    return batch


@transaction.atomic
def release_batch(*, batch: Batch) -> Batch:
    """Let a held batch be sold. Registered growers need the pledge certificate's number first.

    Raises
    ------
    BatchStateError
        The batch is not held.
    CertificateMissingError
        A firm, co-op or family farm gave no certificate number.
    """
    locked = Batch.objects.select_for_update(of=("self",)).select_related("grower").get(pk=batch.pk)
    if locked.state != Batch.State.HELD:
        raise BatchStateError(
            _("批次 %(code)s 现为“%(state)s”，只有待放行的批次可以放行。")
            % {"code": locked.code, "state": locked.get_state_display()}
        )
    if locked.grower.kind != Grower.Kind.SELF_PRODUCER and not locked.pledge_certificate:
        raise CertificateMissingError(
            _("批次 %(code)s 还没有承诺达标合格证编号；请先开具合格证并填写编号，再放行。")
            % {"code": locked.code}
        )
    locked.state = Batch.State.RELEASED
    locked.save(update_fields=["state"])
    batch.state = locked.state
    return locked


@transaction.atomic
def recall_batch(*, batch: Batch, reason: str) -> Batch:
    """Take a batch off sale for good. The showroom refuses orders of it from the next request on.

    Raises
    ------
    BatchStateError
        The batch is recalled already, or no reason was given.
    """
    if not reason.strip():
        raise BatchStateError(_("召回批次 %(code)s 须写明原因。") % {"code": batch.code})
    locked = Batch.objects.select_for_update().get(pk=batch.pk)
    if locked.state == Batch.State.RECALLED:
        raise BatchStateError(_("批次 %(code)s 已经召回。") % {"code": locked.code})
    locked.state, locked.recall_reason = Batch.State.RECALLED, reason.strip()
    locked.save(update_fields=["state", "recall_reason"])
    batch.state, batch.recall_reason = locked.state, locked.recall_reason
    return locked
