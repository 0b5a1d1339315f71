"""How much of JSON schema answers can be held to, and whether each answer validates.

Usage: python benchmarks/json_schema.py [--only real|suite] [--limit N] [--answers 10] [--seconds S] [--resume]
                                        [--suite FOLDER] [--output benchmarks/results]

Schemas: the JSON-Schema-Test-Suite's (drafts 2020-12 and 7) and a fixed list of real ones; see schema_sources.py.

- accepted: the compiler takes the schema. What it refuses is counted by keyword.
- answers: random walks over the grammar's masks, with the starter model's tokens, each checked by `jsonschema` in the
  schema's draft, `format` included as far as the grammar enforces it. `multipleOf` is checked by the decimals that are
  written: by floats, as `jsonschema` has it, 16.38 is no multiple of 0.01.
- valid, invalid: the suite's own values of the accepted schemas, written as an answer would be. Grammars must refuse
  all invalid values; of the valid ones they leave some out, for reasons that are counted.

The run fails if an answer does not validate, an invalid value is taken, or fewer than 95 % of the real schemas are
accepted. It can be done in portions: `--seconds 60`, then again with `--resume`, until all is measured.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import platform
import random
import re
import statistics
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table
from schema_sources import CACHE, Entry, real_schemas, suite_schemas

from vllm_local.errors import InvalidRequestError
from vllm_local.grammar_spec import Json
from vllm_local.request import Grammar
from vllm_local.starter import starter_path
from vllm_local.structured_output import GrammarCompiler
from vllm_local.structured_output.schema_keywords import FORMATS
from vllm_local.structured_output.tokenizer_bridge import TokenizerBridge
from vllm_local.structured_outputs_params import StructuredOutputsParams
from vllm_local.tokenizer.tokenizer import Tokenizer

Row = dict[str, Any]
"""What was found out about one schema."""
MAX_TOKENS = 2000
LEAST_ACCEPTED = 0.95
_ENDING = 0.3
"""Share of the steps that take a token which closes something, where one may; walks would not end otherwise."""
_MAX_ORDERS = 120
_COMPILER_REASONS = {
    "allows no value": "no value fits",
    "Unsatisfiable": "no value fits",
    "patternProperty": "patternProperties",
    "multipleOf": "multipleOf",
    "regex": "pattern",
}
"""What the compiler's own reasons are about."""
_REFUSAL = re.compile(r"The schema's (?P<path>\$.*?) (?:is|has|must|points|takes|allows|holds) ")


