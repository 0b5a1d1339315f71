import pytest

from tests.engine.core.fakes import FakeGrammar, make_request
from vllm_local.core.finish_check import Finish, append_tokens
from vllm_local.core.grammar_advance import advance_grammar, fit_tokens
from vllm_local.request import FinishReason

END = 9


def advance(request, sampled, max_model_len=100):
    _, finish = append_tokens(request, sampled, max_model_len)
    return advance_grammar(request, sampled, finish, max_model_len)


def test_the_only_way_on_is_taken_up_to_the_next_choice():
    request = make_request("a", 3, 20, eos=[END], grammar=FakeGrammar([1, 2, 3, 4, END], [1, 2, 3, 5, END], [6, END]))
    assert advance(request, [1]) == ([2, 3], None)
    assert request.output_token_ids == [1, 2, 3]
    appended, finish = advance(request, [5])
    assert appended == [END]
    assert finish.reason is FinishReason.STOP
    assert request.output_token_ids == [1, 2, 3, 5, END]


def test_forced_tokens_end_with_the_budget():
    request = make_request("a", 3, 3, eos=[END], grammar=FakeGrammar([1, 2, 3, 4, END]))
    appended, finish = advance(request, [1])
    assert appended == [2, 3]
    assert finish.reason is FinishReason.LENGTH


@pytest.mark.parametrize(
    "params",
    [{"logprobs": 0}, {"allowed_token_ids": [1, 2, END]}, {"bad_words": ["x"]}],
    ids=str,
)
def test_what_must_be_scored_or_filtered_is_sampled(params):
    request = make_request("a", 3, 20, eos=[END], grammar=FakeGrammar([1, 2, END]), **params)
    assert advance(request, [1]) == ([], None)
    assert advance(request, [2]) == ([], None)


@pytest.mark.parametrize(
    ("sampled", "fails", "message"), [([7], None, "does not allow"), ([1], "accept", "out of fuel")]
)
def test_a_grammar_that_fails_ends_its_answer_with_an_error(sampled, fails, message):
    request = make_request("a", 3, 20, grammar=FakeGrammar([1, 2], fails=fails))
    appended, finish = advance(request, sampled)
    assert appended == []
    assert finish.reason is FinishReason.ERROR
    assert message in request.grammar_error


@pytest.mark.parametrize(
    ("params", "appended"),
    [({}, [2]), ({"logprobs": 0}, []), ({"allowed_token_ids": [1, 9]}, [1]), ({"bad_words": ["x"]}, [1])],
    ids=str,
)
def test_a_token_without_room_for_the_end_gives_way(params, appended):
    grammar = FakeGrammar([1, 1, 1, END], [2, END], unfit={1: 2})
    request = make_request("a", 3, 2, eos=[END], grammar=grammar, **params)
    assert fit_tokens(request, [1]) == appended
    assert fit_tokens(request, [2]) == [2]


@pytest.mark.parametrize(("params", "is_sampled"), [({}, False), ({"logprobs": 0}, True)], ids=str)
def test_an_answer_that_ends_for_want_of_room_ends_with_length(params, is_sampled):
    request = make_request("a", 3, 8, eos=[END], grammar=FakeGrammar([1, 2, END], [1, END], unfit={2: END}), **params)
    assert advance(request, fit_tokens(request, [1])) == ([], None)
    assert fit_tokens(request, [2]) == ([] if is_sampled else [END])
    appended, finish = advance(request, [END])
    assert appended == []
    assert (finish.reason, finish.has_end_token) == (FinishReason.LENGTH, True)


def test_an_end_that_the_model_chose_is_none_for_want_of_room():
    request = make_request("a", 3, 8, eos=[END], grammar=FakeGrammar([1, 1, END], [2, END], unfit={1: 2}))
    assert advance(request, fit_tokens(request, [1])) == ([END], Finish(FinishReason.STOP, has_end_token=True))


def test_a_grammar_that_fails_to_fit_ends_its_answer_with_an_error():
    request = make_request("a", 3, 20, grammar=FakeGrammar([1, 2], fails="fitting"))
    assert fit_tokens(request, [1]) == [1]
    _, finish = advance(request, [1])
    assert finish.reason is FinishReason.ERROR
    assert "out of fuel" in request.grammar_error
