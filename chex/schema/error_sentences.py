"""Turns pydantic's errors into sentences with the dotted path, the value, the rule and the remedy."""

import difflib
import re
import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from chex.errors import suggest

RULES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a string",
}
BOOLEAN_WORDS = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}
"""Words that people write for true and false, and the YAML value that each stands for."""

OTHER_NAMES = {"optimizer.lr": "learning_rate", "batches.size": "batch_size", "model.backbone": "architecture"}
"""The dotted paths of settings, and the names that other programs give to them."""


def error_sentence(model: type[BaseModel], error: ErrorDetails) -> str:
    """Returns the sentence for one validation error of `model`."""
    path = ".".join(map(str, error["loc"]))
    value, kind = error["input"], error["type"]
    match kind:
        case "extra_forbidden":
            return f"{path}: unknown key; {_suggest_key(model, error['loc'])}"
        case "invalid_key":
            return f"{path}: this key is not a string; put quotes around it, or remove it"
        case "literal_error":
            choices = [str(choice).strip("'") for choice in error["ctx"]["expected"].replace(" or ", ", ").split(", ")]
            return f"{path}: {_format_yaml(value)} is not allowed; {suggest(value, choices)}"
        case "value_error":
            message = str(error["ctx"]["error"])  # a check of a whole mapping starts with the key below `path`
            return f"{path}{message}" if message.startswith(".") or not path else f"{path}: {message}"
        case "model_type" | "model_attributes_type" | "dict_type" if value is None:
            return f"{path}: blank; write `key: value` lines below it, or remove it"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{path}: {value!r} is not a mapping; write `key: value` lines below {path}"
        case "missing":
            return f"{path}: missing; add it"
        case "string_type" if error["loc"][-1] == "[key]":
            above = ".".join(map(str, error["loc"][:-2]))
            return f"{above}: the key {value!r} is not a string; put quotes around it, or remove it"
        case _ if kind in RULES:
            return f"{path}: {_format_yaml(value)} is refused, it should be {RULES[kind]}; {_remedy(kind, value)}"
        case _:
            _, should, rule = error["msg"].partition("should ")
            return f"{path}: {_format_yaml(value)} is refused, it {should}{rule or error['msg']}; change the value"


def setting_paths(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """Yields every dotted path of a config class that --set can name, except paths into lists and policies."""
    for name, field in model.model_fields.items():
        inner = _inner_model(field.annotation, (Union, types.UnionType))
        if inner is None:
            yield f"{above}{name}"
        else:
            yield from setting_paths(inner, "" if name == "base" else f"{above}{name}.")


def matching_paths(key: str, model: type[BaseModel]) -> list[str]:
    """Returns the dotted paths of `model` that equal or end in `key`; if there are none, the paths most like `key`."""
    by_name: dict[str, list[str]] = {}
    for path in setting_paths(model):
        for name in (path, OTHER_NAMES.get(path, path), path.rpartition(".")[2], path.replace(".", "_")):
            by_name.setdefault(name, []).append(path)
    near = [key] if key in by_name else difflib.get_close_matches(key, by_name, n=1, cutoff=0.8)
    return list(dict.fromkeys(by_name[near[0]])) if near else []


def _suggest_key(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    key, fields = str(loc[-1]), _model_at(model, loc[:-1]).model_fields
    if not difflib.get_close_matches(key, fields, n=1, cutoff=0.6) and (paths := matching_paths(key, model)):
        return "did you mean " + " or ".join(f"'{path}'" for path in paths) + "?"
    return suggest(key, fields)


def _format_yaml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "blank" if value is None else repr(value)


def _remedy(kind: str, value: Any) -> str:
    if kind == "string_type":
        return "change the value" if value is None or isinstance(value, list | dict) else "put quotes around it"
    if kind == "bool_type" and str(value).lower() in BOOLEAN_WORDS:
        return f"write {BOOLEAN_WORDS[str(value).lower()]}"
    if isinstance(value, float) and kind == "int_type" and value.is_integer():
        return f"write {int(value)}"
    if not isinstance(value, str):
        return "change the value"
    if kind in ("float_type", "int_type") and re.fullmatch(r"[-+]?\d+,\d+", value):
        return f"write {value.replace(',', '.')}"
    if kind == "int_type" and re.fullmatch(r"\d[\d_]*", value):
        return f"write {int(value.replace('_', ''))}{'' if '_' in value else ', without quotes'}"
    if kind == "float_type" and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", value):
        return "write it without quotes"
    return "change the value"


def _model_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    """Returns the config class at `path`; if `path` leads out of config classes, the last class on it."""
    for name in path:
        field = model.model_fields.get(str(name))
        inner = _inner_model(field.annotation) if field else None
        if inner is None:
            break
        model = inner
    return model


def _inner_model(
    annotation: object, containers: tuple[Any, ...] = (Union, types.UnionType, dict, tuple)
) -> type[BaseModel] | None:
    """Returns the config class in an annotation: the annotation itself, or an argument of one of `containers`."""
    options = get_args(annotation) if get_origin(annotation) in containers else (annotation,)
    return next((option for option in options if isinstance(option, type) and issubclass(option, BaseModel)), None)
