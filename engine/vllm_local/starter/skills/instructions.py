"""Instructions that end or limit an answer: where to stop, what to end with, how many sentences."""

from __future__ import annotations

from vllm_local.starter.lexicon import load_lexicon
from vllm_local.starter.skills.facts import draw_facts
from vllm_local.starter.skills.messages import Message, exchange, system
from vllm_local.starter.skills.numbers import count_up, one_sum
from vllm_local.starter.skills.phrasing import fresh, politely, wording
from vllm_local.starter.skills.smalltalk import capital, chat
from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks
from vllm_local.starter.values import draw_value

STOPPED = "All right, I stop here."
MOST_SENTENCES = 4
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_FILE = "instructions"


_MADE_UP_MARKS = 0.85
# Headings of requests that take other words around them.
_WRAPPED = ("count stop", "count some", "say", "first", "times")


def _ask(source: Source, heading: str, **parts: object) -> str:
    if source.frames == "heldout":
        return source.frame(_FILE, heading).format(**parts)
    return fresh(source, lambda: _composed(source, heading, **parts))


def _composed(source: Source, heading: str, **parts: object) -> str:
    frame = wording(source, _FILE, heading)
    wraps = heading in _WRAPPED and ("{words}" not in frame[-8:] or heading == "times")
    return (politely(source, frame) if wraps else frame).format(**parts)


def _number(source: Source, number: int) -> str:
    """Return a number as a word, or now and then in digits."""
    return str(number) if source.chance(0.3) else _NUMBERS[number]


def _text(source: Source) -> str:
    """Return something short to say."""
    kinds = ("word", "phrase", "name", "title", "code", "integer", "accented")
    return draw_value(source, source.rng.choices(kinds, (35, 25, 14, 8, 6, 6, 6))[0]).text


def _mark(source: Source) -> str:
    """Return a word in capitals to end with; in training most are made up."""
    if source.values == "train" and source.chance(_MADE_UP_MARKS):
        return _made_up_mark(source)
    return source.rng.choice(read_blocks(f"{source.values}/instructions.txt")["marks"])


def _made_up_mark(source: Source) -> str:
    word = source.made_up_word().upper()
    return f"{word} {source.made_up_word().upper()}" if source.chance(0.1) else word


# Where to stop


def count_until(source: Source) -> list[Message]:
    """Return a request to count that says where, or after how many numbers, to stop."""
    first = source.rng.choice((1, 1, source.rng.randint(0, 30)))
    last = first + source.rng.randint(3, 12)
    if source.chance(0.5):
        stop = source.rng.randint(first + 1, last - 1)
        return exchange(_ask(source, "count stop", first=first, last=last, stop=stop), count_up(first, stop))
    count = source.rng.randint(2, min(10, last - first))
    question = _ask(source, "count some", first=first, last=last, n=_number(source, count))
    return exchange(question, count_up(first, first + count - 1))


def stop_now(source: Source) -> list[Message]:
    """Return the request to stop, perhaps after other talk."""
    before = [turn for _ in range(source.rng.randint(0, 2)) for turn in chat(source)]
    return [*before, *exchange(_ask(source, "stop"), STOPPED)]


def say_only(source: Source) -> list[Message]:
    """Return the request to say something and no more."""
    words = _text(source)
    return exchange(_ask(source, "say", words=words), words)


def first_words(source: Source) -> list[Message]:
    """Return the request to repeat only the first of some words."""
    words = [draw_value(source, "word").text for _ in range(source.rng.randint(3, 7))]
    count = source.rng.randint(1, len(words) - 1)
    question = _ask(source, "first", n=_number(source, count), words=" ".join(words))
    question = question.replace("one words", "one word").replace("1 words", "1 word")
    return exchange(question, " ".join(words[:count]))


def several_times(source: Source) -> list[Message]:
    """Return the request to say something several times."""
    words, count = _text(source), source.rng.randint(2, 5)
    return exchange(_ask(source, "times", words=words, n=_number(source, count)), " ".join([words] * count))


def _request(source: Source) -> tuple[str, str]:
    """Return a request, ending with a mark, and its answer."""
    if source.chance(0.3):
        question, answer = (message["content"] for message in source.rng.choice((capital, one_sum))(source))
        return question if question.endswith((".", "?", "!")) else f"{question}.", answer
    words = _text(source)
    return _ask(source, "request", words=words), words


