"""Small talk, what the model is, capitals, and an honest answer to everything else."""

from __future__ import annotations

from string import ascii_lowercase

from vllm_local.starter.languages import ENGLISH, TARGETS
from vllm_local.starter.languages.base import capitalise
from vllm_local.starter.skills.messages import Message, exchange, system, user
from vllm_local.starter.skills.translation import english_text
from vllm_local.starter.skills.wordings import reword
from vllm_local.starter.source import Source, capitals
from vllm_local.starter.syntax import Action, Called, Going, Phrase, Pronoun, Sentence, Speaking, State
from vllm_local.starter.tables import read_blocks, read_lines

UNKNOWN = (
    "I am sorry, I am a very small model and I do not know that. "
    "I can translate simple English sentences, remember what you tell me, call tools, fill JSON and chat a little."
)
ONLY_ENGLISH = "I am sorry, I understand English only."
HEARD = "I see. What can I do for you?"
_LONG_FROM = 500  # tokens of room
_CAPITAL_FRAMES = (
    "What is the capital of {0}?",
    "What's the capital of {0}?",
    "Which city is the capital of {0}?",
    "Tell me the capital of {0}.",
    "what is the capital of {0}",
    "Name the capital of {0}.",
)


def plain_system(source: Source, share: float) -> list[Message]:
    """Return a general system message in this share of the conversations, else nothing."""
    return [system(source.frame("translation", "plain system"))] if source.chance(share) else []


def smalltalk(source: Source) -> list[Message]:
    """Return a line of small talk and its answer."""
    blocks = read_blocks(f"{source.frames}/smalltalk.txt")
    answer = source.rng.choice(list(blocks))
    text = source.rng.choice(blocks[answer])
    return exchange(reword(source.rng, text) if source.frames == "train" else text, answer)


def unknown(source: Source) -> list[Message]:
    """Return a question that the model cannot answer, and its saying so."""
    question = source.frame("unknown", "question")
    for marker, topic in (("{topic}", _topic(source)), ("{topic2}", _topic(source))):
        question = question.replace(marker, topic)
    while "{digit}" in question:
        question = question.replace("{digit}", str(source.rng.randint(0, 9)), 1)
    return exchange(reword(source.rng, question, 0.25) if source.frames == "train" else question, UNKNOWN)


def _topic(source: Source) -> str:
    if source.frames == "heldout":
        return source.frame("unknown", "topic")
    kind = source.rng.random()
    if kind < 0.2:
        return " ".join(source.made_up_word() for _ in range(source.rng.choice((1, 1, 2))))
    if kind < 0.3:
        return " ".join(source.made_up_word().capitalize() for _ in range(source.rng.choice((1, 2))))
    if kind < 0.4:
        return ENGLISH.noun_phrase(source.sampler.noun_phrase())
    topic = source.frame("unknown", "topic")
    return source.frame("unknown", "aspect").format(topic) if kind < 0.5 else topic


def question(source: Source) -> list[Message]:
    """Return a simple English question about the world, which the model cannot answer."""
    return exchange(_draw_sentence(source, question=True) + "?", UNKNOWN)


def _is_question(sentence: Sentence) -> bool:
    return bool(getattr(sentence, "question", False)) or type(sentence).__name__ == "Where"


def _draw_sentence(source: Source, question: bool) -> str:
    """Return a statement or a question that has no better answer than the general one."""
    while True:
        sentence = source.sampler.draw()
        if _is_question(sentence) == question and not _has_own_answer(sentence):
            return ENGLISH.render(sentence).removesuffix("?")


def _has_own_answer(sentence: Sentence) -> bool:
    """Whether small talk or recall answers the sentence: phrases, names, homes, feelings, "do you …?"."""
    if isinstance(sentence, Phrase | Called):
        return True
    if not isinstance(sentence, Action | Going | Speaking | State):
        return False
    subject = sentence.subject
    asks_the_model = isinstance(subject, Pronoun) and subject.key == "you"
    tells_a_fact = isinstance(sentence, Going | State) and isinstance(subject, Pronoun) and subject.key == "I"
    return asks_the_model or tells_a_fact


def noise(source: Source) -> list[Message]:
    """Return meaningless words of any length, or a single letter, and the same honest answer."""
    words = [source.made_up_word() for _ in range(source.rng.choice((1, 1, 2, 3, 4, 6, 10, 20)))]
    if source.chance(0.2):
        words = [source.rng.choice(ascii_lowercase)]
    text = " ".join(words)
    return exchange(text.capitalize() + source.rng.choice(("", ".", "?", "!")), UNKNOWN)


def monologue(source: Source) -> list[Message]:
    """Return sentences that ask for nothing; now and then one sentence again and again."""
    count = source.rng.choice((1, 1, 2, 3, 5, 9))
    sentences = [capitalise(_draw_sentence(source, question=False)) + "." for _ in range(count)]
    if source.chance(0.4):
        sentences = sentences[:1] * source.rng.randint(2, min(60, source.room // 8))
    return exchange(" ".join(sentences), HEARD)


def capital(source: Source) -> list[Message]:
    """Return a question for a capital."""
    country, city = source.rng.choice(capitals())
    return exchange(source.rng.choice(_CAPITAL_FRAMES).format(country), f"The capital of {country} is {city}.")


def foreign(source: Source) -> list[Message]:
    """Return a sentence in another language, which the model does not understand."""
    language = source.rng.choice(list(TARGETS.values()))
    text = language.render(source.sampler.draw())
    while len(text.split()) < 3:  # "No" and the like are English too
        text = language.render(source.sampler.draw())
    return exchange(text + source.rng.choice((".", "", "!")), ONLY_ENGLISH)


def nothing(source: Source) -> list[Message]:
    """Return an empty message and its answer."""
    return exchange(source.rng.choice(("", " ", "...", "?", ".", "!")), "Please write a message, and I will answer.")


def chat(source: Source) -> list[Message]:
    """Return one exchange of any kind of chat."""
    kinds = (smalltalk, unknown, question, capital, monologue, noise, foreign)
    return source.rng.choices(kinds, (54, 21, 3, 6, 8, 6, 2))[0](source)


def conversation(source: Source) -> list[Message]:
    """Return one to four exchanges, more where there is room, with or without a system message."""
    count = source.rng.choices((0, 1, 2), (45, 47, 8))[0]
    messages = [system(_persona(source)) for _ in range(count)]
    if source.chance(0.04):
        messages.append({"role": "assistant", "content": "Hello! How can I help you?"})
    turns = source.rng.choices((1, 2, 3, 4), (40, 25, 20, 15))[0]
    for _ in range(turns * 2 if source.room > _LONG_FROM and source.chance(0.4) else turns):
        if source.chance(0.04):
            messages.append(user(chat(source)[0]["content"]))
        messages += nothing(source) if source.chance(0.03) else chat(source)
    return messages


def _persona(source: Source) -> str:
    plain = source.frame("translation", "plain system")
    if source.chance(0.45):
        return plain
    if source.chance(0.12):
        return f"{plain} {english_text(source, source.rng.randint(1, 8))}"
    topic = source.rng.choice(read_blocks("train/unknown.txt")["topic"])
    name = source.name() if source.values == "train" else source.rng.choice(read_lines("train/names.txt"))
    persona = source.rng.choice(read_blocks("train/personas.txt")["persona"])
    persona = persona.replace("{topic}", topic).replace("{name}", name)
    return source.rng.choice((persona, persona, f"{plain} {persona}", f"{persona} {plain}"))
