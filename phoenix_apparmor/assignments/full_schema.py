"""A schema of the whole file, of which other tools read the most: its breaches are warnings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from phoenix_apparmor.assignments import parse
from phoenix_apparmor.assignments.finding import Finding, Where, shorten
from phoenix_apparmor.errors import PhoenixError


def breaches(
    text: bytes, full_schema: Mapping[str, Any], found: Sequence[Finding]
) -> list[Finding]:
    """Breaches of a schema of the whole file: warnings, as they stop no container.

    found: what is known already, which is not told twice. Raises PhoenixError where that is no
    schema that can be used; nothing where the document cannot be read at all.
    """
    try:
        document = parse.document(text)
    except PhoenixError:
        return []
    seen = {(finding.place, finding.path) for finding in found}
    more = _breaches(document, full_schema, Where(text.decode("utf-8-sig")))
    return [finding for finding in more if (finding.place, finding.path) not in seen]


def schema_fault(text: bytes, error: PhoenixError) -> Finding:
    """That the schema which the document names cannot be used."""
    where = Where(text.decode("utf-8-sig"))
    what = f"the schema that it names is not used: {error.what}"
    return where.finding("warning", ("$schema",), what, "Nothing was checked against it.")


def _breaches(document: Any, schema: Mapping[str, Any], where: Where) -> Iterator[Finding]:
    """Breaches of a schema of the whole file. Raises PhoenixError where it is no schema."""
    import jsonschema

    outward = next((ref for ref in _references(schema) if not ref.startswith("#")), None)
    if outward is not None:
        # jsonschema would fetch it from the network.
        raise PhoenixError(f'the schema refers to "{outward}"; only "#…" is followed.')
    kind = jsonschema.validators.validator_for(schema, jsonschema.Draft7Validator)
    try:
        kind.check_schema(schema)
        errors = list(kind(schema).iter_errors(document))
    except jsonschema.SchemaError as error:
        raise PhoenixError(f"it is not a JSON schema: {shorten(error.message, 200)}.") from error
    except RecursionError as error:
        raise PhoenixError("it refers to itself without an end.") from error
    except Exception as error:
        said = shorten(f"{error}", 160) or type(error).__name__
        raise PhoenixError(f"it is not a JSON schema that can be used: {said}.") from error
    for breach in errors:
        path = tuple(breach.absolute_path)
        value = breach.instance
        what = f"full schema: {shorten(breach.message, 160)}."
        yield where.finding("warning", path, what, value=None if _is_big(value) else value)


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _is_big(value: object) -> bool:
    return isinstance(value, dict | list)
