"""`medlocker protect`: lock a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click

from medlocker.blending import AlphaRule
from medlocker.cli.base import (
    PATH,
    ColumnValue,
    CommaList,
    changed,
    checked,
    json_option,
    option,
    print_json,
    tracking,
    tracking_options,
)
from medlocker.cli.dataset_options import dataset_options, dataset_spec, described_options
from medlocker.cli.executor_options import chosen_executor, executor_options, threads_option
from medlocker.cli.identities import protecting_owner
from medlocker.cli.loading import DEMO, ZooLoader, demo_data
from medlocker.cli.owning import owner_ledger, owner_option
from medlocker.cli.progress import TerminalProgress
from medlocker.cli.summaries import protect_json, protect_text
from medlocker.errors import SettingsError
from medlocker.fitness import OBJECTIVES
from medlocker.jobs.protecting import ProtectRequest, run_protect
from medlocker.placement import PlacementMode, WhenInfeasible
from medlocker.planning import MarkSettings
from medlocker.protecting import ProtectSettings
from medlocker.regions import RegionSettings
from medlocker.search import SearchSettings
from medlocker.search.settings import SEARCH_NAMES
from medlocker.transfer import BASELINES
from medlocker.workspace import default_owner_dir
from medlocker_mlflow.runs import tracked_run

DEMO_SOURCES = ("demo_resnet",)
DEMO_TARGETS = ("demo_efficientnet", "demo_darknet")
PROFILES: dict[str, dict[str, Any]] = {
    "paper": {"name": "basin_hopping"},
    "fast": {"name": "surrogate", "population": 20},
}
"""`paper` is the paper's search and settings, 650 queries an image; `fast` is ours with 200 queries an image.

The population is for who asks `fast` for one of the paper's searches: 260 queries."""
DECODERS = 2
"""Threads that decode and hash the data set, where no number of workers is given."""


@click.command()
@option("--data", required=True, help=f"Folder of the data set; '{DEMO}' for embedded synthetic images.")
@option("--out", type=PATH, required=True, help="Folder for the release (the marked images).")
@dataset_options
@option(
    "--only-correct", is_flag=True, help="Lock only images that all networks read correctly (the paper's protocol)."
)
@option("--logo", type=PATH, help="Logo, a PNG with or without alpha (default: MedLocker's own).")
@option("--logo-scale", type=float, help="sl: the logo's side is 1/sl of the image's shorter side.  [default: 4]")
@option("--alpha-range", type=CommaList(), help="Smallest and largest opacity, 0 to 255.  [default: 100,255]")
@option("--alpha-rule", type=click.Choice(get_args(AlphaRule)), help="What caps the opacity of a logo pixel.")
@option("--placement", type=click.Choice(get_args(PlacementMode)), default="anywhere", help="Where the logo may lie.")
@option(
    "--when-infeasible", type=click.Choice(get_args(WhenInfeasible)), default="stop", help="For images without room."
)
@option(
    "--regions", type=ColumnValue(), help="How masks become boxes, e.g. min_area_fraction=0 keeps every lesion clear."
)
@option("--segmenter", help="Network that draws the masks of --masks predicted: .onnx, .safetensors or MLflow URI.")
@option("--keep-free", type=CommaList(), help="Mask types never covered, e.g. OD for the optic disc.")
@option("--sources", type=CommaList(), help="Networks to mislead: names, weights files or MLflow URIs.")
@option("--source-weights", type=CommaList(), help="Their weights, summing to 1.  [default: equal]")
@option("--targets", type=CommaList(), help="Networks that measure transfer, served by ONNX Runtime.")
@option("--baselines", type=CommaList(BASELINES), help="Placements to compare with.  [default: random_single,box]")
@option("--search", type=click.Choice(SEARCH_NAMES), help="Which search.  [default: from the profile]")
@option(
    "--profile", type=click.Choice(tuple(PROFILES)), default="paper", help="Search and settings: the paper's, or ours."
)
@option("--population", type=int, help="N_p.  [default: from the profile]")
@option("--generations", type=int, help="N_g.  [default: 3]")
@option("--crossover-rate", type=float, help="CR.  [default: 0.9]")
@option("--iterations", type=int, help="N_iter, hops of one mutation.  [default: 3]")
@option("--budget", type=int, help="Queries an image of surrogate (200) and random (as many as basin hopping).")
@option("--step", type=float, help="s, the mutation step.  [default: 10]")
@option("--temperature", type=float, help="Of the hops' acceptance.  [default: 1]")
@option("--objective", type=click.Choice(OBJECTIVES), help="Of several sources.  [default: mean_probability]")
@option("--stop-below", type=float, help="End an image's search at this value of the objective.")
@option("--keep", type=int, help="Placements kept for each image.  [default: 8]")
@option("--seed", type=click.IntRange(0), default=0, help="Of everything random.")
@option("--batch-size", type=int, help="Candidates in one forward pass.  [default: 16]")
@owner_option
@option("--owner-dir", type=PATH, help="Folder for vault and report.  [default: OUT.owner]")
@option("--ledger", type=PATH, help="Where the release is recorded.  [default: ledger.jsonl in the owner's folder]")
@option("--actor", help="Who acts, as the ledger records it.  [default: MEDLOCKER_ACTOR, else the login name]")
@option("--device", help="Where sources run.  [default: cuda where there is one]")
@option("--provider", type=click.Choice(("auto", "cpu", "cuda")), default="auto", help="Where targets run.")
@executor_options
@threads_option
@option("--run-name", help="Name of the MLflow run.")
@tracking_options
@json_option
def protect(data: str, out: Path, owner: Path | None, owner_dir: Path | None, as_json: bool, **options: Any) -> None:
    """Lock a data set: write a release, its sealed vault and a report.

    --masks also takes `given` (those the data set has) and `predicted` (those that --segmenter draws).

    The same command continues after an interruption. The release folder may be given away; the owner's folder may not.
    """
    owner_dir = owner_dir or default_owner_dir(out)
    progress = TerminalProgress()
    settings = protect_settings(options)
    loader = ZooLoader(options["device"], options["provider"])
    person = protecting_owner(owner, owner_dir, demo=data == DEMO)
    with tracked_run(
        options["run_name"] or f"protect {Path(data).name}",
        **tracking(options),
        verb="protect",
    ) as tracker:
        request = pinned(protect_request(data, out, owner_dir, settings, options), loader)
        ledger = owner_ledger(person, owner_dir, options["ledger"], options["actor"], tracker.run_id)
        with chosen_executor(options, progress.say, local="processes") as executor:
            result = run_protect(request, loader, person.identity, tracker, progress, ledger, executor)
        if as_json:
            print_json(protect_json(request, result, tracker.run_id))
        else:
            click.echo(protect_text(request, result, tracker.run_id))


