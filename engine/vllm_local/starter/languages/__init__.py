"""One file per language: the grammar that turns abstract syntax into a sentence."""

from vllm_local.starter.languages.base import Language
from vllm_local.starter.languages.english import English
from vllm_local.starter.languages.french import French
from vllm_local.starter.languages.german import German
from vllm_local.starter.languages.italian import Italian
from vllm_local.starter.languages.spanish import Spanish

ENGLISH = English()
TARGETS: dict[str, Language] = {"it": Italian(), "de": German(), "fr": French(), "es": Spanish()}

__all__ = ["ENGLISH", "TARGETS", "Language"]
