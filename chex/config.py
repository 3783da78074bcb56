"""RunConfig: everything that describes one run, composed from the parts that live beside their owners."""

import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from chex.batches import BatchesConfig
from chex.cache import ImageConfig
from chex.device import DeviceConfig
from chex.errors import InputError, one_of
from chex.model import ModelConfig
from chex.optimizer import OptimizerConfig
from chex.records import DataConfig
from chex.relabel import RelabelConfig
from chex.rounds import Round, RoundConfig, build_rounds
from chex.sampling import SamplingConfig
from chex.schedule import ScheduleConfig
from chex.uncertainty import Policies, PolicyConfig

M = TypeVar("M", bound=BaseModel)


class RunConfig(BaseModel):
    """One run. Its dotted paths (`optimizer.lr`) name a knob everywhere: YAML, --set, search spaces, trials.csv."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0, lt=2**32)
    reports: int = Field(4, ge=1, le=1000)
    """How often in a run, at equal distances, metrics are taken and a checkpoint is written."""
    data: DataConfig = DataConfig()
    image: ImageConfig = ImageConfig()
    policy: Policies = {"default": PolicyConfig(kind="zeros")}
    relabel: RelabelConfig = RelabelConfig()
    sampling: SamplingConfig = SamplingConfig()
    batches: BatchesConfig = BatchesConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    rounds: tuple[RoundConfig, ...] = ()
    """Stages, each starting from the best weights so far; none: one round that follows schedule and optimizer."""
    device: DeviceConfig = DeviceConfig()

    def stages(self) -> list[Round]:
        """The rounds with everything said, one or more."""
        return build_rounds(self.rounds, self.schedule, self.optimizer, self.seed)


def load_run(path: Path, sets: Iterable[str] = ()) -> RunConfig:
    """The run that a YAML file describes, with `a.b=value` texts laid over it. Raises InputError."""
    return validated(RunConfig, override(read_yaml(path), parse_sets(sets)), str(path))


def dump(config: BaseModel) -> str:
    """YAML that loads to an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def identity(config: RunConfig) -> str:
    """A text that is equal for runs that do the same, wherever their tree, tables and decoded films lie."""
    nowhere: dict[str, Any] = {
        "data": config.data.model_copy(update={"root": None}),
        "relabel": RelabelConfig(),
        "image": config.image.model_copy(update={"cache": ImageConfig().cache}),
    }
    return dump(config.model_copy(update=nowhere))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping. Raises InputError."""
    if not path.is_file():
        there = sorted(each.name for each in path.parent.glob("*.yaml"))
        remedy = one_of(path.name, there) if there else "give a YAML file, for example one of configs/"
        raise InputError(f"{path} is not a file; {remedy}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML ({' '.join(str(error).split())}); correct the file") from error
    if not isinstance(content or {}, dict):
        raise InputError(f"{path} holds {type(content).__name__}, not a mapping; write `key: value` lines")
    return content or {}


def parse_sets(sets: Iterable[str]) -> dict[str, Any]:
    """Dotted paths to values, from `a.b=value` texts whose value is YAML. Raises InputError."""
    parsed = {}
    for text in sets:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise InputError(f"--set {text}: not of the form a.b=value; write for example --set optimizer.lr=3e-4")
        try:
            parsed[path.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--set {text}: '{value}' is not a YAML value; put quotes around it") from error
    return parsed


def override(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the nested mapping `base` with each dotted path of `values` set, shorter paths first.

    A path through a word takes the word as {kind: word} (`policy.Edema.low` through `zeros`). Raises InputError for a
    path through another value.
    """
    result = dict(base)
    for path, value in sorted(values.items(), key=lambda item: item[0].count(".")):
        head, dot, rest = path.partition(".")
        if not dot:
            result[head] = value
            continue
        inner = result.get(head) or {}
        if isinstance(inner, str):
            inner = {"kind": inner}
        if not isinstance(inner, Mapping):
            raise InputError(f"{path}: '{head}' holds the value {inner!r} and has no fields below it; shorten the path")
        result[head] = override(inner, {rest: value})
    return result


def validated(model: type[M], content: Mapping[str, Any], source: str) -> M:
    """`content` as a `model`. Raises InputError that names each wrong dotted path, its value, rule and remedy."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{source}: " + "; ".join(_sentence(model, each) for each in error.errors())) from error


def _sentence(model: type[BaseModel], error: ErrorDetails) -> str:
    path = ".".join(map(str, error["loc"]))
    value = error["input"]
    match error["type"]:
        case "extra_forbidden":
            owner = _model_at(model, error["loc"][:-1])
            return f"{path}: unknown key; {one_of(error['loc'][-1], owner.model_fields)}"
        case "literal_error":
            choices = [str(choice).strip("'") for choice in error["ctx"]["expected"].replace(" or ", ", ").split(", ")]
            return f"{path}: '{value}' is not allowed; {one_of(value, choices)}"
        case "value_error":
            told = str(error["ctx"]["error"])  # a check of a whole mapping starts with the key below `path`
            return f"{path}{told}" if told.startswith(".") else f"{path}: {told}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{path}: {value!r} is not a mapping; write `key: value` lines below {path}"
        case "missing":
            return f"{path}: missing; add it"
        case _:
            rule = error["msg"].removeprefix("Input ")
            return f"{path}: {value!r} is refused, it {rule}; change the value"


def _model_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    for name in path:
        field = model.model_fields.get(str(name))
        inner = _inner_model(field.annotation) if field else None
        if inner is None:
            break
        model = inner
    return model


def _inner_model(annotation: object) -> type[BaseModel] | None:
    inside = get_origin(annotation) in (Union, types.UnionType, dict, tuple)
    options = get_args(annotation) if inside else (annotation,)
    return next((each for each in options if isinstance(each, type) and issubclass(each, BaseModel)), None)
