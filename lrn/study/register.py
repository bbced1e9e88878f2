"""Registering a study: a hash of its statements, and the seeds that are drawn from this hash.

The hash covers claim, predictions, controls and presets. A change of any of them gives other seeds, so that
nobody can tune a study on the seeds that judge it. The file ``<study>.registered.json`` beside the study
keeps the registered hash; a run of a study with another hash is exploratory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrn import check, files
from lrn.study import store
from lrn.study.claim import Study
from lrn.study.discover import StudyFile
from lrn.study.verdict import predictions_sha256

FIRST_DRAWN = 1_000_000  # the least drawn seed; smaller seeds are for pilots
REPLICATION = "it repeats the registered run on a second set of drawn seeds"


def registration(study: Study) -> str:
    """The SHA-256, in hex, of a study's claim, level, predictions, controls, presets and numbers of seeds."""
    presets = {
        name: [store.plain(config), predictions_sha256(study, config)]
        for name, config in sorted(study.presets.items())
    }
    return files.sha256_json([study.claim, study.alpha, dict(sorted(study.seeds.items())), presets])


def drawn_seeds(sha256: str, preset: str, count: int) -> tuple[int, ...]:
    """The seeds of a registration and a preset: distinct, from `FIRST_DRAWN` to 2^32 - 1.

    A larger ``count`` adds seeds after those of a smaller one.

    Args:
        sha256: the hash of `registration`.
        preset: the name of the preset.
        count: the number of seeds.
    """
    seeds: dict[int, None] = {}
    number = 0
    while len(seeds) < count:
        digest = hashlib.sha256(f"{sha256} {preset} {number}".encode()).digest()
        seeds[FIRST_DRAWN + int.from_bytes(digest[:8], "big") % (2**32 - FIRST_DRAWN)] = None
        number += 1
    return tuple(seeds)


def second_seeds(sha256: str, preset: str, count: int) -> tuple[int, ...]:
    """The seeds that are drawn after the first ``count``, to see whether a study comes out alike on them."""
    return drawn_seeds(sha256, preset, 2 * count)[count:]


def record_path(path: Path) -> Path:
    """The path of the registration of the study in the file ``path``."""
    return path.with_suffix(".registered.json")


def register(found: StudyFile) -> Path:
    """Write the registration of a study beside its file, and return the path.

    Raises:
        InputError: the study is exploratory (`Study.exploratory`).
        OSError: the file cannot be written.
    """
    if found.study.exploratory:
        raise check.InputError(
            f"{found.id} cannot be registered ({found.study.exploratory}); bring the study into the present "
            "form, and leave exploratory= out."
        )
    path = record_path(found.path)
    record = {"study": found.id, "sha256": registration(found.study)}
    files.write_bytes(path, (json.dumps(record, indent=1) + "\n").encode())
    return path


def registered(found: StudyFile) -> str | None:
    """The hash that was registered for a study; None for a study without a registration.

    Raises:
        InputError: the study's file of registration cannot be read as one.
    """
    path = record_path(found.path)
    try:
        record: Any = json.loads(path.read_bytes())
        sha256 = record["sha256"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise check.InputError(
            f"{path} is no registration; write the file again: `register {found.id}`."
        ) from error
    return str(sha256)


def exploratory(found: StudyFile, preset: str, config: Any, seeds: Sequence[int]) -> str:
    """The reason why a run is exploratory; "" for a run of the registered study on its drawn seeds.

    Args:
        found: the study.
        preset: the name of the run's preset.
        config: the run's config.
        seeds: the run's seeds.
    """
    study = found.study
    if study.exploratory:
        return study.exploratory
    now, then = registration(study), registered(found)
    if then is None:
        return "the study was not registered before it ran"
    if then != now:
        return "the study is not the one that was registered"
    if config != study.presets.get(preset):
        return "settings of the preset were changed"
    second = tuple(seeds) == second_seeds(now, preset, len(seeds))
    if not second and tuple(seeds) != drawn_seeds(now, preset, len(seeds)):
        return "its seeds are not those drawn from the registration"
    if len(seeds) != study.seeds_for(preset):
        return "it has another number of seeds than was registered"
    return REPLICATION if second else ""