class Bench:
    """Measures schemas over the starter model's tokens."""

    def __init__(self, answers: int) -> None:
        """Loads the tokenizer.

        Args:
            answers: Walks a schema.
        """
        tokenizer = Tokenizer.from_path(starter_path())
        self._answers = answers
        self._compiler = GrammarCompiler(tokenizer, tokenizer.vocab_size)
        self._bridge = TokenizerBridge(tokenizer, tokenizer.vocab_size)
        texts = [tokenizer.token_text(token_id) for token_id in range(tokenizer.vocab_size)]
        self._closes = np.array([text[:1] in {'"', "]", "}"} for text in texts])
        self._closes[list(self._bridge.eos_token_ids)] = True
        self._bitmask = np.zeros((1, (tokenizer.vocab_size + 31) // 32), dtype=np.int32)

    def measure(self, entry: Entry) -> Row:
        """Returns what one schema is made of."""
        row: Row = {"source": entry.source, "group": entry.group, "name": entry.name}
        began = time.perf_counter()
        try:
            self._grammar(entry.schema)
        except InvalidRequestError as error:
            return {**row, "refused": str(error)}
        row["seconds"] = time.perf_counter() - began
        return {**row, **self._answer(entry), **self._judge_instances(entry)}

    def _grammar(self, schema: Any, *, closed: bool = True) -> Grammar:
        params = StructuredOutputsParams(constraint=Json(schema, closed=closed))
        return self._compiler.compile(params, MAX_TOKENS)

    def _answer(self, entry: Entry) -> Row:
        """Walks through the grammar, and checks where the walks lead."""
        validator = validator_of(entry)
        counts: Counter[str] = Counter()
        wrong = []
        for number in range(self._answers):
            rng = random.Random(zlib.crc32(f"{entry.name} {number}".encode()))
            try:
                text = self._walk(self._grammar(entry.schema), rng)
            except InvalidRequestError:  # the grammar takes too much work at a place: the request ends with an error
                counts["failed"] += 1
                continue
            verdict = "cut" if text is None else judge(validator, text)
            counts[verdict] += 1
            if verdict == "wrong":
                wrong.append(text)
        return {**counts, **({"wrong answers": wrong[:3]} if wrong else {})}

    def _walk(self, grammar: Grammar, rng: random.Random) -> str | None:
        """Returns a random answer, or None if it was not whole within `MAX_TOKENS`."""
        tokens: list[int] = []
        while len(tokens) < MAX_TOKENS:
            run = grammar.forced_tokens() or [self._draw(grammar, rng)]
            assert grammar.accept(run), "what is allowed is not accepted"
            if run[-1] in self._bridge.eos_token_ids:
                return self._bridge.bytes_of(tokens + run[:-1]).decode()
            tokens += run
        return self._bridge.bytes_of(tokens).decode() if grammar.is_fulfilled() else None

    def _draw(self, grammar: Grammar, rng: random.Random) -> int:
        grammar.fill_bitmask(self._bitmask, 0)
        allowed = _as_bools(self._bitmask[0])[: len(self._closes)]
        closing = allowed & self._closes
        return int(rng.choice(np.flatnonzero(closing if rng.random() < _ENDING and closing.any() else allowed)))

    def _judge_instances(self, entry: Entry) -> Row:
        """Asks the grammar about the suite's own values."""
        counts: Counter[str] = Counter()
        taken = []
        for instance in entry.instances:
            is_taken = self._takes(entry.schema, instance.value)
            counts["valid" if instance.is_valid else "invalid"] += 1
            if instance.is_valid:
                counts["taken" if is_taken else self._reason(entry.schema, instance.value)] += 1
            elif is_taken:
                taken.append(instance.description)
        return {"instances": dict(counts), **({"invalid and taken": taken} if taken else {})}

    def _takes(self, schema: Any, value: Any, *, closed: bool = True) -> bool:
        orders = itertools.islice(_orders(value, schema), _MAX_ORDERS)
        return any(self._accepts(self._grammar(schema, closed=closed), order) for order in orders)

    def _accepts(self, grammar: Grammar, value: Any) -> bool:
        tokens = self._bridge.tokenize(json.dumps(value, ensure_ascii=False).encode())
        return grammar.accept(tokens) and grammar.is_fulfilled()

    def _reason(self, schema: Any, value: Any) -> str:
        """Says why a grammar leaves a valid value out."""
        if self._takes(schema, value, closed=False):
            return "objects are closed"
        if "format" in json.dumps(schema):
            return "formats are enforced, and written in fewer ways"
        if isinstance(schema, dict) and {"properties", "required"} & set(schema) and not isinstance(value, dict):
            return "a schema with properties means an object"
        if _is_any(value, lambda item: isinstance(item, float) and (item.is_integer() or abs(item) < 1e-4)):
            return "a number is written in one way"
        if _is_any(value, lambda item: isinstance(item, str) and re.search(r"[\x00-\x07\x0b\x0e-\x1f\x7f]", item)):
            return "control characters"
        return "other"


def validator_of(entry: Entry) -> Any:
    """Returns the judge of a schema's answers: its draft's validator, with the formats that the grammar enforces."""
    default = jsonschema.Draft7Validator if entry.source == "draft 7" else jsonschema.Draft202012Validator
    chosen = jsonschema.validators.validator_for(entry.schema, default=default)
    drafts = (chosen, jsonschema.Draft7Validator, jsonschema.Draft4Validator)
    chosen = next((draft for draft in drafts if _is_of_draft(entry.schema, draft)), chosen)
    exact = jsonschema.validators.extend(chosen, {"multipleOf": _multiple_of})
    return exact(entry.schema, format_checker=format_checker(chosen))


def _multiple_of(validator: Any, divisor: float, value: Any, _: Any) -> Iterator[jsonschema.ValidationError]:
    if validator.is_type(value, "number") and Fraction(repr(value)) % Fraction(repr(divisor)):
        yield jsonschema.ValidationError(f"{value!r} is not a multiple of {divisor}")


def _is_of_draft(schema: Any, draft: Any) -> bool:
    """Whether a schema, which need not say its draft, can be read in one."""
    try:
        draft.check_schema(schema)
    except jsonschema.SchemaError:
        return False
    return True


def format_checker(validator: Any) -> jsonschema.FormatChecker:
    """Returns a validator's checks of the formats that the grammar enforces, as far as they are installed."""
    checker = jsonschema.FormatChecker(())
    found = validator.FORMAT_CHECKER.checkers
    checker.checkers = {name: found[name] for name in FORMATS if name in found}
    return checker


def judge(validator: Any, text: str) -> str:
    """Returns whether an answer is "right" or "wrong", or "unjudged": its pattern is none of Python's, say."""
    try:
        value = json.loads(text)
    except ValueError:
        return "wrong"
    try:
        return "right" if validator.is_valid(value) else "wrong"
    except (re.error, RecursionError):
        return "unjudged"


def summary(rows: Sequence[Row]) -> Row:
    """Returns the figures of some schemas."""
    accepted = [row for row in rows if "refused" not in row]
    counts: Counter[str] = Counter()
    instances: Counter[str] = Counter()
    for row in accepted:
        counts.update({name: row.get(name, 0) for name in ("right", "wrong", "cut", "failed", "unjudged")})
        instances.update(row["instances"])
    result: Row = {"schemas": len(rows), "accepted": len(accepted), "answers": dict(counts)}
    result["median milliseconds to compile"] = round(
        1000 * statistics.median([row["seconds"] for row in accepted] or [0.0]), 1
    )
    if instances:
        valid, invalid = instances.pop("valid", 0), instances.pop("invalid", 0)
        taken = sum(len(row.get("invalid and taken", ())) for row in accepted)
        result["valid values"] = {"all": valid, "taken": instances.pop("taken", 0), "left out": dict(instances)}
        result["invalid values"] = {"all": invalid, "refused": invalid - taken}
    return result


def report(rows: Sequence[Row]) -> Row:
    """Returns what is written to a file: figures by list and group, what was refused, and what went wrong."""
    sources = _by(rows, "source")
    refused: dict[str, Row] = {}
    for row in rows:
        if "refused" in row:
            kept = refused.setdefault(_keyword(row["refused"]), {"schemas": Counter(), "example": row["refused"]})
            kept["schemas"][row["source"]] += 1
    wrong = [row for row in rows if "wrong answers" in row or "invalid and taken" in row]
    return {
        "versions": _versions(),
        "formats that are checked": sorted(format_checker(jsonschema.Draft202012Validator).checkers),
        "lists": {source: summary(found) for source, found in sources.items()},
        "groups": {
            source: {group: summary(of_group) for group, of_group in _by(found, "group").items()}
            for source, found in sources.items()
        },
        "refused": dict(sorted(refused.items(), key=lambda item: -sum(item[1]["schemas"].values()))),
        "wrong": [{key: value for key, value in row.items() if key != "seconds"} for row in wrong],
    }


def show(figures: Row, console: Console) -> None:
    """Prints the figures of each list, and what was refused."""
    lists = Table("schemas", "accepted", "answers that validate", "cut, failed", "valid taken", "invalid refused")
    for name, row in figures["lists"].items():
        answers, valid, invalid = row["answers"], row.get("valid values", {}), row.get("invalid values", {})
        lists.add_row(
            name,
            _share(row["accepted"], row["schemas"]),
            _share(answers["right"], answers["right"] + answers["wrong"]),
            f"{answers['cut']}, {answers['failed']}",
            _share(valid["taken"], valid["all"]) if valid else "",
            _share(invalid["refused"], invalid["all"]) if invalid else "",
        )
    console.print(lists)
    refused = Table("refused for", *figures["lists"])
    for keyword, row in figures["refused"].items():
        refused.add_row(keyword, *(str(row["schemas"].get(source, "")) for source in figures["lists"]))
    console.print(refused)
    for row in figures["wrong"]:
        console.print(f"Wrong: {row}", style="red", markup=False)


def is_as_promised(figures: Row) -> bool:
    """Says whether all answers validate, all invalid values are refused, and enough real schemas are accepted."""
    real = figures["lists"].get("real", {"accepted": 1, "schemas": 1})
    return not figures["wrong"] and real["accepted"] >= LEAST_ACCEPTED * real["schemas"]


def main() -> None:
    """Measures, prints the tables and writes the figures."""
    arguments = _arguments()
    CACHE.mkdir(exist_ok=True)
    progress = CACHE / "json_schema.json"
    rows: dict[str, Row] = json.loads(progress.read_text(encoding="utf-8")) if arguments.resume else {}
    bench = Bench(arguments.answers)
    entries = {_key(entry): entry for entry in _entries(arguments)}
    pending = [key for key in entries if key not in rows]
    began = time.process_time()
    try:
        for key in track(pending, "Measuring"):
            if time.process_time() - began > arguments.seconds:
                break
            rows[key] = bench.measure(entries[key])
    finally:
        progress.write_text(json.dumps(rows), encoding="utf-8")
    measured = [rows[key] for key in entries if key in rows]
    figures = report(measured)
    console = Console()
    show(figures, console)
    if len(measured) < len(entries):
        console.print(f"{len(measured)} of {len(entries)} schemas are measured; go on with --resume.")
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "json_schema.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    raise SystemExit(not is_as_promised(figures))


def _entries(arguments: argparse.Namespace) -> list[Entry]:
    real = real_schemas() if arguments.only != "suite" else ()
    suite = suite_schemas(arguments.suite) if arguments.only != "real" else ()
    return [*itertools.islice(real, arguments.limit), *itertools.islice(suite, arguments.limit)]


def _orders(value: Any, schema: Any) -> Iterator[Any]:
    """Yields a value with its properties in the schema's order, then with the outermost ones in any order."""
    rank = {name: place for place, name in enumerate(dict.fromkeys(_names(schema)))}
    ordered = _sorted(value, rank)
    yield ordered
    if isinstance(ordered, dict):
        yield from (dict(items) for items in itertools.permutations(ordered.items()))


def _sorted(value: Any, rank: dict[str, int]) -> Any:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: rank.get(name, len(rank)))
        return {name: _sorted(value[name], rank) for name in names}
    return [_sorted(item, rank) for item in value] if isinstance(value, list) else value


def _names(schema: Any) -> Iterator[str]:
    """Yields the properties that a schema names, outer ones first."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield from schema["properties"]
        yield from (name for name in schema.get("required", ()) if isinstance(name, str))
    for item in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _names(item)


def _is_any(value: Any, holds: Any) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(holds(value)) or any(_is_any(item, holds) for item in items)


def _keyword(refusal: str) -> str:
    """Returns the keyword that a schema was refused for."""
    found = _REFUSAL.match(refusal)
    if found is not None and found["path"] != "$":
        return re.sub(r"\[\d+\]$", "", found["path"]).rpartition(".")[2]
    return next((name for text, name in _COMPILER_REASONS.items() if text in refusal), "something else")


def _by(rows: Iterable[Row], field: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row[field], []).append(row)
    return found


def _key(entry: Entry) -> str:
    return f"{entry.source} | {entry.group} | {entry.name}"


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.1f} %)" if whole else "none"


def _as_bools(mask: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    return np.unpackbits(mask.view(np.uint8), bitorder="little").astype(np.bool_)


def _versions() -> dict[str, str]:
    names = ("llguidance", "jsonschema", "pydantic")
    return {"Python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("real", "suite"), help="measure one of the lists")
    parser.add_argument("--limit", type=int, help="measure that many schemas of each list")
    parser.add_argument("--answers", type=int, default=10, help="walks a schema")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="CPU seconds after which to stop")
    parser.add_argument("--resume", action="store_true", help="keep what an earlier run has measured")
    parser.add_argument("--suite", type=Path, help="a checkout of the JSON-Schema-Test-Suite")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