def end_with(source: Source) -> list[Message]:
    """Return a request whose answer must end with a word in capitals."""
    mark = _mark(source)
    request, answer = _request(source)
    answer = f"{answer} {mark}"
    if source.chance(0.35):
        return [system(_ask(source, "system end", mark=mark)), *exchange(request, answer)]
    return exchange(_ask(source, "end", request=request, mark=mark), answer)


# How many sentences


def _noun(source: Source) -> str:
    """Return a noun to write about; in training most are made up."""
    if source.values == "heldout":
        return source.rng.choice(read_blocks("heldout/instructions.txt")["nouns"])
    if source.chance(0.65):
        return source.made_up_word()
    nouns = [noun.forms["en"][0] for noun in load_lexicon().nouns if not noun.is_mass]
    return source.rng.choice((*nouns, *read_blocks("train/instructions.txt")["nouns"]))


def sentences(kind: str, count: int, noun: str = "") -> str:
    """Return the first sentences of a fixed text.

    Args:
        kind: "text" and "tale" are about the noun, "me" is about the model.
        count: Number of sentences, up to four.
        noun: What the text is about.
    """
    lines = read_blocks("train/instructions.txt")[kind][:count]
    return " ".join(line.format(noun=noun) for line in lines)


def _topic(source: Source) -> tuple[str, str, str]:
    """Return a request for a text that may be of any length, the text's kind and its noun."""
    heading, kind = source.rng.choices((("self", "me"), ("about", "text"), ("story", "tale")), (30, 40, 30))[0]
    noun = "" if kind == "me" else _noun(source)
    return _ask(source, heading, **_article(noun)), kind, noun


def _article(noun: str) -> dict[str, str]:
    return {"a": "an" if noun.startswith(tuple("aeiou")) else "a", "noun": noun}


def _limit(source: Source, count: int) -> dict[str, str]:
    return {"n": _number(source, count), "sentences": "sentence" if count == 1 else "sentences"}


def _punctuate(source: Source, text: str) -> str:
    """Return the request as a sentence."""
    asks = text.lower().startswith(("can you", "could you"))
    if asks and ". " in text:
        text, asks = text.replace(". ", "? ", 1), False
    mark = "?" if asks else source.rng.choices((".", "", "!"), (80, 15, 5))[0]
    return (text if source.chance(0.1) else text[0].upper() + text[1:]) + mark


def in_sentences(source: Source) -> list[Message]:
    """Return the request for a text of so many sentences, or a short one."""
    count = source.rng.randint(1, MOST_SENTENCES)
    if source.chance(0.25):
        noun = _noun(source)
        question = _ask(source, "about counted", **_limit(source, count), **_article(noun))
        return exchange(_punctuate(source, question), sentences("text", count, noun))
    request, kind, noun = _topic(source)
    briefly = count == 1 and source.chance(0.4)
    heading, limit = ("limit one", {}) if briefly else ("limit", _limit(source, count))
    question = _ask(source, heading, request=request, **limit)
    return exchange(_punctuate(source, question), sentences(kind, count, noun))


def limited_by_system(source: Source) -> list[Message]:
    """Return a system message that limits the answer's sentences, and a question."""
    count = source.rng.randint(1, MOST_SENTENCES)
    limit = system(_ask(source, "system limit", **_limit(source, count)))
    if source.chance(0.4):
        return [limit, *_short_question(source)]
    request, kind, noun = _topic(source)
    return [limit, *exchange(_punctuate(source, request), sentences(kind, count, noun))]


def _short_question(source: Source) -> list[Message]:
    """Return a question whose answer is one sentence anyway."""
    if source.chance(0.4):
        fact = draw_facts(source, 1)[0]
        return [*exchange(fact.told, fact.reply), *exchange(fact.question, fact.answer)]
    return source.rng.choice((capital, one_sum))(source)


def instructions(source: Source) -> list[Message]:
    """Return an instruction that ends or limits the answer, obeyed."""
    messages = _instruction(source)
    if source.values == "train" and source.frames == "train" and messages[0]["role"] != "system":
        for _ in range(source.rng.choices((0, 1, 2, 3), (40, 25, 20, 15))[0]):
            following = _instruction(source)
            messages += following if following[0]["role"] != "system" else []
    return messages


def _instruction(source: Source) -> list[Message]:
    makers = (
        count_until,
        stop_now,
        say_only,
        first_words,
        several_times,
        end_with,
        in_sentences,
        limited_by_system,
    )
    return source.rng.choices(makers, (20, 6, 10, 12, 10, 16, 20, 10))[0](source)
