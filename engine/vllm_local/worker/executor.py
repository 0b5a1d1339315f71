"""Where steps are executed: here, or in another process some day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from vllm_local.step_io import ModelRunnerOutput, SchedulerOutput


class Executor(Protocol):
    """Computes steps, one after the other. `ModelRunner` is the one that does so in this process."""

    def session(self) -> AbstractContextManager[object]:
        """Returns what a thread may stay in from step to step, so that none of them has to enter it."""

    def execute(self, scheduled: SchedulerOutput) -> ModelRunnerOutput:
        """Computes one step.

        Args:
            scheduled: The scheduler's decision. Requests that it drops are dropped even if nothing is to be computed;
                ids that the executor does not know are ignored there.

        Returns:
            A list of new tokens for every scheduled request, empty where tokens of it are left to compute.
        """
