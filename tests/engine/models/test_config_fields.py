"""Fields of config.json: their types, bounds and error messages."""

import json
from pathlib import Path
from typing import Any

import pytest

from vllm_local.errors import CorruptModelError, ModelNotFoundError, UnsupportedModelError
from vllm_local.models import config_fields
from vllm_local.models.config_fields import ConfigFields, read_config_fields


def make_fields(**fields: Any) -> ConfigFields:
    return ConfigFields(fields, "config.json")


def test_values_within_their_bounds():
    fields = make_fields(size=3, scale=0.5, flag=False, word="b", inner={"deep": 2}, nothing=None)
    assert fields.integer("size") == 3
    assert fields.number("scale") == 0.5
    assert fields.number("size") == 3.0
    assert fields.boolean("flag") is False
    assert fields.choice("word", {"a": 1, "b": 2}) == 2
    assert fields.mapping("inner").integer("deep") == 2
    assert fields.names() == ["size", "scale", "flag", "word", "inner"]


def test_null_is_absent():
    fields = make_fields(size=None)
    assert "size" not in fields
    assert fields.integer("size", default=7) == 7
    assert fields.mapping("size").names() == []


@pytest.mark.parametrize("value", [0, -1, 2**40, 1.5, True, "3", [3]])
def test_odd_sizes_are_named(value: Any):
    with pytest.raises(CorruptModelError, match=r"config\.json: size must be a whole number from 1"):
        make_fields(size=value).integer("size")


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), 1e300, False, "0.5"])
def test_odd_numbers_are_named(value: Any):
    with pytest.raises(CorruptModelError, match="scale must be a number above 0"):
        make_fields(scale=value).number("scale")


def test_other_odd_values_are_named():
    with pytest.raises(CorruptModelError, match="flag must be true or false, got 1"):
        make_fields(flag=1).boolean("flag")
    with pytest.raises(CorruptModelError, match="word must be a word"):
        make_fields(word=["a"]).choice("word", {"a": 1})
    with pytest.raises(UnsupportedModelError, match="word='c' is not supported; known are a, b"):
        make_fields(word="c").choice("word", {"a": 1, "b": 2})
    with pytest.raises(CorruptModelError, match="inner must be a mapping"):
        make_fields(inner=[1]).mapping("inner")
    with pytest.raises(CorruptModelError, match="has no 'size'"):
        make_fields().integer("size")
    with pytest.raises(CorruptModelError, match=r"config\.json \(inner\) has no 'deep'"):
        make_fields(inner={}).mapping("inner").integer("deep")


def test_variants_that_are_not_implemented():
    make_fields(kind="plain").require("kind", "plain")
    make_fields().require("kind", "plain")
    with pytest.raises(UnsupportedModelError, match=r"kind='fancy'.*must be 'plain'"):
        make_fields(kind="fancy").require("kind", "plain")
    with pytest.raises(UnsupportedModelError, match="must be absent"):
        make_fields(kind={}).require("kind")


def test_reading_a_file(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"size": 3}), encoding="utf-8")
    fields = read_config_fields(tmp_path)
    assert fields.integer("size") == 3
    assert str(tmp_path) in fields.source


def test_no_file(tmp_path: Path):
    with pytest.raises(ModelNotFoundError, match=r"has no config\.json"):
        read_config_fields(tmp_path)


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"\xff\xfe", b"3", b'{"a":' * 100_000])
def test_damaged_files(text: bytes, tmp_path: Path):
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(CorruptModelError, match=r"config\.json"):
        read_config_fields(tmp_path)


def test_a_file_of_another_kind_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(config_fields, "MAX_CONFIG_BYTES", 10)
    (tmp_path / "config.json").write_text('{"much": "too long"}', encoding="utf-8")
    with pytest.raises(CorruptModelError, match="larger than 10 bytes"):
        read_config_fields(tmp_path)
