import numpy as np
import pytest

from vllm_local.sampling.draw_stream import DrawStream


def test_positions_are_words_of_one_philox_stream():
    words = np.random.Philox(key=(2 << 64) | 1234).random_raw(200)
    stream = DrawStream(seed=1234, choice_index=2)
    expected = [(int(word) >> 11) / 2**53 for word in words]
    assert [stream.uniform(position) for position in range(200)] == expected


def test_the_generator_is_philox_4x64_10():
    # Random123's kat_vectors for counter 0 and key 0; numpy counts up before it computes.
    words = np.random.Philox(key=0, counter=2**256 - 1).random_raw(4).tolist()
    assert words == [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]


def test_draws_are_pinned_so_that_seeds_keep_their_meaning():
    numbers = [DrawStream(seed=0, choice_index=0).uniform(position) for position in (0, 1, 1000)]
    assert numbers == [0.011546754286331562, 0.24154919656271812, 0.7735645486109681]


def test_order_of_asking_does_not_matter():
    stream = DrawStream(seed=7, choice_index=0)
    forward = [stream.uniform(position) for position in range(300)]
    backward = [stream.uniform(position) for position in reversed(range(300))]
    assert forward == backward[::-1]


@pytest.mark.parametrize("other", [(8, 0), (7, 1), (-7, 0), (7 + 2**32, 0)])
def test_each_seed_and_choice_has_a_stream_of_its_own(other):
    first, second = DrawStream(7, 0), DrawStream(*other)
    assert [first.uniform(position) for position in range(8)] != [second.uniform(position) for position in range(8)]


@pytest.mark.parametrize("seed", [-(2**63), -1, 0, 2**63 - 1])
def test_every_64_bit_seed_is_taken(seed):
    assert 0.0 <= DrawStream(seed, 127).uniform(0) < 1.0


def test_numbers_are_uniform_along_positions_and_across_seeds():
    along = np.array([DrawStream(3, 0).uniform(position) for position in range(0, 64_000, 64)])
    across = np.array([DrawStream(seed, 0).uniform(0) for seed in range(1000)])
    for numbers in (along, across):
        observed = np.histogram(numbers, bins=20, range=(0, 1))[0]
        assert ((observed - 50.0) ** 2 / 50.0).sum() < 43.8  # chi-square, 19 degrees of freedom, p = 0.001
