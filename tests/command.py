"""The `eo` command within the tests' own process."""

from __future__ import annotations

import re

from typer.testing import CliRunner

from eo_pipeline.cli import app
from eo_pipeline.errors import EOPipelineError


def eo(*arguments: object) -> tuple[int, str, str]:
    """Exit code, what it prints, and what it says beside that, in one line."""
    result = CliRunner().invoke(app, [str(item) for item in arguments], env={"COLUMNS": "200"})
    if isinstance(result.exception, EOPipelineError):  # what the command itself prints, leaving with 2
        return 2, result.stdout, re.sub(r"\s+", " ", str(result.exception))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, re.sub(r"\s+", " ", result.stderr)


def good(*arguments: object) -> str:
    """What it prints, ending well."""
    code, out, err = eo(*arguments)
    assert code == 0, out + err
    return out


def refused(*arguments: object) -> str:
    """What it says to one who gives these arguments."""
    code, out, err = eo(*arguments)
    assert code == 2, out + err
    return err
