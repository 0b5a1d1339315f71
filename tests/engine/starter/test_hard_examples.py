from random import Random

from vllm_local.starter.corpus import Sample
from vllm_local.starter.hard_examples import choose_hardest


def samples(lengths: list[int]) -> list[Sample]:
    return [Sample([index] * length, [1] * length) for index, length in enumerate(lengths)]


def test_most_of_what_is_chosen_has_most_loss_a_token():
    given = samples([10] * 100)
    losses = [5.0 if index % 5 == 0 else 0.01 for index in range(100)]
    chosen = choose_hardest(given, losses, 200, Random(1))
    hard = [sample for sample in chosen if sample.tokens[0] % 5 == 0]
    assert len(chosen) == 20
    assert 16 <= len(hard) < 20


def test_a_long_conversation_has_to_have_more_loss():
    given = samples([100, 10, 10])
    assert choose_hardest(given, [3.0, 1.0, 0.9], 20, Random(1))[:1] == given[1:2]
    assert given[0] in choose_hardest(given, [30.0, 1.0, 0.9], 20, Random(1))


def test_the_order_is_kept_and_none_comes_twice():
    given = samples(list(range(60, 10, -1)))
    chosen = choose_hardest(given, [float(index % 7) for index in range(50)], 600, Random(2))
    places = [sample.tokens[0] for sample in chosen]
    assert places == sorted(set(places))
    assert 600 <= sum(len(sample.tokens) for sample in chosen) < 600 + 2 * 60


def test_all_are_chosen_where_there_are_too_few():
    given = samples([10, 9, 8])
    assert choose_hardest(given, [0.0, 1.0, 2.0], 1_000, Random(3)) == given


def test_some_are_drawn_whatever_their_loss():
    given = samples([10] * 200)
    losses = [1.0] * 100 + [0.0] * 100
    drawn = [choose_hardest(given, losses, 500, Random(seed)) for seed in range(2)]
    assert drawn[0] != drawn[1]
    assert all(any(sample.tokens[0] >= 100 for sample in chosen) for chosen in drawn)
