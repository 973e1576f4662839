"""A table of a TOML file that users write, read key by key with errors that name the place and the cure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, cast

from eo_pipeline.errors import SeasonFileError, StorageError
from eo_pipeline.storage import Folder

#: Stands for the default of a key that must be there.
MISSING: Final = object()


class Table:
    """A TOML table read key by key; every complaint names file, table and key."""

    def __init__(self, file: Path, name: str, values: object, accepted: Iterable[str]) -> None:
        self.file, self.name = file, name
        if not isinstance(values, dict):
            raise SeasonFileError(
                f"{file}: [{name}] must be a table; write its keys below a line “[{name}]”."
            )
        self.values = cast(dict[str, Any], values)
        known = list(accepted)
        for key in self.values:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                hint = f" Did you mean “{near[0]}”?" if near else ""
                where = f"[{name}]" if name else "the top level"
                raise SeasonFileError(
                    f"{file}: {where} has the unknown key “{key}”.{hint} Accepted keys: {', '.join(known)}."
                )

    def fail(self, key: str, message: str) -> SeasonFileError:
        return SeasonFileError(f"{self.file}: [{self.name}] {key} {message}")

    def _get(self, key: str, default: object) -> Any:
        if key in self.values:
            return self.values[key]
        if default is MISSING:
            raise self.fail(key, f"is missing; add “{key} = …” to [{self.name}].")
        return default

    def typed(self, key: str, default: object, kind: type | tuple[type, ...], what: str) -> Any:
        value = self._get(key, default)
        if key not in self.values:
            return value
        # bool is an int to Python, never to the writer of a season file
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.fail(key, f"= {value!r} is not {what}.")
        return value

    def text(self, key: str, default: object = MISSING) -> str:
        value = self.typed(key, default, str, "a text; put it in quotes")
        if key in self.values and not str(value).strip():
            raise self.fail(key, "is empty; give it a value or leave the line out.")
        return cast(str, value)

    def choice(self, key: str, accepted: tuple[str, ...], default: object = MISSING) -> str:
        value = self.text(key, default)
        if value not in accepted:
            near = difflib.get_close_matches(value, accepted, n=1)
            hint = f" Did you mean “{near[0]}”?" if near else ""
            raise self.fail(key, f"= {value!r} is not accepted.{hint} Accepted: {', '.join(accepted)}.")
        return value

    def flag(self, key: str, default: bool) -> bool:
        return cast(bool, self.typed(key, default, bool, "true or false"))

    def number(
        self, key: str, default: object = MISSING, *, low: float | None = None, high: float | None = None
    ) -> float:
        value = self.typed(key, default, (int, float), "a number")
        # nan, which TOML knows, is neither below nor above anything
        if not ((low is None or value >= low) and (high is None or value <= high)):
            raise self.fail(key, f"= {value} is out of range; accepted: {low} to {high}.")
        return float(value)

    def whole(self, key: str, default: object = MISSING, *, low: int, high: int) -> int:
        value = self.typed(key, default, int, "a whole number")
        if not low <= value <= high:
            raise self.fail(key, f"= {value} is out of range; accepted: {low} to {high}.")
        return int(value)

    def day(self, key: str) -> date:
        value = self._get(key, MISSING)
        return self._as_day(key, value)

    def _as_day(self, key: str, value: object) -> date:
        if isinstance(value, datetime) or not isinstance(value, date):
            raise self.fail(key, f"= {value!r} is not a date; write it as 2026-10-31, without quotes.")
        return value

    def days(self, key: str) -> tuple[date, ...]:
        return tuple(self._as_day(key, value) for value in self.typed(key, [], list, "a list of dates"))

    def texts(self, key: str, default: object = MISSING) -> tuple[str, ...]:
        value = self.typed(key, default, list, "a list of texts")
        for item in value:
            if not isinstance(item, str) or not item:
                raise self.fail(key, f"holds {item!r}, which is not a text; put it in quotes.")
        if len(set(value)) != len(value):
            raise self.fail(key, "names something twice; keep each once.")
        return tuple(value)

    def place(self, key: str, default: object = MISSING, *, must_exist: bool = True) -> Path | None:
        """A path, relative to the season file; None where the optional key is absent."""
        if key not in self.values and default is None:
            return None
        return self._resolve(key, self.text(key, default), must_exist=must_exist)

    def places(self, key: str) -> tuple[Path, ...]:
        return tuple(self._resolve(key, item, must_exist=True) for item in self.texts(key, []))

    def storage(self, key: str) -> Folder | None:
        """A path, relative to the season file, or an s3:// URL; None where the key is absent."""
        text = self.text(key, "")
        if "://" not in text:
            return Folder.of(self._resolve(key, text, must_exist=False)) if text else None
        try:
            return Folder.of(text)
        except StorageError as error:
            raise self.fail(key, f"= {text!r}: {error}") from None

    def _resolve(self, key: str, text: str, *, must_exist: bool) -> Path:
        if "://" in text:
            raise self.fail(key, f"= {text!r} must be a local path; only [output] work may lie in S3.")
        try:
            path = Path(text).expanduser()
        except RuntimeError:
            raise self.fail(key, f"= {text!r}: there is no such user; write the path out.") from None
        resolved = (path if path.is_absolute() else self.file.parent / path).resolve()
        if must_exist and not resolved.exists():
            raise self.fail(
                key,
                f"= {text!r}: {resolved} does not exist. Correct the path; it is relative to the season "
                "file.",
            )
        return resolved