def pinned(request: ProtectRequest, loader: ZooLoader) -> ProtectRequest:
    """The request with every model alias replaced by the version it stands for now, as the release will remember it."""
    return replace(request, sources=loader.pinned(request.sources), targets=loader.pinned(request.targets))


def protect_settings(options: dict[str, Any]) -> ProtectSettings:
    """The settings behind the options.

    Raises:
        SettingsError: a value is not valid; names the option.
    """
    chosen = {
        name: options[name]
        for name in ("population", "generations", "crossover_rate", "iterations", "step", "temperature", "budget")
        if options[name] is not None
    }
    if options["search"]:
        chosen["name"] = options["search"]
    search = checked(SearchSettings, **(PROFILES[options["profile"]] | chosen))
    mark = checked(
        MarkSettings,
        logo_scale=options["logo_scale"],
        alpha_range=options["alpha_range"],
        rule=options["alpha_rule"],
        placement=options["placement"],
        when_infeasible=options["when_infeasible"],
        protect=options["keep_free"],
        regions=checked(RegionSettings, **changed(RegionSettings(), "--regions", options["regions"] or ())),
    )
    names = ("seed", "objective", "stop_below", "keep", "batch_size")
    return checked(ProtectSettings, mark=mark, search=search, **{name: options[name] for name in names})


def protect_request(
    data: str, out: Path, owner_dir: Path, settings: ProtectSettings, options: dict[str, Any]
) -> ProtectRequest:
    """What was asked for; the demo's data and networks stand in where none are named."""
    is_demo = data == DEMO
    described = described_options(options)
    described["masks"], segmenter = mask_choice(options["masks"], options["segmenter"])
    if is_demo:
        spec = demo_data(out.with_name(out.name + ".data"))
        spec = spec.model_copy(update={k: described[k] for k in ("limit", "per_class") if described[k]})
    else:
        spec = dataset_spec(Path(data), settings.seed, **described)
    return ProtectRequest(
        spec,
        out,
        owner_dir,
        sources=options["sources"] or (DEMO_SOURCES if is_demo else ()),
        source_weights=_weights(options["source_weights"]),
        targets=options["targets"] if options["targets"] is not None else (DEMO_TARGETS if is_demo else ()),
        logo=options["logo"],
        settings=settings,
        baselines=_baselines(options["baselines"], is_demo),
        only_correct=options["only_correct"],
        decoders=options["workers"] or DECODERS,
        segmenter=segmenter,
    )


def mask_choice(masks: Path | None, segmenter: str | None) -> tuple[Path | None, str | None]:
    """What `--masks` says: `given` for the data set's own, `predicted` for a network's, else where they are.

    Returns:
        Where given masks are, None for where the data set keeps them; and the network that draws them, if any.

    Raises:
        SettingsError: masks are to be predicted and no network is named, or the other way round.
    """
    if masks == Path("predicted"):
        if segmenter is None:
            raise SettingsError("--masks predicted needs a network", fix="name it with --segmenter")
        return None, segmenter
    if segmenter is not None:
        raise SettingsError(f"--segmenter {segmenter} draws nothing", fix="add --masks predicted, or leave it out")
    return (None if masks == Path("given") else masks), None


def _baselines(named: tuple[Any, ...] | None, is_demo: bool) -> tuple[Any, ...]:
    if named is not None:
        return named
    return BASELINES if is_demo else ("random_single", "box")


def _weights(named: tuple[str, ...] | None) -> tuple[float, ...] | None:
    if named is None:
        return None
    try:
        return tuple(float(word) for word in named)
    except ValueError as error:
        raise SettingsError(f"--source-weights {','.join(named)}: not numbers") from error
