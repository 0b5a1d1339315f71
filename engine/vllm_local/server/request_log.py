"""A line for each request, for those who asked for it: it shows what people write."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vllm_local.sampling_params import SamplingParams
from vllm_local.server.context import ServerContext

logger = logging.getLogger(__name__)


def log_request(context: ServerContext, answer_id: str, prompts: Sequence[list[int]], params: SamplingParams) -> None:
    """Logs a request's prompts and parameters, where the settings say so."""
    if not context.settings.enable_log_requests:
        return
    limit = context.settings.max_log_len
    for token_ids in prompts:
        text = context.engine.tokenizer.decode(token_ids, skip_special_tokens=False)
        logger.info("Received request %r: prompt: %r, %d tokens, %s", answer_id, text[:limit], len(token_ids), params)
