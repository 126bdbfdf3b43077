from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from zc_response import Policy, PolicyError


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Policy.from_environment({}) == Policy()


def test_every_field_can_be_set_by_the_environment() -> None:
    words = {"integrity": "strict", "etag": "change", "precompressed": "never"}
    words |= {"strategy": "mmap", "cache": "drop"}
    texts = {"bool": "off", "int": "77", "float": "7.7"}
    for field in fields(Policy):
        text = words.get(field.name) or texts[str(field.type)]
        policy = Policy.from_environment({f"ZC_RESPONSE_{field.name.upper()}": text})
        assert policy != Policy(), field.name


def test_other_variables_are_nobodys_business() -> None:
    assert Policy.from_environment({"HOME": "/root", "ZC_OTHER": "1"}) == Policy()


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("ZC_RESPONSE_STEP_BYTES", "1MB", "whole number"),
        ("ZC_RESPONSE_STEP_BYTES", "0", "1 or more"),
        ("ZC_RESPONSE_STEP_BYTES", "-5", "whole number"),
        ("ZC_RESPONSE_OPEN_FILES_IDLE", "soon", "must be a number"),
        ("ZC_RESPONSE_OPEN_FILES_IDLE", "nan", "0.1 or more"),
        ("ZC_RESPONSE_ZERO_COPY", "maybe", "one of"),
        ("ZC_RESPONSE_ETAG", "md5", "one of"),
        ("ZC_RESPONSE_ETGA", "mtime", "is no setting"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(
    variable: str, text: str, message: str
) -> None:
    with pytest.raises(PolicyError, match=message):
        Policy.from_environment({variable: text})


@pytest.mark.parametrize(
    "setting", [{"max_parts": -1}, {"copy_bytes": "9"}, {"precompressed": "maybe"}]
)
def test_keywords_are_checked_as_well(setting: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match=next(iter(setting))):
        Policy(**setting)


def test_a_policy_error_is_a_value_error() -> None:
    assert issubclass(PolicyError, ValueError)
