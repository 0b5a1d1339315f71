"""Many conversations in one call: all of them in one continuous batch of the engine."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list

from langchain_vllm_local._batching import run_as_tasks, run_concurrently
from langchain_vllm_local._identity import IdentifiableChatModel
from langchain_vllm_local._results import combine_llm_outputs


class BatchingChatModel(IdentifiableChatModel):
    """Hands many conversations to the engine at once, where LangChain would hand over cpu + 4; answers none itself."""

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        run_id: uuid.UUID | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answers several conversations, all in one continuous batch; each is a run of its own for callbacks.

        Args:
            messages: The conversations.
            stop: Strings that end an answer.
            callbacks: LangChain's callbacks.
            run_id: Id of the first conversation's run.
            **kwargs: `tags`, `metadata`, `run_name`, and parameters of the call.

        Returns:
            The n answers to each conversation, in order.
        """
        answer = super().generate
        if len(messages) < 2:
            return answer(messages, stop, callbacks, run_id=run_id, **kwargs)
        run_ids = [run_id, *[None] * (len(messages) - 1)]
        calls = [
            partial(answer, [one], stop, callbacks, run_id=its_id, **kwargs)
            for one, its_id in zip(messages, run_ids, strict=True)
        ]
        by_index = dict(run_concurrently(calls, self.max_concurrency))
        results = [by_index[index] for index in range(len(calls))]
        return LLMResult(
            generations=[generations for result in results for generations in result.generations],
            llm_output=self._combine_llm_outputs([result.llm_output for result in results]),
            run=[info for result in results for info in result.run or []] or None,
        )

    def batch(
        self,
        inputs: Sequence[LanguageModelInput],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answers many inputs, all in one continuous batch.

        Args:
            inputs: The inputs.
            config: One for all, or one each. `max_concurrency` limits how many run at a time; the engine's
                `max_num_seqs` unless set.
            return_exceptions: Return errors in place of answers, rather than raise the first.
            **kwargs: Parameters of the call.

        Returns:
            The answers, in the order of the inputs.
        """
        completed = self.batch_as_completed(inputs, config, return_exceptions=return_exceptions, **kwargs)
        by_index = dict(completed)
        return [by_index[index] for index in range(len(inputs))]

    def batch_as_completed(
        self,
        inputs: Sequence[LanguageModelInput],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> Iterator[tuple[int, Any]]:
        """Answers many inputs, all in one continuous batch, and yields each answer when it is there.

        Args:
            inputs: The inputs.
            config: As for `batch`.
            return_exceptions: Yield errors in place of answers, rather than raise the first.
            **kwargs: Parameters of the call.

        Yields:
            The input's index and its answer. If the caller stops here, what still runs is aborted.
        """
        if not inputs:
            return

        def answer(one: LanguageModelInput, its_config: RunnableConfig) -> AIMessage | Exception:
            try:
                return self.invoke(one, its_config, **kwargs)
            except Exception as error:
                if return_exceptions:
                    return error
                raise

        configs = get_config_list(config, len(inputs))
        limit = configs[0].get("max_concurrency") or self.max_concurrency
        calls = [partial(answer, one, its_config) for one, its_config in zip(inputs, configs, strict=True)]
        if len(calls) == 1:
            yield 0, calls[0]()
        else:
            yield from run_concurrently(calls, limit)

    async def abatch(
        self,
        inputs: Sequence[LanguageModelInput],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Does what `batch` does without threads, so that `max_concurrency` alone limits how many run at a time."""
        completed = self.abatch_as_completed(inputs, config, return_exceptions=return_exceptions, **kwargs)
        by_index = {index: answer async for index, answer in completed}
        return [by_index[index] for index in range(len(inputs))]

    async def abatch_as_completed(
        self,
        inputs: Sequence[LanguageModelInput],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> AsyncIterator[tuple[int, Any]]:
        """Does what `batch_as_completed` does without threads; `aclose` it, or cancel the task, to abort the rest."""
        if not inputs:
            return

        async def answer(one: LanguageModelInput, its_config: RunnableConfig) -> AIMessage | Exception:
            try:
                return await self.ainvoke(one, its_config, **kwargs)
            except Exception as error:
                if return_exceptions:
                    return error
                raise

        configs = get_config_list(config, len(inputs))
        calls = [partial(answer, one, its_config) for one, its_config in zip(inputs, configs, strict=True)]
        async with aclosing(run_as_tasks(calls, configs[0].get("max_concurrency"))) as completed:
            async for item in completed:
                yield item

    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None], /) -> dict[str, Any]:
        return combine_llm_outputs(llm_outputs, self.model_name)
