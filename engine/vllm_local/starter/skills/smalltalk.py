"""Small talk, what the model is, capitals, and an honest answer to everything else."""

from vllm_local.starter.languages import TARGETS
from vllm_local.starter.skills.messages import Message, exchange, system, user
from vllm_local.starter.skills.translation import english_text
from vllm_local.starter.source import Source, capitals
from vllm_local.starter.tables import read_blocks, read_lines

UNKNOWN = (
    "I am sorry, I am a very small model and I do not know that. "
    "I can translate simple English sentences, remember what you tell me, count and chat a little."
)
ONLY_ENGLISH = "I am sorry, I understand English only."
HEARD = "I see. What can I do for you?"
_CAPITAL_FRAMES = (
    "What is the capital of {0}?",
    "What's the capital of {0}?",
    "Which city is the capital of {0}?",
    "Tell me the capital of {0}.",
    "what is the capital of {0}",
    "Name the capital of {0}.",
)


def smalltalk(source: Source) -> list[Message]:
    """Return a line of small talk and its answer."""
    blocks = read_blocks(f"{source.frames}/smalltalk.txt")
    answer = source.rng.choice(list(blocks))
    return exchange(source.rng.choice(blocks[answer]), answer)


def unknown(source: Source) -> list[Message]:
    """Return a question that the model cannot answer, and its saying so."""
    blocks = read_blocks(f"{source.frames}/unknown.txt")
    question, topics = source.rng.choice(blocks["question"]), source.rng.sample(blocks["topic"], 2)
    if source.frames == "train" and source.chance(0.25):
        topics[0] = source.made_up_word()
    for marker, topic in zip(("{topic}", "{topic2}"), topics, strict=True):
        question = question.replace(marker, topic)
    while "{digit}" in question:
        question = question.replace("{digit}", str(source.rng.randint(0, 9)), 1)
    return exchange(question, UNKNOWN)


def noise(source: Source) -> list[Message]:
    """Return meaningless words of any length, and the same honest answer."""
    words = [source.made_up_word() for _ in range(source.rng.choice((1, 1, 2, 3, 4, 6, 10, 20)))]
    text = " ".join(words)
    return exchange(text.capitalize() + source.rng.choice(("", ".", "?", "!")), UNKNOWN)


def monologue(source: Source) -> list[Message]:
    """Return sentences that ask for nothing; now and then one sentence again and again."""
    if source.chance(0.2):
        return exchange(" ".join([english_text(source, 1)] * source.rng.randint(2, 12)), HEARD)
    return exchange(english_text(source, source.rng.choice((1, 1, 2, 3, 5, 9))), HEARD)


def capital(source: Source) -> list[Message]:
    """Return a question for a capital."""
    country, city = source.rng.choice(capitals())
    return exchange(source.rng.choice(_CAPITAL_FRAMES).format(country), f"The capital of {country} is {city}.")


def foreign(source: Source) -> list[Message]:
    """Return a sentence in another language, which the model does not understand."""
    language = source.rng.choice(list(TARGETS.values()))
    return exchange(language.render(source.sampler.draw()) + source.rng.choice((".", "", "!")), ONLY_ENGLISH)


def nothing(source: Source) -> list[Message]:
    """Return an empty message and its answer."""
    return exchange(source.rng.choice(("", " ", "...", "?", ".", "!")), "Please write a message, and I will answer.")


def chat(source: Source) -> list[Message]:
    """Return one exchange of any kind of chat."""
    kinds = (smalltalk, unknown, capital, monologue, noise, foreign)
    return source.rng.choices(kinds, (68, 16, 8, 3, 3, 2))[0](source)


def conversation(source: Source) -> list[Message]:
    """Return one to four exchanges, with or without a system message."""
    count = source.rng.choices((0, 1, 2), (45, 47, 8))[0]
    messages = [system(_persona(source)) for _ in range(count)]
    if source.chance(0.04):
        messages.append({"role": "assistant", "content": "Hello! How can I help you?"})
    for _ in range(source.rng.choices((1, 2, 3, 4), (55, 25, 12, 8))[0]):
        if source.chance(0.06):
            messages.append(user(chat(source)[0]["content"]))
        messages += nothing(source) if source.chance(0.03) else chat(source)
    return messages


def _persona(source: Source) -> str:
    if source.chance(0.6):
        return source.frame("translation", "plain system")
    if source.chance(0.15):
        return f"{source.frame('translation', 'plain system')} {english_text(source, source.rng.randint(1, 8))}"
    topic = source.rng.choice(read_blocks("train/unknown.txt")["topic"])
    name = source.rng.choice(read_lines("train/names.txt"))
    persona = (
        "You are an expert on {0}.",
        "You like {0}.",
        "The user asks about {0}.",
        "Answer like {1} would.",
        "You are {1}, a friendly assistant.",
        "You work for a company that sells books about {0}.",
    )
    return source.rng.choice(persona).format(topic, name)
