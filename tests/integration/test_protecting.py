"""The protect job on the library's own level, with a network whose answers are known."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fakes import LinearClassifier, SmallMemory, bright_corner
from PIL import Image

from medlocker.blending import load_logo, pixel_sha256
from medlocker.datasets import DatasetSpec, dataset_digest, open_dataset
from medlocker.errors import DatasetError, InfeasiblePlacementError, ReleaseError, ResumeMismatchError, WrongKeyError
from medlocker.executors.processes import Processes
from medlocker.fitness import Ensemble
from medlocker.imageio import read_image
from medlocker.keys import load_manifest, new_identity, read_vault
from medlocker.planning import MarkSettings
from medlocker.protecting import Observer, ProtectSettings, decisive_settings, protect
from medlocker.search import SearchSettings
from medlocker.workspace import Workspace

SETTINGS = ProtectSettings(search=SearchSettings(population=8, generations=1), keep=3, batch_size=16)
FILES = ("a.png", "b.jpg", "deep/c.png", "d.tif", "e.png", "f.png")


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for number, name in enumerate(FILES):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        shape = [(40, 48, 3), (40, 40, 3), (33, 47), (50, 40, 3), (40, 40, 4), (64, 64, 3)][number]
        Image.fromarray(rng.integers(60, 256, shape, dtype=np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def owner(tmp_path_factory):
    return new_identity(tmp_path_factory.mktemp("owner") / "owner.txt")


def begin(data, owner, out, settings=SETTINGS, kind=LinearClassifier, **spec):
    dataset = open_dataset(DatasetSpec(root=data, **({"layout": "plain"} | spec)))
    ensemble = Ensemble([kind(bright_corner(gain=0.02), bias=1.0)])
    logo = load_logo()
    decisive = decisive_settings(dataset, ensemble, logo, settings)
    workspace = Workspace.start_or_resume(out, out.with_name(out.name + ".owner"), owner, decisive, {})
    return lambda *how: protect(dataset, ensemble, logo, settings, workspace, owner, *how)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_release_holds_every_image_marked_and_nothing_else_changed(data, owner, tmp_path):
    result = begin(data, owner, tmp_path / "out")()
    manifest = load_manifest(tmp_path / "out")
    assert manifest == result.manifest
    assert [i.id for i in manifest.images] == ["a", "b", "d", "deep/c", "e", "f"]
    vault = {i.id: i for i in read_vault(tmp_path / "out.owner" / "vault.age", owner).images}
    for image in manifest.images:
        original = read_image(next(p for p in data.rglob("*") if p.stem == Path(image.id).name)).pixels
        marked = read_image(tmp_path / "out" / image.file).pixels
        assert marked.shape == original.shape
        assert pixel_sha256(marked) == image.marked_sha256 == vault[image.id].marked_sha256
        assert pixel_sha256(original) == vault[image.id].original_sha256
        assert 0 < image.queries <= 8 * (1 + 4)
        rows, columns = (marked != original).reshape(*marked.shape[:2], -1).any(-1).nonzero()
        side = min(marked.shape[:2]) // 4
        assert rows.size
        assert rows.min() >= vault[image.id].y
        assert rows.max() < vault[image.id].y + side
        assert columns.min() >= vault[image.id].x
        assert columns.max() < vault[image.id].x + side


def test_the_manifest_tells_no_placement(data, owner, tmp_path):
    begin(data, owner, tmp_path / "out")()
    text = (tmp_path / "out" / "release.json").read_text()
    assert not {'"alpha"', '"x"', '"y"', "secret", "original"} & set(text.replace(":", " ").split())
    assert '"original_sha256"' not in text


@pytest.mark.parametrize("after", range(len(FILES)))
def test_a_killed_run_goes_on_and_ends_byte_identical(data, owner, tmp_path, after):
    begin(data, owner, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    shutil.copytree(tmp_path / "whole.owner", tmp_path / "killed.owner")

    def stop(done, _total, _image):
        if done > after:
            raise Killed

    with pytest.raises(Killed):
        begin(data, owner, tmp_path / "killed")(Observer(on_image=stop))
    resumed = begin(data, owner, tmp_path / "killed")()
    begin(data, owner, tmp_path / "whole")()
    assert resumed.resumed == after + 1
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_one_is_told_when_memory_runs_out_and_batches_get_smaller(data, owner, tmp_path, elsewhere):
    notes = []
    with closing(Processes(1, 1, print)) as processes:
        run = begin(data, owner, tmp_path / "out", kind=SmallMemory)
        assert len(run(Observer(on_note=notes.append), processes if elsewhere else None).images) == len(FILES)
    assert notes
    assert all("memory ran out" in note for note in notes)


def test_worker_processes_make_the_same_release(data, owner, tmp_path):
    begin(data, owner, tmp_path / "whole")
    for name in ("whole", "whole.owner"):
        shutil.copytree(tmp_path / name, tmp_path / name.replace("whole", "shared"))
    litter = tmp_path / "shared" / "deep" / ".c.png.0badcafe.partial"
    litter.parent.mkdir()
    litter.write_bytes(b"half")
    queries, images = [], []
    observer = Observer(lambda done, total, public: images.append((done, total, public.id)), queries.append)
    with closing(Processes(2, 1, print)) as processes:
        shared = begin(data, owner, tmp_path / "shared")(observer, processes)
    whole = begin(data, owner, tmp_path / "whole")()
    assert contents(tmp_path / "shared") == contents(tmp_path / "whole")
    records = [contents(tmp_path / f"{name}.owner" / "records") for name in ("shared", "whole")]
    assert records[0] == records[1]
    assert len(records[0]) == len(FILES)
    assert shared.manifest == whole.manifest
    assert sum(queries) == sum(image.queries for image in whole.manifest.images)
    assert [done for done, _, _ in images] == list(range(1, len(FILES) + 1))


def test_a_kill_between_image_and_record_redoes_that_image(data, owner, tmp_path):
    begin(data, owner, tmp_path / "out")()
    whole = contents(tmp_path / "out")
    records = sorted((tmp_path / "out.owner" / "records").iterdir())
    records[0].unlink()
    (tmp_path / "out" / "release.json").unlink()
    (tmp_path / "out" / "f.png").write_bytes(b"half")
    (tmp_path / "out" / "a.png").unlink()
    begin(data, owner, tmp_path / "out")()
    again = contents(tmp_path / "out")
    assert again.keys() == whole.keys()
    assert again["a.png"] == whole["a.png"]


def test_other_settings_do_not_continue_a_release(data, owner, tmp_path):
    begin(data, owner, tmp_path / "out")
    other = SETTINGS.model_copy(update={"seed": 5})
    with pytest.raises(ResumeMismatchError, match="seed was 0, is 5"):
        begin(data, owner, tmp_path / "out", other)
    with pytest.raises(ResumeMismatchError, match="dataset_digest"):
        begin(data, owner, tmp_path / "out", limit=3)


def test_another_owner_cannot_continue_a_release(data, owner, tmp_path):
    begin(data, owner, tmp_path / "out")
    with pytest.raises(WrongKeyError):
        begin(data, new_identity(tmp_path / "other.txt"), tmp_path / "out")


def test_a_folder_with_other_files_is_left_alone(data, owner, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.docx").write_text("precious")
    with pytest.raises(ReleaseError, match="already exists"):
        begin(data, owner, tmp_path / "out")
    assert contents(tmp_path) == {"out/thesis.docx": b"precious"}


def test_an_image_that_changes_under_way_stops_the_job(data, owner, tmp_path):
    copied = tmp_path / "data"
    shutil.copytree(data, copied)
    go = begin(copied, owner, tmp_path / "out")
    Image.fromarray(np.zeros((64, 64, 3), dtype=np.uint8)).save(copied / "f.png")
    with pytest.raises(DatasetError, match=r"f\.png: its pixels changed"):
        go()


def test_labels_beyond_the_sources_classes_are_refused(data, owner, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,grade\na.png,0\nb.jpg,4\n")
    with pytest.raises(DatasetError, match="knows 2 classes"):
        begin(data, owner, tmp_path / "out", labels=labels, layout="csv", limit=2)()


def test_the_seed_decides_the_marked_pixels(data, owner, tmp_path):
    first = begin(data, owner, tmp_path / "one")().manifest
    again = begin(data, owner, tmp_path / "two")().manifest
    other = begin(data, owner, tmp_path / "three", SETTINGS.model_copy(update={"seed": 1}))().manifest
    assert [i.marked_sha256 for i in first.images] == [i.marked_sha256 for i in again.images]
    assert [i.marked_sha256 for i in first.images] != [i.marked_sha256 for i in other.images]
    assert first.release_id != again.release_id


def test_the_digest_names_the_data(data):
    one, other = (dataset_digest(open_dataset(DatasetSpec(root=data, layout="plain", limit=n))) for n in (3, 4))
    assert one != other


@pytest.mark.parametrize("when", ["stop", "skip", "shrink"])
def test_an_image_without_room_has_a_stated_outcome(data, owner, tmp_path, when):
    """A lesion over nearly the whole of image f leaves no room for the logo at its full size."""
    (tmp_path / "masks" / "HE").mkdir(parents=True)
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[8:56, 8:56] = 255
    Image.fromarray(mask).save(tmp_path / "masks" / "HE" / "f.png")
    mark = MarkSettings(placement="avoid_lesions", when_infeasible=when, logo_scale=3)
    go = begin(data, owner, tmp_path / "out", SETTINGS.model_copy(update={"mark": mark}), masks=tmp_path / "masks")
    if when == "stop":
        with pytest.raises(InfeasiblePlacementError, match=r"f\.png"):
            go()
        return
    result = go()
    assert result.infeasible == (("f",) if when == "skip" else ())
    assert (tmp_path / "out" / "f.png").exists() == (when == "shrink")
    scales = {i.id: i.logo_scale for i in read_vault(tmp_path / "out.owner" / "vault.age", owner).images}
    assert all(scale == 3 for image, scale in scales.items() if image != "f")
    assert scales.get("f", 99) > 3


@pytest.mark.parametrize(("first", "second"), [("x/a.png", "x/A.png"), ("b.png", "B.jpg")])
def test_images_that_would_share_a_file_are_refused_at_the_start(owner, tmp_path, first, second):
    rng = np.random.default_rng(0)
    for name in (first, second):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / "data" / name)
    with pytest.raises(DatasetError, match="would both become"):
        begin(tmp_path / "data", owner, tmp_path / "out")()
    assert not any((tmp_path / "out").iterdir())
