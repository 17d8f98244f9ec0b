"""Configurations: read, changed by dotted keys, written. Python reads TOML but does not write it."""

import json
import math
import tomllib


class StudyError(Exception):
    """`<problem> (<why>) <suggestion>`, one line."""


def read_toml(path):
    try:
        with open(path, "rb") as f:
            return tomllib.load(f)
    except OSError as e:
        raise StudyError(f"cannot read '{path}' ({e.strerror}); give an existing TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise StudyError(f"'{path}' is not TOML ({e}); mend it") from None


def parse_assignment(text):
    """`KEY=VALUE`, VALUE in TOML, as (key, value)."""
    key, separator, value = text.partition("=")
    try:
        if not (separator and key.strip()):
            raise tomllib.TOMLDecodeError("no '='")
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError as e:
        raise StudyError(f"'{text}' is no KEY=VALUE ({e}); write e.g. train.epochs=10, or 'order.kind=\"rows\"'") from None


def flat(table, prefix=""):
    """A table's leaves by dotted key."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _parent(config, key, make):
    """The table or list that holds the last word of a dotted key, and that word; None where it is absent."""
    *path, last = key.split(".")
    place = config
    for word in path:
        if isinstance(place, list):
            place = place[_index(place, word, key)]
        elif isinstance(place, dict) and (make or word in place):
            place = place.setdefault(word, {})
        else:
            return None, last
    if isinstance(place, list):
        last = _index(place, last, key)
    elif not isinstance(place, dict):
        raise StudyError(f"'{key}' leads nowhere (a value stands before its last word); name a key of the configuration")
    return place, last


def _index(entries, word, key):
    try:
        i = int(word)
        entries[i]
        return i
    except (ValueError, IndexError):
        raise StudyError(
            f"'{key}' leads nowhere ('{word}' is none of the list's 0 to {len(entries) - 1}; -1 is the last); choose one"
        ) from None


def put(config, key, value):
    place, last = _parent(config, key, True)
    place[last] = value


def remove(config, key):
    place, last = _parent(config, key, False)
    if place is None or (isinstance(place, dict) and last not in place):
        raise StudyError(f"cannot remove '{key}' (the configuration does not have it); leave it out of the variant")
    del place[last]


def value_text(value):
    """A value as TOML."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float() if math.isfinite(value):
            return repr(value)
        case str():
            # TOML's basic strings know all of JSON's escapes.
            return json.dumps(value)
        case list():
            return "[" + ", ".join(value_text(v) for v in value) + "]"
        case dict():
            return "{" + ", ".join(f"{key_text(k)} = {value_text(v)}" for k, v in value.items()) + "}"
    raise StudyError(f"a configuration cannot hold {value!r} (it is no number, text, list or table) change it")


def key_text(key):
    bare = key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key)
    return key if bare else json.dumps(key)


def write_toml(config):
    """A configuration of one level of tables as TOML: plain keys, [table]s, [[list]]s of tables, the rest inline."""
    plain, tables = [], []
    for key, value in config.items():
        name = key_text(key)
        if isinstance(value, dict):
            tables += ["", f"[{name}]", *(f"{key_text(k)} = {value_text(v)}" for k, v in value.items())]
        elif isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
            for entry in value:
                tables += ["", f"[[{name}]]", *(f"{key_text(k)} = {value_text(v)}" for k, v in entry.items())]
        else:
            plain.append(f"{name} = {value_text(value)}")
    return "\n".join(plain + tables).lstrip("\n") + "\n"
