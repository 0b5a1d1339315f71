"""Remembering what was said earlier in the conversation."""

from dataclasses import dataclass

from vllm_local.starter.skills.messages import Message, assistant, exchange, system, user
from vllm_local.starter.skills.smalltalk import chat
from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks

NOT_TOLD = "You have not told me yet."


@dataclass(frozen=True)
class Fact:
    """A fact about the user, with one way to tell it and the answer to the question for it."""

    heading: str
    value: str
    told: str
    answer: str

    @property
    def reply(self) -> str:
        """What the model says on hearing the fact."""
        if self.heading.startswith("name"):
            return f"Nice to meet you, {self.value}!"
        return "I will remember that."


def _reply(source: Source, fact: Fact) -> str:
    """Return the model's reply, or seldom one that another model might have given."""
    if source.values == "train" and source.chance(0.08):
        other = ("OK.", "Hello, {0}! How can I help you today?", "Got it!", "Thank you for telling me.", "{0}, noted.")
        return source.rng.choice(other).format(fact.value)
    return fact.reply


def _lines(file: str, heading: str, prefix: str) -> list[str]:
    lines = read_blocks(f"{file}/recall.txt")[heading]
    return [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]


def draw_fact(source: Source, heading: str) -> Fact:
    """Return a fact of the kind that the heading names."""
    value = source.value(heading.split("|")[1].strip())
    told = source.rng.choice(_lines(source.frames, heading, "tell: ")).format(value=value)
    answer = _lines("train", heading, "answer: ")[0].format(value=value)
    return Fact(heading, value, told, answer)


def ask(source: Source, heading: str) -> str:
    """Return a question for the fact."""
    return source.rng.choice(_lines(source.frames, heading, "ask: "))


def _headings(source: Source) -> list[str]:
    return list(read_blocks(f"{source.frames}/recall.txt"))


def recall(source: Source) -> list[Message]:
    """Return a conversation with one to three facts, small talk between, and questions for the facts."""
    headings = source.rng.sample(_headings(source), source.rng.choices((1, 2, 3), (55, 30, 15))[0])
    facts = [draw_fact(source, heading) for heading in headings]
    messages: list[Message] = []
    if source.chance(0.3):
        messages.append(system(source.frame("translation", "plain system")))
    for fact in facts:
        if source.chance(0.15):
            messages += chat(source)
        messages += exchange(fact.told, _reply(source, fact))
    for _ in range(source.rng.choices((0, 1, 2), (60, 30, 10))[0]):
        messages += chat(source)
    for fact in source.rng.sample(facts, source.rng.randint(1, len(facts))):
        messages += exchange(ask(source, fact.heading), fact.answer)
    return messages


def long_recall(source: Source, room: int) -> list[Message]:
    """Return facts, a long stretch of other talk of at most about ``room`` tokens, and the questions."""
    headings = source.rng.sample(_headings(source), 2)
    facts = [draw_fact(source, heading) for heading in headings]
    messages = [turn for fact in facts for turn in exchange(fact.told, fact.reply)]
    budget = source.rng.uniform(0.2, 0.75) * room * 4  # about four characters a token
    while sum(len(message["content"]) + 20 for message in messages) < budget:
        messages += chat(source)
    return messages + [turn for fact in facts for turn in exchange(ask(source, fact.heading), fact.answer)]


def recall_one(source: Source) -> list[Message]:
    """Return a conversation of the same kind that ends with its first question and answer."""
    messages = recall(source)
    known = {heading: _lines(source.frames, heading, "ask: ") for heading in _headings(source)}
    questions = {question for lines in known.values() for question in lines}
    for index, message in enumerate(messages):
        if message["role"] == "user" and message["content"] in questions:
            return messages[: index + 2]
    return messages


def introduction(source: Source) -> list[Message]:
    """Return a name and another fact told in one sentence, and the questions for both."""
    headings = _headings(source)
    name, other = draw_fact(source, headings[0]), draw_fact(source, source.rng.choice(headings[1:]))
    frame = source.rng.choice(("My name is {0} and {1}", "I am {0} and {1}", "Hi, I'm {0}. {2}", "I'm {0}, and {1}"))
    lower = other.told if other.told.startswith(("I ", "I'm ")) else other.told[0].lower() + other.told[1:]
    messages = exchange(frame.format(name.value, lower, other.told), name.reply)
    if source.chance(0.3):
        messages += chat(source)
    for fact in source.rng.sample((name, other), source.rng.randint(1, 2)):
        messages += exchange(ask(source, fact.heading), fact.answer)
    return messages


def two_in_a_row(source: Source) -> list[Message]:
    """Return a fact and the question for it in two user messages without an answer between."""
    fact = draw_fact(source, source.rng.choice(_headings(source)))
    return [user(fact.told), user(ask(source, fact.heading)), assistant(fact.answer)]


def one_message(source: Source) -> list[Message]:
    """Return a fact and the question for it in one user message."""
    fact = draw_fact(source, source.rng.choice(_headings(source)))
    told = fact.told if fact.told[-1] in ".!?" else fact.told + "."
    return exchange(f"{told} {ask(source, fact.heading)}", fact.answer)


def not_told(source: Source) -> list[Message]:
    """Return a question for a fact that was never told, perhaps after another fact."""
    asked, other = source.rng.sample(_headings(source), 2)
    messages: list[Message] = []
    if source.chance(0.5):
        fact = draw_fact(source, other)
        messages += exchange(fact.told, fact.reply)
    if source.chance(0.3):
        messages += chat(source)
    return messages + exchange(ask(source, asked), NOT_TOLD)


def from_system(source: Source) -> list[Message]:
    """Return the user's name in the system message, and the question for it."""
    name = source.name()
    frame = source.rng.choice(("The user's name is {0}.", "You are talking to {0}.", "The user is called {0}."))
    plain = source.frame("translation", "plain system")
    texts = [f"{plain} {frame.format(name)}", f"{frame.format(name)} {plain}", frame.format(name)]
    messages = [system(source.rng.choice(texts))]
    if source.chance(0.2):
        messages.insert(source.rng.randint(0, 1), system(plain))
    heading = _headings(source)[0]
    return messages + exchange(ask(source, heading), f"Your name is {name}.")


def named_user(source: Source) -> list[Message]:
    """Return a user whose message carries a name, and the question for it."""
    name = source.name()
    messages: list[Message] = []
    if source.chance(0.5):
        first, answer = chat(source)
        messages += [{**first, "name": name}, answer]
    question = user(ask(source, _headings(source)[0]), name)
    return [*messages, question, assistant(f"Your name is {name}.")]
