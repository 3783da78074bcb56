"""Checks before a run that need no torch."""

from pathlib import Path

from chex.config import RunConfig, check_policies, load_run, without_locations
from chex.errors import InputError
from chex.runtime.output_folder import LOCK, Kind, check_claim, lock_folder
from chex.runtime.run_folder import RUN_CONFIG
from chex.schema.differences import describe_differences
from chex.uncertainty.policies import TABLE_POLICIES
from chex.uncertainty.policy_config import PolicyConfig, RelabelConfig


def check_out(config: RunConfig, out: Path, kind: Kind) -> None:
    """Raises InputError where `out` cannot be used for a `kind` of output, or another process trains there."""
    check_claim(out, kind, tree=config.data.root)
    if (out / LOCK).exists():
        with lock_folder(out):
            pass


def check_tables(config: RunConfig) -> None:
    """Reads the tables of a run as training does. Raises InputError if one is missing or damaged, or does not fit."""
    from chex.training.run_tables import load_run_tables  # imports pandas

    check_policies(config)
    load_run_tables(config)


def check_same_run(config: RunConfig, out: Path, remedy: str) -> None:
    """Raises InputError where `out` has a run with another config. `remedy` ends the message: what else to do.

    `config` has no `auto`.
    """
    different = (
        describe_differences(without_locations(config), without_locations(load_run(out / RUN_CONFIG)))
        if (out / RUN_CONFIG).exists()
        else ""
    )
    if different:
        raise InputError(
            f"{out} has a run with another config ({different}); give another folder with --out, or {remedy}"
        )


def read_by(config: RunConfig) -> dict[str, Path | None]:
    """Returns the files and folders that a run of `config` reads, by dotted path; None for a setting that is blank."""
    return {
        "data.root": config.data.root,
        "image.cache_dir": config.image.cache_dir,
        "model.pretrained_file": config.model.pretrained_file,
        **{f"relabel.{kind}": getattr(config.relabel, kind) for kind in TABLE_POLICIES},
    }


def evaluation_note(config: RunConfig) -> str:
    """Returns words for the scored units, for example `studies held out`."""
    return {"image": "images", "study": "studies"}[config.data.eval_unit] + (
        " held out" if config.data.holdout_fraction else ""
    )


def teacher_config(config: RunConfig) -> RunConfig:
    """Returns the run of the teacher: that of `config` with the policy `ignore` for all observations.

    Its best weights relabel uncertain cells (U-SelfTrained of Irvin et al. 2019, section 3).
    """
    return config.model_copy(update={"policy": {"default": PolicyConfig(kind="ignore")}, "relabel": RelabelConfig()})
