"""Sweeping from Python: the same studies, stores and records as ``convbench sweep``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from convbench.sweeps.settings import Settings


def sweep(
    study: str | Path | Mapping[str, Any] | Sequence[str] | None = None,
    *,
    store: str | Path | None = None,
    force: bool = False,
    retry_failed: bool = False,
    slurm: str | None = None,
    trust: bool = False,
    **keys: Any,
) -> pd.DataFrame:
    """Measure every combination of a study that ``store`` does not hold yet; one row a case, columns as in `Record`.

    study: a TOML file, a mapping with the keys of one, or targets; all registered blocks unless given.
    keys: of a study (``dims=[32, 64], measures="cost", options={"bias": [True, False]}``); they override the study's.
    store: the file of JSON lines to which each record is appended as soon as it is there; a temporary one, which is
        said, unless given.
    force: measure again what the store holds. retry_failed: those of its cases that failed.
    trust: build whatever a study file names, and not only what is known to be a module.
    slurm: parameters of sbatch, ``"partition=gpu,time=60"``, to run the cases as jobs of a cluster.

    A case that fails is a row whose ``status`` and ``error`` say so.
    Raises UsageError for a request that cannot be met, before anything is measured, and KeyboardInterrupt on Ctrl-C,
    with everything complete in the store.
    """
    from convbench.api import to_frame
    from convbench.cluster.slurm import slurm_runner
    from convbench.sweeps.settings import settings_from
    from convbench.sweeps.study import make_study
    from convbench.sweeps.sweep import run_study
    from convbench.sweeps.vetting import require_modules

    grids = make_study(_grids(study), settings_from(keys, _key_name))
    if not trust:
        require_modules(grids.named_by_data)
    if store is None:
        store = Path(tempfile.mkdtemp(prefix="convbench-sweep-"), "sweep.jsonl")
        print(f"records are kept in {store}", file=sys.stderr)
    result = run_study(
        grids,
        Path(store),
        elsewhere=slurm_runner(slurm),
        force=force,
        retry_failed=retry_failed,
    )
    if result.interrupted:
        raise KeyboardInterrupt(result.parting_words)
    return to_frame(result.records)


def _grids(study: str | Path | Mapping[str, Any] | Sequence[str] | None) -> Sequence[Settings]:
    from convbench.sweeps.settings import settings_from
    from convbench.sweeps.study_file import settings_from_file

    if isinstance(study, Path) or (isinstance(study, str) and study.lower().endswith(".toml")):
        return settings_from_file(Path(study))
    if isinstance(study, Mapping):
        return settings_from(study, _key_name)
    targets = [study] if isinstance(study, str) else list(study or ())
    return settings_from({"targets": targets} if targets else {}, _key_name)


def _key_name(place: tuple[str | int, ...]) -> str:
    return ".".join(map(str, place))
