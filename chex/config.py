"""RunConfig: everything that describes one run, composed from the parts that live beside their owners."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from chex.batches import BatchesConfig
from chex.cache import ImageConfig
from chex.device import DeviceConfig
from chex.errors import InputError, one_of
from chex.model import ModelConfig
from chex.optimizer import OptimizerConfig
from chex.records import DataConfig
from chex.relabel import RelabelConfig
from chex.rounds import Round, RoundConfig, build_rounds, check_rounds
from chex.sampling import SamplingConfig
from chex.schedule import ScheduleConfig
from chex.sentences import sentence
from chex.sets import parse_sets
from chex.strict import AsList, Strict
from chex.uncertainty import Policies, PolicyConfig
from chex.yaml_text import BadYaml, ConfigLoader, RayLoader, dump_yaml, load_yaml

M = TypeVar("M", bound=BaseModel)


class RunConfig(Strict):
    """One run. Its dotted paths (`optimizer.lr`) name a knob everywhere: YAML, --set, search spaces, trials.csv."""

    seed: int = Field(0, ge=0, lt=2**32)
    reports: int = Field(4, ge=1, le=1000)
    """How often in a run, at equal distances, metrics are taken and a checkpoint is written."""
    data: DataConfig = DataConfig()
    image: ImageConfig = ImageConfig()
    policy: Policies = Field(default_factory=lambda: {"default": PolicyConfig(kind="zeros")})
    relabel: RelabelConfig = RelabelConfig()
    sampling: SamplingConfig = SamplingConfig()
    batches: BatchesConfig = BatchesConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    rounds: Annotated[tuple[RoundConfig, ...], AsList] = ()
    """Stages, each starting from the best weights so far; none: one round that follows schedule and optimizer."""
    device: DeviceConfig = DeviceConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> "RunConfig":
        check_rounds(self.rounds, self.optimizer)
        return self

    def stages(self) -> list[Round]:
        """The rounds with everything said, one or more."""
        return build_rounds(self.rounds, self.schedule, self.optimizer, self.seed)


def load_run(path: Path, sets: Iterable[str] = (), root: Path | None = None) -> RunConfig:
    """The run that a YAML file describes, with `a.b=value` texts laid over it, and the tree at `root` if one is given.

    Raises InputError.
    """
    content, values = read_yaml(path), parse_sets(sets)
    check_kind(path, content, "run")
    if root is not None:
        if values.get("data.root", os.fspath(root)) != os.fspath(root):
            raise InputError(f"--set data.root={values['data.root']}: the tree is given with --data {root}; give one")
        values["data.root"] = os.fspath(root)
    return validated(RunConfig, override(content, values), str(path))


def dump(config: BaseModel) -> str:
    """YAML that loads to an equal config."""
    return dump_yaml(config.model_dump(mode="json"))


def nowhere(config: RunConfig) -> RunConfig:
    """`config` without the places of its tree, tables and decoded films: equal for runs that do the same."""
    places: dict[str, Any] = {
        "data": config.data.model_copy(update={"root": None}),
        "relabel": RelabelConfig(),
        "image": config.image.model_copy(update={"cache": ImageConfig().cache}),
    }
    return config.model_copy(update=places)


def check_policies(config: RunConfig) -> None:
    """Raises InputError where an observation has a policy and the run does not learn it."""
    for name in config.policy:
        if name != "default" and name not in config.data.observations:
            raise InputError(
                f"policy.{name}: does nothing, because data.observations ({', '.join(config.data.observations)}) does "
                f"not have {name}; add it there, or leave the policy out"
            )


def read_yaml(path: Path, named_in: str = "", loader: type[RayLoader] = ConfigLoader) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping.

    `named_in` says, at the start of an error, where `path` is written, if it was not typed. Raises InputError.
    """
    where = f"{named_in}: {path}" if named_in else f"{path}"
    if not path.is_file():
        raise InputError(f"{where} is {_no_file(path)}")
    try:
        content = load_yaml(path.read_text(encoding="utf-8-sig"), loader)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where} is not UTF-8 text (byte {error.start + 1} is {error.object[error.start]:#x}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise InputError(f"{where} cannot be read ({error.strerror}); give a file that you may read") from error
    except BadYaml as error:
        raise InputError(f"{where} is not YAML ({error}); correct the file") from error
    if not isinstance(content or {}, dict):
        raise InputError(f"{where} holds {type(content).__name__}, not a mapping; write `key: value` lines")
    return content or {}


def _no_file(path: Path) -> str:
    """What `path` is instead of a file, and what to do."""
    folder = path if path.is_dir() else path.parent
    there = sorted(each.name for each in folder.glob("*.yaml"))
    what = "a folder" if path.is_dir() else "not a file"
    if not there:
        return f"{what}; give a YAML file, for example one of configs/"
    return f"{what}; {'give one of its YAML files: ' + ', '.join(there) if path.is_dir() else one_of(path.name, there)}"


KINDS = {
    "cluster": (("cluster_name", "provider", "available_node_types"), "chex-search cluster up"),
    "search": (("space", "base"), "chex-search run"),
    "run": (tuple(RunConfig.model_fields), "chex train"),
}
"""What a YAML file can describe: keys that tell it from those below it, and the command that takes it."""


def check_kind(path: Path, content: Mapping[str, Any], wanted: str, named_in: str = "") -> None:
    """Raises InputError where `content`, read from `path`, describes another kind of thing than `wanted`.

    `named_in` is as in `read_yaml`.
    """
    kind = next((kind for kind, (keys, _) in KINDS.items() if any(key in content for key in keys)), wanted)
    if kind == wanted:
        return
    if named_in:
        raise InputError(f"{named_in}: {path} describes a {kind}, not a {wanted}; give the YAML file of a {wanted}")
    raise InputError(f"{path} describes a {kind}, not a {wanted}; type `{KINDS[kind][1]} {path}`")


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
        raise InputError(f"{source}: " + "; ".join(sentence(model, each) for each in error.errors())) from error
