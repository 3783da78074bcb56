"""The probability tables that a search's policies read: each made once, before the trials, and shared by them."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from optuna.distributions import CategoricalDistribution
from ray.exceptions import RayTaskError

from chex import checkpoint
from chex.atomic import write_text
from chex.config import RunConfig, validated
from chex.console import decimal, progress_bar
from chex.errors import InputError
from chex.loop import Diverged
from chex.prepare import prepare, select
from chex.relabel import TABLE
from chex.tables import teacher_cost, write_forest_table
from chex.teacher import teach, teacher_of
from chex.uncertainty import TABLE_POLICIES, PolicyConfig, policy_of
from search.feed import fed
from search.home import at_home, tables_digest
from search.lease import Lease
from search.nodes import nodes_there
from search.search_config import SearchConfig
from search.space import Space
from search.stored import Stored, forget

FOLDER = "tables"


def observations_that_may_have(kind: str, base: RunConfig, space: Space) -> tuple[str, ...]:
    """The observations that some trial may put under the policy `kind`, in the run's order."""
    return tuple(name for name in base.data.observations if kind in _possible(name, base, space))


def _possible(observation: str, base: RunConfig, space: Space) -> set[str]:
    for key in (observation, "default"):
        knob = space.get(f"policy.{key}")
        if knob is not None:
            assert isinstance(knob.domain, CategoricalDistribution)  # RunConfig takes nothing else
            return set(map(str, knob.domain.choices))
        if key in base.policy:
            break
    return {policy_of(base.policy, observation).kind}


def check_given_tables(base: RunConfig, space: Space) -> None:
    """Raises InputError where a table that the base run names does not fit what trials may ask of it."""
    for kind in TABLE_POLICIES:
        names = observations_that_may_have(kind, base, space)
        if names and getattr(base.relabel, kind) is not None:
            policy = {"default": PolicyConfig(kind="zeros")} | dict.fromkeys(names, PolicyConfig(kind=kind))
            select(base.model_copy(update={"policy": policy}))


def without_tables(base: RunConfig) -> RunConfig:
    """`base` with `ignore` in place of policies that read a table: it can be checked before tables are made."""
    policy = {
        name: PolicyConfig(kind="ignore") if own.kind in TABLE_POLICIES else own for name, own in base.policy.items()
    }
    return base.model_copy(update={"policy": policy})


def with_tables(
    search: SearchConfig,
    base: RunConfig,
    folder: Path,
    stored: Stored | None = None,
    images: str | None = None,
    earlier: Path | None = None,
) -> RunConfig:
    """`base` with every table that a trial may read; those that it does not name are made in `folder`, once.

    Image caches are shared at the URI `images`; what was made for an `earlier` search, in its folder, is taken over.
    Needs a running Ray for the teacher. Raises InputError where one cannot be made.
    """
    made = {}
    for kind in TABLE_POLICIES:
        if not observations_that_may_have(kind, base, search.knobs()) or getattr(base.relabel, kind) is not None:
            continue
        made[kind] = folder / FOLDER / kind / TABLE
        if not made[kind].exists():
            made[kind].parent.mkdir(parents=True, exist_ok=True)
            if earlier and (there := earlier / FOLDER / kind / TABLE).exists():
                write_text(made[kind], there.read_text(encoding="utf-8"))
            else:
                _make(kind, search, base, folder, stored, images)
    if stored and made:
        stored.keep()
    return base.model_copy(update={"relabel": base.relabel.model_copy(update=made)})


def told_costs(folder: Path) -> list[str]:
    """A line for each teacher that the search in `folder` trained: what it reached and took."""
    home = folder / FOLDER / "self_trained"
    trained = (home / checkpoint.REPORTS).exists()
    return [f"Trained once for self_trained: {teacher_cost(home)}."] if trained else []


def _make(
    kind: str, search: SearchConfig, base: RunConfig, folder: Path, stored: Stored | None, images: str | None
) -> None:
    home = folder / FOLDER / kind
    if kind == "forest":
        with progress_bar("growing forests for the policy forest") as advance:
            write_forest_table(base, home / TABLE, advance)
        return
    print("training the teacher of self_trained, once for all trials", file=sys.stderr)
    largest = max(nodes_there(), key=lambda node: (node.gpus, node.cpus))
    teacher = teacher_of(base)
    device = teacher.device.model_copy(update={"threads": max(1, largest.cpus)})
    gpus = min(math.ceil(search.resources.gpus_per_trial), 1)
    whole = {"num_cpus": max(1, largest.cpus), "num_gpus": gpus}
    config = teacher.model_copy(update={"device": device}).model_dump(mode="json")
    digest = tables_digest(base.data.root) if search.source and base.data.root else ""
    where = str(home), str(folder), stored.lease if stored else None, search.source, images, digest
    try:
        for ref in _teach.options(**whole).remote(config, *where):
            row = ray.get(ref)
            print(f"teacher {int(row['percent']):>3} %  AUROC {decimal(row['auroc'])}", file=sys.stderr)
    except RayTaskError as error:
        if isinstance(error.cause, Diverged | InputError):
            raise InputError(
                f"relabel.self_trained: the search's teacher cannot be trained ({error.cause}); change the base run, "
                "or make a table with `chex relabel teacher RUN.yaml` and give it with --set relabel.self_trained=FILE"
            ) from error
        raise
    if stored:
        stored.fetch(str(home.relative_to(folder)))
        forget(stored.uri, str((home / checkpoint.STATE).relative_to(folder)))
    for name in (checkpoint.STATE, checkpoint.EARLIER):
        (home / name).unlink(missing_ok=True)
    print(teacher_cost(home), file=sys.stderr)


@ray.remote(max_calls=1)  # type: ignore[untyped-decorator]  # its process ends with it, and so gives back the GPU's memory
def _teach(
    config: dict[str, Any],
    folder: str,
    search: str,
    stored: Lease | None,
    source: str | None,
    images: str | None,
    digest: str,
) -> Iterator[dict[str, float]]:
    cache = Path(config["image"]["cache"])
    own, opening = fed(config, source, images, cache, digest)
    teacher = validated(RunConfig, own, "teacher")
    with at_home(Path(folder), Path(search), stored, cache) as home:
        for report in teach(teacher, prepare(teacher, select(teacher), opening=opening), home.folder):
            home.keep()
            yield report.row()
        home.keep()
