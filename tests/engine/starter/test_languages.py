from random import Random

import pytest

from vllm_local.starter.languages import ENGLISH, TARGETS
from vllm_local.starter.lexicon import load_lexicon
from vllm_local.starter.sampler import TRAIN, SentenceSampler
from vllm_local.starter.syntax import (
    Action,
    Being,
    Name,
    NounPhrase,
    Phrase,
    Pronoun,
    State,
    Taste,
    There,
    This,
    Where,
    Wish,
)

LEXICON = load_lexicon()


def noun(key):
    return next(noun for noun in LEXICON.nouns if noun.key == key)


def adjective(key):
    return next(adjective for adjective in LEXICON.adjectives if adjective.key == key)


def verb(key):
    return next(verb for verb in LEXICON.verbs if verb.key == key)


def adverbial(key):
    return next(adverbial for adverbial in LEXICON.adverbials if adverbial.key == key)


PROGRAMMING = next(activity for activity in LEXICON.activities if activity.key == "programming")
ME, YOU, SHE, WE, THEY = (Pronoun(key) for key in ("I", "you", "she", "we", "they"))
CASES = [
    (
        Taste(ME, "love", PROGRAMMING),
        ("I love programming", "Io amo programmare", "Ich liebe das Programmieren", "J'adore programmer",
         "Me encanta programar"),
    ),
    (
        Taste(Name("Anna"), "like", NounPhrase(noun("cat"), "", plural=True)),
        ("Anna likes cats", "A Anna piacciono i gatti", "Anna mag Katzen", "Anna aime les chats",
         "A Anna le gustan los gatos"),
    ),
    (
        Action(SHE, verb("drink"), NounPhrase(noun("water"), ""), adverbial("in the morning")),
        ("She drinks water in the morning", "Lei beve acqua al mattino", "Sie trinkt am Morgen Wasser",
         "Elle boit de l'eau le matin", "Ella bebe agua por la mañana"),
    ),
    (
        Action(WE, verb("have"), NounPhrase(noun("house"), "a", adjective=adjective("red"))),
        ("We have a red house", "Noi abbiamo una casa rossa", "Wir haben ein rotes Haus",
         "Nous avons une maison rouge", "Tenemos una casa roja"),
    ),
    (
        Action(ME, verb("drink"), NounPhrase(noun("coffee"), ""), negated=True),
        ("I do not drink coffee", "Io non bevo caffè", "Ich trinke keinen Kaffee", "Je ne bois pas de café",
         "No bebo café"),
    ),
    (
        Action(YOU, verb("have"), NounPhrase(noun("dog"), "a"), question=True),
        ("Do you have a dog?", "Hai un cane?", "Hast du einen Hund?", "Est-ce que tu as un chien ?",
         "¿Tienes un perro?"),
    ),
    (
        Action(SHE, verb("buy"), NounPhrase(noun("hat"), "a", adjective=adjective("new")), modal="must"),
        ("She must buy a new hat", "Lei deve comprare un cappello nuovo", "Sie muss einen neuen Hut kaufen",
         "Elle doit acheter un nouveau chapeau", "Ella debe comprar un sombrero nuevo"),
    ),
    (
        Action(ME, verb("arrive"), time=adverbial("tomorrow")),
        ("I arrive tomorrow", "Io arrivo domani", "Ich komme morgen an", "J'arrive demain", "Llego mañana"),
    ),
    (
        Action(THEY, verb("visit"), NounPhrase(noun("uncle"), "their")),
        ("They visit their uncle", "Loro visitano il loro zio", "Sie besuchen ihren Onkel",
         "Ils visitent leur oncle", "Ellos visitan a su tío"),
    ),
    (
        State(NounPhrase(noun("chair"), "the", plural=True), adjective("white")),
        ("The chairs are white", "Le sedie sono bianche", "Die Stühle sind weiß", "Les chaises sont blanches",
         "Las sillas son blancas"),
    ),
    (
        State(SHE, adjective("tired"), question=True),
        ("Is she tired?", "Lei è stanca?", "Ist sie müde?", "Est-ce qu'elle est fatiguée ?", "¿Ella está cansada?"),
    ),
    (
        Where(NounPhrase(noun("station"), "the")),
        ("Where is the station?", "Dov'è la stazione?", "Wo ist der Bahnhof?", "Où est la gare ?",
         "¿Dónde está la estación?"),
    ),
    (
        Being(NounPhrase(noun("dog"), "the"), adverbial("in the garden"), adverbial("today"), negated=True),
        ("The dog is not in the garden today", "Il cane non è in giardino oggi", "Der Hund ist heute nicht im Garten",
         "Le chien n'est pas dans le jardin aujourd'hui", "El perro no está en el jardín hoy"),
    ),
    (
        Being(WE, adverbial("at school"), question=True),
        ("Are we at school?", "Siamo a scuola?", "Sind wir in der Schule?", "Est-ce que nous sommes à l'école ?",
         "¿Estamos en la escuela?"),
    ),
    (
        Action(SHE, verb("work"), place=adverbial("in the garden"), negated=True),
        ("She does not work in the garden", "Lei non lavora in giardino", "Sie arbeitet nicht im Garten",
         "Elle ne travaille pas dans le jardin", "Ella no trabaja en el jardín"),
    ),
    (
        There(NounPhrase(noun("cat"), "a"), adverbial("in the garden")),
        ("There is a cat in the garden", "C'è un gatto in giardino", "Im Garten ist eine Katze",
         "Il y a un chat dans le jardin", "Hay un gato en el jardín"),
    ),
    (
        This(NounPhrase(noun("brother"), "my")),
        ("This is my brother", "Questo è mio fratello", "Das ist mein Bruder", "C'est mon frère",
         "Este es mi hermano"),
    ),
    (
        Wish(NounPhrase(noun("coffee"), "a")),
        ("I would like a coffee, please", "Vorrei un caffè, per favore", "Ich möchte einen Kaffee, bitte",
         "Je voudrais un café, s'il vous plaît", "Quisiera un café, por favor"),
    ),
    (
        Phrase("Good morning", next(row for row in LEXICON.phrases if row["en"] == "Good morning")),
        ("Good morning", "Buongiorno", "Guten Morgen", "Bonjour", "Buenos días"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "texts"), CASES, ids=[texts[0] for _, texts in CASES])
def test_sentences(sentence, texts):
    languages = [ENGLISH, *(TARGETS[code] for code in ("it", "de", "fr", "es"))]
    assert tuple(language.render(sentence) for language in languages) == texts


def test_every_sentence_can_be_said_in_every_language():
    sampler = SentenceSampler(Random(1), TRAIN, lambda: "Anna")
    for _ in range(3_000):
        sentence = sampler.draw()
        for language in (ENGLISH, *TARGETS.values()):
            text = language.render(sentence)
            assert text == text.strip()
            assert "  " not in text
            assert "-" not in text.split()  # the mark of a missing plural
