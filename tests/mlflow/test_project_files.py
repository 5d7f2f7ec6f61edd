"""MLproject and conda.yaml agree with the command line and with pyproject.toml."""

from __future__ import annotations

import re
import string
import tomllib
from pathlib import Path

import click
import pytest
import yaml
from mlflow.projects.utils import load_project
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
ENTRY_POINTS = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
CONDA = yaml.safe_load((ROOT / "conda.yaml").read_text())


def _pip_requirements() -> list[str]:
    (pip,) = [entry["pip"] for entry in CONDA["dependencies"] if isinstance(entry, dict)]
    return list(pip)


def test_conda_installs_what_the_package_depends_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert sorted(_pip_requirements()) == sorted(project["dependencies"])
    assert f"python{project['requires-python']}" in CONDA["dependencies"]


def test_conda_itself_brings_only_python_and_pip() -> None:
    names = {re.split(r"[<>=]", entry)[0] for entry in CONDA["dependencies"] if isinstance(entry, str)}
    assert names == {"python", "pip"}


def test_there_is_one_onnx_runtime_with_its_gpu_libraries() -> None:
    runtimes = [Requirement(line) for line in _pip_requirements() if line.startswith("onnxruntime")]
    assert [(runtime.name, runtime.extras) for runtime in runtimes] == [("onnxruntime-gpu", {"cuda", "cudnn"})]


def test_mlflow_reads_the_project_and_finds_every_verb() -> None:
    project = load_project(str(ROOT))
    assert project._entry_points.keys() == {
        "protect", "train", "segment_train", "segment_predict", "study", "export", "transfer", "unlock",
        "edition", "trace", "rerelease",
    }  # fmt: skip


@pytest.mark.parametrize("verb", ENTRY_POINTS)
def test_defaults_make_a_complete_command_and_odd_values_stay_one_argument(verb: str) -> None:
    entry_point = load_project(str(ROOT)).get_entry_point(verb)
    assert f"-m medlocker {verb.replace('_', ' ')} " in entry_point.compute_command({}, None)
    for name in entry_point.parameters:
        assert "'a b;c'" in entry_point.compute_command({name: "a b;c"}, None)


@pytest.mark.parametrize("verb", ENTRY_POINTS)
def test_every_parameter_is_a_string_with_a_default_and_is_used_once(verb: str) -> None:
    parameters, command = ENTRY_POINTS[verb]["parameters"], ENTRY_POINTS[verb]["command"]
    used = sorted(field for _, field, _, _ in string.Formatter().parse(command) if field)
    assert used == sorted(parameters)
    assert all(spec["type"] == "string" and spec["default"] is not None for spec in parameters.values())


@pytest.mark.parametrize("verb", ENTRY_POINTS)
def test_options_are_named_as_their_parameters(verb: str) -> None:
    pairs = re.findall(r"--([a-z-]+) \{(\w+)\}", ENTRY_POINTS[verb]["command"])
    assert pairs
    assert all(option.replace("-", "_") == name for option, name in pairs)


@pytest.mark.parametrize("verb", ENTRY_POINTS)
def test_the_command_line_has_every_option(verb: str) -> None:
    from medlocker.cli import main

    context = click.Context(main)
    words = re.search(r"-m medlocker ([a-z]+(?: [a-z]+)*) (?:\{|--)", ENTRY_POINTS[verb]["command"])
    assert words
    command: click.Command | None = main
    for word in words[1].split():
        assert isinstance(command, click.Group)
        command = command.get_command(context, word)
    assert command is not None
    options = {name for parameter in command.params for name in parameter.opts}
    assert set(re.findall(r"--[a-z-]+", ENTRY_POINTS[verb]["command"])) <= options
