"""Random JSON schemas, and the shortest value of each."""

import json

from hypothesis import strategies as st

NAMES = ("a", "name", "größe", "日本", "with space", 'quote"d', "x-y_z")


def strings():
    return st.builds(
        lambda low, more: {"type": "string", "minLength": low, **({} if more is None else {"maxLength": low + more})},
        st.integers(0, 3),
        st.none() | st.integers(0, 5),
    )


def numbers():
    bounds = st.tuples(st.integers(-300, 300), st.integers(0, 50))
    return st.builds(
        lambda kind, pair: {"type": kind, **({} if pair is None else {"minimum": pair[0], "maximum": sum(pair)})},
        st.sampled_from(["integer", "number"]),
        st.none() | bounds,
    )


CONSTANTS = st.sampled_from(["", "ü", "red", "日本語", "a\nb", 'q"', 0, 17, True, None, [1, "x"], {"k": None}])
LEAVES = st.one_of(
    strings(),
    numbers(),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]}]),
    st.builds(lambda value: {"const": value}, CONSTANTS),
    st.builds(lambda values: {"enum": values}, st.lists(CONSTANTS, min_size=1, max_size=3)),
    st.sampled_from(
        [
            {"type": "string", "pattern": "^[A-Z]{2}-[0-9]+$"},
            {"type": "string", "pattern": "[a-f]+@"},
            {"type": "string", "format": "date"},
            {"type": "string", "format": "uuid"},
            {"type": "integer", "exclusiveMinimum": 0, "multipleOf": 5},
        ]
    ),
)


def objects(children):
    return st.builds(
        lambda properties, keep: {
            "type": "object",
            "properties": properties,
            "required": [name for name, kept in zip(properties, keep, strict=False) if kept],
        },
        st.dictionaries(st.sampled_from(NAMES), children, max_size=4),
        st.lists(st.booleans(), min_size=4, max_size=4),
    )


def arrays(children):
    return st.builds(
        lambda items, low, more: {"type": "array", "items": items, "minItems": low, "maxItems": low + more},
        children,
        st.integers(0, 2),
        st.integers(0, 3),
    )


def unions(children):
    return st.builds(lambda options: {"anyOf": options}, st.lists(children, min_size=1, max_size=3))


SCHEMAS = st.recursive(
    LEAVES, lambda children: st.one_of(objects(children), arrays(children), unions(children)), max_leaves=8
)


def shortest(schema):  # noqa: PLR0911
    """Returns a short valid value as text, or None where this does not know one; shortest for most schemas."""
    if "const" in schema or "enum" in schema:
        return min(
            (json.dumps(value, ensure_ascii=False) for value in schema.get("enum", [schema.get("const")])), key=len
        )
    if "anyOf" in schema:
        options = [shortest(option) for option in schema["anyOf"]]
        return None if None in options else min(options, key=len)
    kind = schema["type"]
    if isinstance(kind, list):
        return '""'
    if kind == "array":
        item = shortest(schema["items"])
        return None if item is None and schema["minItems"] else f"[{', '.join([item or ''] * schema['minItems'])}]"
    if kind == "object":
        values = [(name, shortest(schema["properties"][name])) for name in schema["required"]]
        if any(value is None for _, value in values):
            return None
        return "{" + ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {value}" for name, value in values) + "}"
    if kind == "string" and not {"pattern", "format"} & set(schema):
        return '"' + "a" * schema["minLength"] + '"'
    if kind in {"integer", "number"} and "multipleOf" not in schema:
        low, high = schema.get("minimum", 0), schema.get("maximum", 0)
        return str(0 if low <= 0 <= high else min((low, high), key=abs))
    return {"boolean": "true", "null": "null"}.get(kind)
