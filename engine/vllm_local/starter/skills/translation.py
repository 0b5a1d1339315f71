"""Translating English sentences; the target comes from the system message, the user, or both."""

import re

from vllm_local.starter.languages import ENGLISH, TARGETS
from vllm_local.starter.languages.base import capitalise
from vllm_local.starter.lexicon import LANGUAGE_NAMES, load_lexicon
from vllm_local.starter.sampler import TRAIN
from vllm_local.starter.skills.messages import Message, assistant, system, user
from vllm_local.starter.source import Source

_CONTRACTIONS = (
    ("do not", "don't"),
    ("does not", "doesn't"),
    ("is not", "isn't"),
    ("are not", "aren't"),
    ("cannot", "can't"),
    ("I am ", "I'm "),
    ("He is ", "He's "),
    ("She is ", "She's "),
    ("We are ", "We're "),
    ("They are ", "They're "),
    ("You are ", "You're "),
    ("I would ", "I'd "),
    ("There is ", "There's "),
    ("Where is ", "Where's "),
    ("My name is ", "My name's "),
    (" is called ", "'s name is "),
)
_TURNS = (36, 10, 10, 9, 9, 9, 9, 8)  # weights of one to eight translations in a conversation
_SAY = (
    "Say {0} in {1}.",
    "Say {0} in {1}",
    "How do you say {0} in {1}?",
    "How do you say '{0}' in {1}?",
    "How do I say {0} in {1}?",
    "What is {0} in {1}?",
    "{0} in {1}",
    "{0} in {1}?",
)


# How often training translates to each language: German and French are the hardest.
_SHARES = {"it": 22, "de": 36, "fr": 26, "es": 16}


def _target(source: Source) -> str:
    if source.values == "train":
        return source.rng.choices(list(_SHARES), list(_SHARES.values()))[0]
    return source.rng.choice(list(TARGETS))


def sentence_pair(source: Source, code: str) -> tuple[str, str]:
    """Return an English sentence and its translation, with the same mark at the end."""
    if source.sentences == TRAIN and source.chance(0.05):
        phrase = source.sampler.noun_phrase()
        return ENGLISH.noun_phrase(phrase), TARGETS[code].noun_phrase(phrase)
    sentence = source.sampler.draw()
    english, translation = ENGLISH.render(sentence), TARGETS[code].render(sentence)
    english = _contract(source, english)
    if english.endswith("?"):
        return english, translation
    mark = source.rng.choices((".", "!", ""), (85, 5, 10))[0]
    return english + mark, _mark(translation, mark, code)


def _mark(text: str, mark: str, code: str) -> str:
    if mark == "!" and code == "fr":
        return text + " !"
    if mark == "!" and code == "es":
        return f"¡{text}!"
    return text + mark


def _contract(source: Source, english: str) -> str:
    if source.chance(0.35):
        for full, short in _CONTRACTIONS:
            english = re.sub(rf"\b{full}" if full[0] != " " else full, short, english)
    return english


def passage(source: Source, code: str) -> tuple[str, str]:
    """Return one sentence, or now and then two, with the translation."""
    english, translation = sentence_pair(source, code)
    if english[-1] in ".?!" and source.chance(0.15):
        more = sentence_pair(source, code)
        english, translation = f"{english} {more[0]}", f"{translation} {more[1]}"
    if source.frames == "train" and source.chance(0.04):
        return english.lower(), translation
    return english, translation


def translate(source: Source) -> list[Message]:
    """Return a conversation of one to eight translations, a third of them of one."""
    code = _target(source)
    by_system = source.chance(0.6)
    messages: list[Message] = []
    if by_system:
        messages.append(system(source.frame("translation", "system").format(language=LANGUAGE_NAMES[code])))
    elif source.chance(0.4):
        messages.append(system(source.frame("translation", "plain system")))
    follow_ups = by_system or source.chance(0.5)  # one instruction for all, or a new one each time
    for index in range(source.rng.choices(range(1, 9), _TURNS)[0]):
        if index and _length(messages) > 0.75 * source.room:
            break
        if not follow_ups and source.chance(0.5):
            code = _target(source)
        bare = source.chance(0.65) if by_system else follow_ups and index > 0
        english, translation = passage(source, code)
        frame = source.frame("translation", "bare" if bare else "user")
        messages += [user(_fill(frame, english, LANGUAGE_NAMES[code])), assistant(translation)]
    return messages


def _length(messages: list[Message]) -> int:
    """Return about how many tokens the messages take."""
    return sum(len(message["content"]) // 3 + 6 for message in messages)


def translate_one_frame(source: Source) -> list[Message]:
    """Return one translation; the frame that names the language is a line of the source's file."""
    messages = translate(source)
    start = 1 if messages[0]["role"] == "system" else 0
    return messages[: start + 2]


def _fill(frame: str, english: str, target: str) -> str:
    return frame.replace("{text}", english).replace("{language}", target)


def say_phrase(source: Source) -> list[Message]:
    """Return the question how a greeting or another short phrase is said, in lower case."""
    code = _target(source)
    rows = [row for row in load_lexicon().phrases if "?" not in row["en"]]
    row = source.rng.choice(rows)
    phrase = source.rng.choice(row["en"].split(" / "))
    phrase = phrase if phrase.startswith("I") else phrase[0].lower() + phrase[1:]
    frame = source.rng.choice(_SAY).format(phrase, LANGUAGE_NAMES[code])
    return [user(frame), assistant(row[code])]


def few_shot(source: Source) -> list[Message]:
    """Return examples in one message each way without any instruction but the first."""
    code = _target(source)
    messages: list[Message] = []
    frame = source.frame("translation", "user")
    for index in range(source.rng.randint(2, 4)):
        english, translation = passage(source, code)
        first = index == 0
        text = _fill(frame, english, LANGUAGE_NAMES[code]) if first else _again(source, english, code)
        messages += [user(text), assistant(translation)]
    return messages


def _again(source: Source, english: str, code: str) -> str:
    return source.rng.choice(
        ("And this: {0}", "Now: {0}", "In {1} again: {0}", "Also: {0}", "Then: {0}", "{0}")
    ).format(english, LANGUAGE_NAMES[code])


def other_language(source: Source) -> list[Message]:
    """Return the same sentence in a first and then in a second language."""
    first, second = source.rng.sample(list(TARGETS), 2)
    sentence = source.sampler.draw()
    english = ENGLISH.render(sentence)
    mark = "" if english.endswith("?") else "."
    frame = source.frame("translation", "user")
    ask = source.rng.choice(
        ("And in {0}?", "Now in {0}.", "And {0}?", "In {0}, please.", "And now in {0}.", "The same in {0}.")
    )
    return [
        user(_fill(frame, english + mark, LANGUAGE_NAMES[first])),
        assistant(TARGETS[first].render(sentence) + mark),
        user(ask.format(LANGUAGE_NAMES[second])),
        assistant(TARGETS[second].render(sentence) + mark),
    ]


def english_text(source: Source, count: int) -> str:
    """Return ``count`` English sentences as running text."""
    sentences = (ENGLISH.render(source.sampler.draw()) for _ in range(count))
    return " ".join(capitalise(text if text.endswith("?") else text + ".") for text in sentences)
