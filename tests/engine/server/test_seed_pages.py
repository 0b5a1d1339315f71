"""The cells of LangChain's vLLM pages, as they stand there: `ChatOpenAI`, with our server for vLLM's.

The pages' model has 7 billion parameters; its name stands for the starter model, and for a small MPT checkpoint.
"""

import functools
import operator

import pytest
import torch
import transformers
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate as CorePromptTemplate
from langchain_core.prompts.chat import ChatPromptTemplate, HumanMessagePromptTemplate, SystemMessagePromptTemplate
from langchain_openai import ChatOpenAI

from tests.engine.server.serving import Running
from tests.engine.tokenizer import samples
from vllm_local.async_llm import AsyncLLM
from vllm_local.config import EngineConfig

pytestmark = pytest.mark.enable_socket

MESSAGES = [
    SystemMessage(content="You are a helpful assistant that translates English to Italian."),
    HumanMessage(content="Translate the following sentence from English to Italian: I love programming."),
]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "localhost")


def make_llm(inference_server_url):
    return ChatOpenAI(
        model="mosaicml/mpt-7b",
        openai_api_key="EMPTY",
        openai_api_base=inference_server_url,
        max_tokens=5,
        temperature=0,
    )


@pytest.fixture
def llm(inference_server_url):
    return make_llm(inference_server_url)


def test_the_call_of_the_pages(llm):
    messages = [
        SystemMessage(content="You are a helpful assistant that translates English to Italian."),
        HumanMessage(content="Translate the following sentence from English to Italian: I love programming."),
    ]
    answer = llm.invoke(messages)
    assert isinstance(answer, AIMessage)
    assert "Io amo programmare" in answer.text
    assert answer.response_metadata["model_name"] == "mosaicml/mpt-7b"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] <= 5


def test_the_chain_of_the_newer_pages(llm):
    prompt = CorePromptTemplate(
        [
            (
                "system",
                "You are a helpful assistant that translates {input_language} to {output_language}.",
            ),
            ("human", "{input}"),
        ]
    )

    chain = prompt | llm
    answer = chain.invoke(
        {
            "input_language": "English",
            "output_language": "German",
            "input": "I love programming.",
        }
    )
    # Its five tokens end within the sentence.
    assert answer.text in ("Ich liebe das", "Ich liebe Programmieren")


def test_the_message_templates_of_the_older_pages(llm):
    template = "You are a helpful assistant that translates {input_language} to {output_language}."
    system_message_prompt = SystemMessagePromptTemplate.from_template(template)
    human_template = "{text}"
    human_message_prompt = HumanMessagePromptTemplate.from_template(human_template)

    chat_prompt = ChatPromptTemplate.from_messages([system_message_prompt, human_message_prompt])

    # get a chat completion from the formatted messages
    answer = llm.invoke(  # the pages write chat(…), which LangChain's models no longer are
        chat_prompt.format_prompt(
            input_language="English", output_language="Italian", text="I love programming."
        ).to_messages()
    )
    assert "Io amo programmare" in answer.text


async def test_streams_batches_and_async_calls_say_the_same(llm):
    whole = llm.invoke(MESSAGES).text
    assert "".join(chunk.text for chunk in llm.stream(MESSAGES)) == whole
    assert [answer.text for answer in llm.batch([MESSAGES] * 3)] == [whole] * 3
    assert (await llm.ainvoke(MESSAGES)).text == whole
    assert "".join([chunk.text async for chunk in llm.astream(MESSAGES)]) == whole
    chunks = llm.stream(MESSAGES, stream_usage=True)
    assert functools.reduce(operator.add, chunks).usage_metadata == llm.invoke(MESSAGES).usage_metadata


def test_log_probabilities(llm):
    answer = llm.bind(logprobs=True, top_logprobs=2).invoke(MESSAGES)
    content = answer.response_metadata["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content).startswith(answer.text)
    assert all(len(entry["top_logprobs"]) == 2 for entry in content)


@pytest.fixture(scope="module")
def mpt_folder(tmp_path_factory):
    """What vLLM has not served since 0.28: MPT, and a model without a chat template."""
    tokenizer = samples.byte_level_bpe()
    folder = samples.save(tokenizer, tmp_path_factory.mktemp("mpt"))
    torch.manual_seed(0)
    size: dict = {"d_model": 48, "n_layers": 2, "n_heads": 4, "max_seq_len": 256, "initializer_range": 0.3}
    config = transformers.MptConfig(vocab_size=tokenizer.get_vocab_size(), bos_token_id=0, eos_token_id=1, **size)
    transformers.MptForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def mpt_url(mpt_folder):
    config = EngineConfig(model=str(mpt_folder), dtype="float32", kv_cache_memory_bytes=2**24, use_tqdm_on_load=False)
    running = Running(AsyncLLM(config), port=0, served_model_name="mosaicml/mpt-7b")
    running.start()
    yield f"{running.address.replace('127.0.0.1', 'localhost')}/v1"
    running.stop()


def test_the_call_of_the_pages_to_mpt(mpt_url):
    answer = make_llm(mpt_url).invoke(MESSAGES)
    assert answer.usage_metadata["output_tokens"] <= 5
    assert answer.response_metadata["model_name"] == "mosaicml/mpt-7b"


def test_mpt_answers_what_transformers_computes(mpt_url, mpt_folder):
    answer = make_llm(mpt_url).bind(extra_body={"return_token_ids": True, "ignore_eos": True}).invoke(MESSAGES)
    client = make_llm(mpt_url).root_client
    body = {"return_token_ids": True, "ignore_eos": True}
    prompt = "Hello, world! I love"
    whole = client.completions.create(
        model="mosaicml/mpt-7b", prompt=prompt, max_tokens=12, temperature=0, extra_body=body
    )
    choice = whole.choices[0].model_extra
    model = transformers.MptForCausalLM.from_pretrained(mpt_folder, dtype=torch.float32).eval()
    prompt_ids = torch.tensor([choice["prompt_token_ids"]])
    with torch.no_grad():
        expected = model.generate(prompt_ids, max_new_tokens=12, min_new_tokens=12, do_sample=False)
    assert choice["token_ids"] == expected[0, prompt_ids.shape[1] :].tolist()
    assert answer.text
