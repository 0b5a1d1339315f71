import pytest
import torch

from vllm_local.worker.step_buffer import StepBuffer


def test_the_cpu_sees_the_array_itself():
    buffer = StepBuffer((4,), torch.int64, torch.device("cpu"))
    view = buffer.publish(3)
    buffer.array[:] = [5, 6, 7, 8]
    assert view.tolist() == [5, 6, 7]
    assert view.dtype == torch.int64


def test_parts_are_taken_from_every_dimension():
    buffer = StepBuffer((3, 4), torch.int32, torch.device("cpu"))
    buffer.array[:] = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert buffer.publish(2, 3).tolist() == [[0, 1, 2], [4, 5, 6]]


def test_parts_follow_their_lengths_and_what_is_written():
    buffer = StepBuffer((4,), torch.int64, torch.device("cpu"))
    assert buffer.publish(4).tolist() == [0, 0, 0, 0]
    for length in (2, 3, 3, 2, 4):
        buffer.array[:] = range(length, length + 4)
        assert buffer.publish(length).tolist() == list(range(length, 2 * length))


@pytest.mark.cuda
def test_a_gpu_gets_a_copy_at_one_address():
    buffer = StepBuffer((4,), torch.int32, torch.device("cuda"))
    buffer.array[:] = [1, 2, 3, 4]
    first = buffer.publish(4)
    buffer.array[:] = [9, 9, 9, 9]
    assert first.tolist() == [1, 2, 3, 4]
    second = buffer.publish(4)
    assert second.data_ptr() == first.data_ptr()
    assert second.tolist() == [9, 9, 9, 9]
