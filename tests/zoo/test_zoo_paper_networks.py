"""The full plan is runnable: each of the paper's networks at its true input size, from a training step to transfer."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from zoo_data import brightness_dataset

from medlocker.blending import load_logo
from medlocker.fitness import Ensemble
from medlocker.jobs.measuring import measure_release
from medlocker.jobs.networks import JobNetworks
from medlocker.jobs.progress import SilentProgress
from medlocker.keys import new_identity
from medlocker.protecting import ProtectSettings, decisive_settings, protect
from medlocker.search import SearchSettings
from medlocker.transfer import Mixture
from medlocker.workspace import Workspace
from medlocker_zoo.export import export_onnx
from medlocker_zoo.registry import get_card, paper_networks
from medlocker_zoo.storage import load_classifier, save_classifier
from medlocker_zoo.targets import OnnxTarget
from medlocker_zoo.training import train_classifier

SIZES = {name: 299 if name == "inception_v3" else 224 for name in paper_networks()}
QUICK = SearchSettings(population=4, generations=1, iterations=1)


class Folder:
    """Networks by name from a folder of trained and exported ones; sources by PyTorch, targets by ONNX Runtime."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sources(self, references):
        return [load_classifier(self.folder / f"{name}.safetensors") for name in references]

    def targets(self, references):
        return [OnnxTarget(self.folder / f"{name}.onnx", provider="cpu") for name in references]

    def segmenter(self, reference):
        raise NotImplementedError(reference)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("seven")


@pytest.fixture(scope="module")
def images(folder):
    return brightness_dataset(folder / "images", 3)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", paper_networks())
def test_one_step_export_and_parity(name, folder, images, capsys):
    card = get_card(name)
    assert card.preprocessing.input_size == SIZES[name]
    started = time.perf_counter()
    recipe = card.recipe.model_copy(update={"batch_size": 6, "epochs": 1})
    result = train_classifier(card.model_copy(update={"recipe": recipe}), images, 0.34, seed=0, precision="float32")
    save_classifier(folder / f"{name}.safetensors", result.classifier)
    trained = time.perf_counter()
    report = export_onnx(load_classifier(folder / f"{name}.safetensors"), folder / f"{name}.onnx")
    assert report.parity.probability <= 1e-4
    with capsys.disabled():
        times = f"one step and measuring {trained - started:.1f} s, export {time.perf_counter() - trained:.1f} s"
        file = f"{report.bytes / 1e6:.0f} MB, parity {report.parity.probability:.1e}"
        print(f"\n{name}: {SIZES[name]} px, {times}, {file}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("source", [*paper_networks(), "ensemble"])
def test_five_images_are_locked_and_transferred_to_all_others(source, folder, images, tmp_path, capsys):
    four = ("resnet18", "vgg16", "inception_v3", "mobilenetv3_large_100")
    members = four if source == "ensemble" else (source,)
    others = [name for name in paper_networks() if name not in members]
    mixtures = [] if source == "ensemble" else [Mixture("ensemble", four, (0.25,) * 4)]
    networks = JobNetworks(Folder(folder), members, (0.25,) * 4 if len(members) > 1 else None, others, mixtures)
    dataset = type(images)(images.name, images.root, images.layout, images.records[:5], images.class_names)
    settings, logo, owner = ProtectSettings(search=QUICK), load_logo(None), new_identity(tmp_path / "owner.txt")
    ensemble: Ensemble = networks.ensemble()
    decisive = decisive_settings(dataset, ensemble, logo, settings)
    workspace = Workspace.start_or_resume(tmp_path / "release", tmp_path / "owner", owner, decisive, {})
    started = time.perf_counter()
    protection = protect(dataset, ensemble, logo, settings, workspace, owner)
    measured = measure_release(workspace, dataset, logo, networks, settings, ("random_single",), SilentProgress())
    assert len(protection.images) == 5
    read = {network.name for network in measured.readings.networks if network.role == "target"}
    assert read == {*others, *(mixture.name for mixture in mixtures)}
    assert all(len(measured.readings.of(name, "searched")) == 5 for name in read)
    with capsys.disabled():
        print(
            f"\n{source}: 5 images locked and read by {len(read)} others in {time.perf_counter() - started:.1f} s, "
            f"{sum(image.public.queries for image in protection.images)} queries"
        )
