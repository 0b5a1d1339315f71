"""A model that says what a conversation tells it to, behind the real engine and the real server.

As a program it is `vllm-local serve` with this model in place of weights, so that one server plays any script.
"""

import dataclasses
import functools
import json
import os
import sys
from pathlib import Path

import vllm_local.starter
from langchain_vllm_local import _server_command
from tests.engine.engine_fakes import FakeModelRunner, make_loaded
from vllm_local.async_llm import AsyncLLM
from vllm_local.chat.renderer import ChatRenderer
from vllm_local.tokenizer.tokenizer import Tokenizer

_MARK = "Say, one turn after the other: "
_TURN = "<|im_start|>assistant\n"
_CONTEXT = 4096


def script(*turns):
    """Returns a message for the model to act on: what to say first, and after each of its own turns."""
    return _MARK + json.dumps(turns)


def call(name, /, **arguments):
    """Returns the text of a tool call."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


class Actor(FakeModelRunner):
    """Says the turn of the last script in its prompt that is next."""

    def __init__(self):
        super().__init__(self._next)

    def _next(self, tokens, num_prompt_tokens, choice_index):
        prompt, said = (
            _tokenizer().decode(part, skip_special_tokens=False)
            for part in (tokens[:num_prompt_tokens], tokens[num_prompt_tokens:])
        )
        turn = _turn(prompt)
        assert turn.startswith(said), f"{said!r} is not how {turn!r} begins"
        rest = _tokenizer().encode(turn[len(said) :], add_special_tokens=False)
        return rest[0] if rest else min(_tokenizer().eos_token_ids)


@functools.lru_cache(64)
def _turn(prompt):
    _, mark, rest = prompt.rpartition(_MARK)
    assert mark, f"there is no script in {prompt!r}"
    turns, end = json.JSONDecoder().raw_decode(rest)
    return turns[rest.count(_TURN, end) - 1]


@functools.cache
def _tokenizer():
    return Tokenizer.from_path(vllm_local.starter.starter_path())


def scripted_engine(config):
    """Returns an engine with this model; the tokenizer and the template are the starter model's."""
    loaded = make_loaded(Actor(), num_blocks=_CONTEXT, max_model_len=_CONTEXT)
    template = Path(vllm_local.starter.__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")
    tokenizer = _tokenizer()
    return AsyncLLM.from_loaded(
        dataclasses.replace(
            loaded,
            config=dataclasses.replace(
                loaded.config,
                engine=config,
                model=dataclasses.replace(loaded.config.model, vocab_size=tokenizer.vocab_size),
            ),
            tokenizer=tokenizer,
            renderer=ChatRenderer(tokenizer, template),
        )
    )


def scripted_server(model, engine_args):
    """Returns the command that serves it, as `own_server` does for other models."""
    command = _server_command.own_server(model, engine_args)
    python, _, _, *arguments = command.argv
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    return dataclasses.replace(
        command, argv=(python, __file__, *arguments), environment={**command.environment, **paths}
    )


if __name__ == "__main__":
    from vllm_local.cli import main
    from vllm_local.server import run

    vars(run)["AsyncLLM"] = scripted_engine
    main()
