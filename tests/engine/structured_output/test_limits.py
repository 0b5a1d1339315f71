from vllm_local.structured_output import GrammarLimits


def test_limits_reach_llguidance_which_keeps_grammars_to_itself():
    limits = GrammarLimits(initial_fuel=1, step_fuel=2, step_items=3, lexer_states=4, grammar_size=5).as_llguidance()
    names = ("initial_lexer_fuel", "step_lexer_fuel", "step_max_items", "max_lexer_states", "max_grammar_size")
    assert [getattr(limits, name) for name in names] == [1, 2, 3, 4, 5]
    assert limits.verbose_errors is False
