from vllm_local.chat.conversation import conversation_variants, fold_system, merge_neighbours


def say(role, content, **more):
    return {"role": role, "content": content, **more}


def test_a_plain_conversation_has_one_form():
    messages = [say("user", "a"), say("assistant", "b"), say("user", "c")]
    assert list(conversation_variants(messages)) == [messages]


def test_neighbours_are_merged_first_then_system_folded():
    messages = [say("system", "s"), say("user", "a"), say("user", "b")]
    assert list(conversation_variants(messages)) == [
        messages,
        [say("system", "s"), say("user", "a\n\nb")],
        [say("user", "s\n\na\n\nb")],
    ]


def test_tool_results_and_calls_stay_apart():
    messages = [
        say("assistant", "", tool_calls=[{}]),
        say("assistant", "b"),
        say("tool", "1", tool_call_id="x"),
        say("tool", "2", tool_call_id="y"),
    ]
    assert merge_neighbours(messages) == messages


def test_names_are_not_mixed():
    assert len(merge_neighbours([say("user", "a", name="ann"), say("user", "b", name="bob")])) == 2
    assert merge_neighbours([say("user", "a", name="ann"), say("user", "b", name="ann")]) == [
        say("user", "a\n\nb", name="ann")
    ]


def test_parts_are_merged_as_parts():
    part = {"type": "text", "text": "a"}
    assert merge_neighbours([say("user", [part]), say("user", "b")]) == [
        say("user", [part, {"type": "text", "text": "b"}])
    ]


def test_a_system_message_goes_before_what_follows():
    messages = [say("user", "a"), say("assistant", "b"), say("system", "s"), say("user", "c"), say("developer", "d")]
    assert merge_neighbours(fold_system(messages)) == [
        say("user", "a"),
        say("assistant", "b"),
        say("user", "s\n\nc\n\nd"),
    ]


def test_a_system_message_alone_becomes_the_user_s():
    assert fold_system([say("system", "s")]) == [say("user", "s")]
    assert fold_system([say("system", "s"), say("assistant", "a")])[0] == say("user", "s")
