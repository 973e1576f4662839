"""What the services of one archive share: its products, made files, tokens and faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eo_pipeline.simulate.archive.catalogue import Catalogue, Record
from eo_pipeline.simulate.archive.faults import FaultBox, Target
from eo_pipeline.simulate.archive.files import Workshop
from eo_pipeline.simulate.archive.http import Answer, Realm
from eo_pipeline.simulate.archive.tokens import Signatures, Tokens

#: What every landing page and catalogue says of itself.
LABEL = "模拟数据 simulated"


@dataclass(frozen=True, slots=True)
class Holdings:
    """The archive behind its protocols.

    `user` and `password` are those of the one account; `page_limit` and `skip_limit` are OData's bounds of
    `$top` and `$skip`.
    """

    catalogue: Catalogue
    workshop: Workshop
    tokens: Tokens
    signatures: Signatures
    faults: FaultBox
    user: str
    password: str
    page_limit: int = 1000
    skip_limit: int = 10_000

    def offline(self, record: Record) -> bool:
        """Whether a product lies in the long-term archive for good."""
        return self.faults.is_offline(record.name)


@dataclass(frozen=True, slots=True)
class Route:
    """What a request is for (`target`, `key`: see `FaultBox.draw`), whose rules it follows, its answer."""

    target: Target
    key: str
    realm: Realm
    answer: Callable[[], Answer]
