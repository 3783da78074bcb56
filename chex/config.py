"""RunConfig, the description of one run, and how YAML files and `--set` become one.

The classes of its sections lie in the folders that use them.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from chex.cohort.sampling_config import SamplingConfig
from chex.data.data_config import BatchesConfig, DataConfig, ImageConfig
from chex.errors import InputError, suggest
from chex.models.model_config import ModelConfig
from chex.optimization.lr_schedule import ScheduleConfig
from chex.optimization.optimizer_config import OptimizerConfig
from chex.optimization.phases import Phase, PhaseConfig, build_phases, check_phases
from chex.runtime.device_config import DeviceConfig
from chex.schema.error_sentences import error_sentence
from chex.schema.overrides import parse_overrides
from chex.schema.strict_model import AsList, Strict
from chex.schema.yaml_text import BadYaml, ConfigLoader, RayLoader, dump_yaml, load_yaml
from chex.uncertainty.policy_config import Policies, PolicyConfig, RelabelConfig

M = TypeVar("M", bound=BaseModel)


class RunConfig(Strict):
    """The config of one run. Dotted paths (`optimizer.lr`) name its fields in --set, search spaces and trials.csv."""

    seed: int = Field(0, ge=0, lt=2**32)
    reports: int = Field(4, ge=1, le=1000)
    """Number of reports in a run, at equal distances: each one computes the metrics and writes a checkpoint."""
    data: DataConfig = DataConfig()
    image: ImageConfig = ImageConfig()
    policy: Policies = Field(default_factory=lambda: {"default": PolicyConfig(kind="zeros")})
    relabel: RelabelConfig = RelabelConfig()
    sampling: SamplingConfig = SamplingConfig()
    batches: BatchesConfig = BatchesConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    phases: Annotated[tuple[PhaseConfig, ...], AsList] = ()
    """Each phase starts from the best weights so far. Empty: one phase, which follows `schedule` and `optimizer`."""
    device: DeviceConfig = DeviceConfig()

    @model_validator(mode="after")
    def _check_phases(self) -> "RunConfig":
        check_phases(self.phases, self.optimizer)
        return self

    def resolved_phases(self) -> list[Phase]:
        """Returns the phases, one or more, with the defaults from `schedule` and `optimizer` filled in."""
        return build_phases(self.phases, self.schedule, self.optimizer, self.seed)


def load_run(path: Path, sets: Iterable[str] = (), root: Path | None = None) -> RunConfig:
    """Returns the run of a YAML file, with the `a.b=value` overrides `sets` and the data tree at `root`, if given.

    Raises InputError if the file cannot be read, describes something else, or is not a valid run.
    """
    content, values = read_yaml(path), parse_overrides(sets)
    check_kind(path, content, "run")
    if root is not None:
        if values.get("data.root", os.fspath(root)) != os.fspath(root):
            raise InputError(f"--set data.root={values['data.root']}: the tree is given with --data {root}; give one")
        values["data.root"] = os.fspath(root)
    return validate(RunConfig, apply_overrides(content, values), str(path))


def to_yaml(config: BaseModel) -> str:
    """Returns YAML that loads as an equal config."""
    return dump_yaml(config.model_dump(mode="json"))


def without_locations(config: RunConfig) -> RunConfig:
    """Returns `config` without the paths of its data tree, tables and image cache, so that equal runs compare equal."""
    defaults: dict[str, Any] = {
        "data": config.data.model_copy(update={"root": None}),
        "relabel": RelabelConfig(),
        "image": config.image.model_copy(update={"cache_dir": ImageConfig().cache_dir}),
    }
    return config.model_copy(update=defaults)


def check_policies(config: RunConfig) -> None:
    """Raises InputError if an observation has a policy and the run does not learn that observation."""
    for name in config.policy:
        if name != "default" and name not in config.data.observations:
            raise InputError(
                f"policy.{name}: does nothing, because data.observations ({', '.join(config.data.observations)}) does "
                f"not have {name}; add it there, or leave the policy out"
            )


def read_yaml(path: Path, named_in: str = "", loader: type[RayLoader] = ConfigLoader) -> dict[str, Any]:
    """Returns the mapping in a YAML file; an empty file gives an empty mapping.

    `named_in` begins an error message: the file or setting that names `path`, if the user did not type it. Raises
    InputError if the file cannot be read, is not UTF-8 YAML, or holds no mapping.
    """
    where = f"{named_in}: {path}" if named_in else f"{path}"
    if not path.is_file():
        raise InputError(f"{where} is {_explain_missing(path)}")
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
        raise InputError(f"{where} is a {type(content).__name__}, not a mapping; write `key: value` lines")
    return content or {}


def _explain_missing(path: Path) -> str:
    """Returns the end of the error about a `path` that is not a file."""
    folder = path if path.is_dir() else path.parent
    names = sorted(file.name for file in folder.glob("*.yaml"))
    kind = "a folder" if path.is_dir() else "not a file"
    if not names:
        return f"{kind}; give a YAML file, for example one of configs/"
    return (
        f"{kind}; {'give one of its YAML files: ' + ', '.join(names) if path.is_dir() else suggest(path.name, names)}"
    )


KINDS = {
    "cluster": (("cluster_name", "provider", "available_node_types"), "chex-search cluster up"),
    "search": (("space", "base"), "chex-search run"),
    "run": (tuple(RunConfig.model_fields), "chex train"),
}
"""The kinds of YAML files: the keys that identify a kind, and the command that reads it. The first match counts."""


def check_kind(path: Path, content: Mapping[str, Any], wanted: str, named_in: str = "") -> None:
    """Raises InputError if `content`, read from `path`, is a YAML file of a kind in KINDS other than `wanted`.

    `named_in` is as in `read_yaml`.
    """
    kind = next((kind for kind, (keys, _) in KINDS.items() if any(key in content for key in keys)), wanted)
    if kind == wanted:
        return
    if named_in:
        raise InputError(f"{named_in}: {path} describes a {kind}, not a {wanted}; give the YAML file of a {wanted}")
    raise InputError(f"{path} describes a {kind}, not a {wanted}; type `{KINDS[kind][1]} {path}`")


def apply_overrides(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a copy of the nested mapping `base` with each dotted path of `values` set, shorter paths first.

    A string on a path is read as {kind: string}, so that `policy.Edema.low` works on `Edema: smoothed_ones`. Raises
    InputError if a path leads through a value that is neither a mapping, a string nor blank.
    """
    result = dict(base)
    for path, value in sorted(values.items(), key=lambda item: item[0].count(".")):
        head, dot, rest = path.partition(".")
        if not dot:
            result[head] = value
            continue
        inner = {} if result.get(head) in (None, "") else result[head]
        if isinstance(inner, str):
            inner = {"kind": inner}
        if not isinstance(inner, Mapping):
            raise InputError(f"{path}: '{head}' has the value {inner!r} and no fields below it; shorten the path")
        result[head] = apply_overrides(inner, {rest: value})
    return result


def validate(model: type[M], content: Mapping[str, Any], source: str) -> M:
    """Returns `content` as a `model`. Raises InputError with the path, value, rule and remedy of each error."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        sentences = [error_sentence(model, details) for details in error.errors()]
        raise InputError(f"{source}: " + "; ".join(sentences)) from error
