"""Plans that ship are valid; plans that are wrong say where."""

import tomllib
from pathlib import Path

import pytest
from study_kit import plan_of

from medlocker.errors import SettingsError
from medlocker.protecting import ProtectSettings
from medlocker.studies.cells import cells_of
from medlocker.studies.plan import StudyPlan, changed_settings, load_plan

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_plans_give_cells_for_every_table(path: Path) -> None:
    plan = load_plan(path)
    for table in ("table1", "table2", "table3", "ablation", "baselines"):
        assert cells_of(plan, table)  # type: ignore[arg-type]


def test_the_papers_plan_is_the_papers() -> None:
    plan = load_plan(ROOT / "studies" / "paper.toml")
    search, mark = plan.settings.search, plan.settings.mark
    assert (search.population, search.generations, search.iterations) == (50, 3, 3)
    assert (search.crossover_rate, search.step, mark.logo_scale, mark.alpha_range) == (0.9, 10, 4, (100, 255))
    assert plan.transfer is not None
    assert (plan.transfer.per_class, plan.transfer.select) == (150, "all_correct")
    assert plan.ensembles["ensemble"].members == ("resnet18", "vgg16", "inception_v3", "mobilenetv3_large_100")
    assert plan.ensembles["ensemble"].weights == (0.25, 0.25, 0.25, 0.25)
    assert len(plan.networks) >= 7
    assert set(plan.ablation.vary) >= {  # type: ignore[union-attr]
        "search.population",
        "search.iterations",
        "search.crossover_rate",
        "search.step",
        "mark.logo_scale",
    }


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"seeds": ()}, "seeds"),
        ({"nets": {}}, "nets"),
        ({"networks": {"a": "a"}}, "b: no such network in the plan; there are a"),
        ({"transfer": {"data": "none", "sources": ("a",), "targets": ("b",)}}, "none: no such data set"),
        ({"transfer": {"data": "squares", "sources": ("z",), "targets": ("b",)}}, "z: no such network or ensemble"),
        ({"ensembles": {"a": {"members": ("a", "b")}}}, "a is both a network and an ensemble"),
        ({"ensembles": {"ensemble": {"members": ("a", "b"), "weights": (1.0,)}}}, "1 weights for 2 members"),
        ({"ensembles": {n: {"members": ("a", "b")} for n in ("ensemble", "e2")}}, "cannot name one of several"),
        ({"data": {"squares": {"label": "DR"}}}, "label needs classes"),
        ({"ablation": {"data": ("squares",), "source": "a", "vary": {"search.colour": (1,)}}}, "no such setting"),
        ({"ablation": {"data": ("squares",), "source": "a", "vary": {"search.population": (0,)}}}, "population"),
        (
            {"lesions": {"diseased": "squares", "healthy": "squares", "source": "a", "when_infeasible": "stop"}},
            "skip or shrink",
        ),
        (
            {"lesions": {"diseased": "squares", "healthy": "squares", "source": "a", "masks": ("predicted",)}},
            "segmenter",
        ),
        ({"baselines": {"data": "squares", "sources": ("a",), "searches": ("guess",)}}, "guess"),
    ],
)
def test_wrong_plans_say_what_is_wrong(parts: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        plan_of(**parts)


@pytest.mark.parametrize("text", ["name = ", "\xff", 'name = "x"\n'])
def test_a_file_that_is_no_plan_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.toml").write_text(text, encoding="latin-1")
    with pytest.raises(SettingsError, match=r"p\.toml"):
        load_plan(tmp_path / "p.toml")
    with pytest.raises(SettingsError, match=r"none\.toml"):
        load_plan(tmp_path / "none.toml")


def test_settings_are_changed_by_dotted_names_and_checked() -> None:
    changed = changed_settings(ProtectSettings(), {"search.step": 5, "mark.logo_scale": 3, "stop_below": 0.2})
    assert (changed.search.step, changed.mark.logo_scale, changed.stop_below) == (5, 3, 0.2)
    with pytest.raises(ValueError, match="no such setting"):
        changed_settings(ProtectSettings(), {"search.step.x": 5})


def test_cells_of_tables_one_and_two_are_the_same() -> None:
    plan = plan_of()
    assert cells_of(plan, "table1") == cells_of(plan, "table2")
    assert [(cell.source, cell.settings.seed) for cell in cells_of(plan, "table1")] == [
        ("a", 0),
        ("a", 1),
        ("ensemble", 0),
        ("ensemble", 1),
    ]
    first, third = cells_of(plan, "table1")[0], cells_of(plan, "table1")[2]
    assert first.targets == ("b", "c", "ensemble")
    assert third.targets == ("c",)


def test_a_table_the_plan_does_not_have_is_named() -> None:
    with pytest.raises(SettingsError, match=r"no part \[ablation\]"):
        cells_of(plan_of(), "ablation")


def test_table_three_has_the_papers_columns_once_for_each_origin_of_masks() -> None:
    lesions = {"diseased": "squares", "healthy": "squares", "source": "a", "masks": ("given", "predicted")}
    cells = cells_of(plan_of(lesions=lesions, segmenter="s.onnx", seeds=(0,)), "table3")
    assert [(c.labels["search"], c.labels["placement"], c.labels["eyes"], c.masks) for c in cells[:6]] == [
        ("basin_hopping", "anywhere", "DR", "given"),
        ("basin_hopping", "anywhere", "no DR", "given"),
        ("basin_hopping", "inside_lesions", "DR", "given"),
        ("basin_hopping", "avoid_lesions", "DR", "given"),
        ("random_mutation", "anywhere", "DR", "given"),
        ("random_mutation", "anywhere", "no DR", "given"),
    ]
    predicted = [c for c in cells if c.masks == "predicted"]
    assert {c.labels["placement"] for c in predicted} == {"inside_lesions", "avoid_lesions"}
    assert all(c.settings.mark.when_infeasible == "skip" for c in cells)


def test_plans_are_strict_toml(tmp_path: Path) -> None:
    text = (ROOT / "studies" / "synthetic.toml").read_text()
    assert StudyPlan.model_validate(tomllib.loads(text)).name == "synthetic"
    with pytest.raises(ValueError, match="Extra inputs"):
        StudyPlan.model_validate(tomllib.loads(text.replace("per_class", "per_klass")))
