from hypothesis import given
from hypothesis import strategies as st

from vllm_local.sampling.bad_words import BadWords


def test_a_word_of_one_token_is_forbidden_everywhere():
    words = BadWords([[7], [9]], [])
    assert words.forbidden_token_ids() == [7, 9]
    words.append([1, 2, 3])
    assert words.forbidden_token_ids() == [7, 9]


def test_the_last_token_of_a_word_is_forbidden_after_the_others():
    words = BadWords([[1, 2, 3], [1, 2, 4], [2, 5]], [])
    assert words.forbidden_token_ids() == []
    words.append([1])
    assert words.forbidden_token_ids() == []
    words.append([2])
    assert sorted(words.forbidden_token_ids()) == [3, 4, 5]
    words.append([2])
    assert words.forbidden_token_ids() == [5]
    words.append([1, 2])
    assert sorted(words.forbidden_token_ids()) == [3, 4, 5]


def test_an_answer_may_be_taken_over_at_any_point():
    assert BadWords([[1, 2, 3]], [9, 9, 1, 2]).forbidden_token_ids() == [3]


def by_the_rule(words, answer):
    """vLLM's rule, word by word."""
    return {word[-1] for word in words if len(word) == 1 or answer[-len(word) + 1 :] == word[:-1]}


TOKENS = st.integers(0, 2)


@given(
    words=st.lists(st.lists(TOKENS, min_size=1, max_size=4), max_size=5),
    answer=st.lists(TOKENS, max_size=12),
    known=st.integers(0, 12),
)
def test_it_is_vllm_s_rule(words, answer, known):
    found = BadWords(words, answer[:known])
    for token_id in answer[known:]:
        found.append([token_id])
    assert set(found.forbidden_token_ids()) == by_the_rule(words, answer)
