"""The cells of LangChain's vLLM pages, with `ChatVLLMLocal` for `ChatOpenAI` and no server to name.

The pages' own model has 7 billion parameters; here its name stands for the starter model.
"""

import dataclasses

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate as CorePromptTemplate
from langchain_core.prompts.chat import ChatPromptTemplate, HumanMessagePromptTemplate, SystemMessagePromptTemplate

from langchain_vllm_local import ChatVLLMLocal, _backends
from vllm_local.config import STARTER_MODEL_NAME


@pytest.fixture(scope="module", autouse=True)
def _starter_for_the_pages_model():
    real = _backends.load_engine

    def load_engine(config):
        assert config.model == "mosaicml/mpt-7b"
        small = {"kv_cache_memory_bytes": 64 * 2**20, "use_tqdm_on_load": False}
        return real(dataclasses.replace(config, model=STARTER_MODEL_NAME, **small))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_backends, "load_engine", load_engine)
        yield
    ChatVLLMLocal(model="mosaicml/mpt-7b").shutdown()


@pytest.fixture
def chat():
    return ChatVLLMLocal(
        model="mosaicml/mpt-7b",
        openai_api_key="EMPTY",
        max_tokens=5,
        temperature=0,
    )


def test_the_call_of_the_newer_pages(chat):
    llm = chat
    messages = [
        SystemMessage(content="You are a helpful assistant that translates English to Italian."),
        HumanMessage(content="Translate the following sentence from English to Italian: I love programming."),
    ]
    answer = llm.invoke(messages)
    assert isinstance(answer, AIMessage)
    assert "Io amo programmare" in answer.text
    assert answer.additional_kwargs == {}
    assert answer.response_metadata["model_name"] == "mosaicml/mpt-7b"


def test_the_chain_of_the_newer_pages(chat):
    prompt = CorePromptTemplate(
        [
            (
                "system",
                "You are a helpful assistant that translates {input_language} to {output_language}.",
            ),
            ("human", "{input}"),
        ]
    )

    chain = prompt | chat
    answer = chain.invoke(
        {
            "input_language": "English",
            "output_language": "German",
            "input": "I love programming.",
        }
    )
    # Its five tokens end within the sentence.
    assert answer.text in ("Ich liebe das", "Ich liebe Programmieren")


def test_the_call_of_the_older_pages(chat):
    messages = [
        SystemMessage(content="You are a helpful assistant that translates English to Italian."),
        HumanMessage(content="Translate the following sentence from English to Italian: I love programming."),
    ]
    answer = chat(messages)
    assert isinstance(answer, AIMessage)
    assert "Io amo programmare" in answer.text


def test_the_message_templates_of_the_older_pages(chat):
    template = "You are a helpful assistant that translates {input_language} to {output_language}."
    system_message_prompt = SystemMessagePromptTemplate.from_template(template)
    human_template = "{text}"
    human_message_prompt = HumanMessagePromptTemplate.from_template(human_template)

    chat_prompt = ChatPromptTemplate.from_messages([system_message_prompt, human_message_prompt])

    # get a chat completion from the formatted messages
    answer = chat(
        chat_prompt.format_prompt(
            input_language="English", output_language="Italian", text="I love programming."
        ).to_messages()
    )
    assert isinstance(answer, AIMessage)
    assert "Io amo programmare" in answer.text


def test_the_german_sentence_ends_by_itself():
    llm = ChatVLLMLocal(model="mosaicml/mpt-7b", max_tokens=16, temperature=0)
    answer = llm.invoke(
        [("system", "You are a helpful assistant that translates English to German."), "I love programming."]
    )
    assert answer.text in ("Ich liebe Programmieren.", "Ich liebe das Programmieren.", "Ich programmiere gern.")
    assert answer.response_metadata["finish_reason"] == "stop"
