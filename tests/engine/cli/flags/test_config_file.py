import pytest

from vllm_local.cli.flags.config_file import read_config_file
from vllm_local.errors import InvalidConfigError


def write(folder, text, name="config.yaml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_every_kind_of_entry(tmp_path):
    text = """
    model: org/name
    port: 12323
    max_model_len: -1
    enable-prefix-caching: false
    enforce_eager: true
    served-model-name: [a, b]
    api-key: []
    seed:
    override-generation-config:
      temperature: 0.5
    """
    assert read_config_file(write(tmp_path, text), {"enable-prefix-caching", "enforce-eager"}) == [
        "--model=org/name",
        "--port=12323",
        "--max-model-len=-1",
        "--no-enable-prefix-caching",
        "--enforce-eager",
        "--served-model-name",
        "a",
        "b",
        "--override-generation-config",
        '{"temperature": 0.5}',
    ]


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("port: 1", "config.json", ".yaml or .yml"),
        ("[1, 2]", "config.yml", "must map options"),
        ("a: [", "config.yml", "cannot be read"),
    ],
)
def test_other_files_are_refused(tmp_path, text, name, message):
    with pytest.raises(InvalidConfigError, match=message):
        read_config_file(write(tmp_path, text, name), set())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidConfigError, match="absent"):
        read_config_file(str(tmp_path / "absent.yaml"), set())
