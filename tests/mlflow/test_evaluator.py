"""The evaluator on a network in closed form: class 1 is a mean brightness above one half."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from example_release import make_example
from mlflow.models import infer_signature
from mlflow_store import Store
from PIL import Image

from medlocker.blending import pixel_sha256
from medlocker.classifiers import Preprocessing
from medlocker.errors import AlteredImageError, ModelError, SettingsError
from medlocker.imageio import read_image
from medlocker.metrics import Proportion
from medlocker_mlflow.evaluating import UNKNOWN, evaluation_metrics
from medlocker_mlflow.feeding import METADATA_KEYS, read_classes
from medlocker_mlflow.pairing import release_pairs, row_ids

UNIT = {"input_size": 8, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
LEVELS = {"dark0": 20, "dark1": 60, "light0": 200, "light1": 250}


class Brightness(torch.nn.Module):
    """Scores (0, mean − 0.5)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        brightness = x.mean((1, 2, 3)) - 0.5
        return torch.stack([torch.zeros_like(brightness), brightness], 1)


@pytest.fixture
def store(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The artifacts of the Default experiment lie where its schema was made; those of a new one lie in the store."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "past")
    return store


def grey(path: Path, level: int) -> str:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(np.full((16, 16, 3), level, np.uint8)).save(path)
    return str(path)


@pytest.fixture
def frame(tmp_path: Path) -> pd.DataFrame:
    """Four images, the last with a wrong label; the marks of `dark0` and `light1` change the class."""
    marked = {"dark0": 255, "dark1": 70, "light0": 210, "light1": 0}
    return pd.DataFrame(
        {
            "path": [grey(tmp_path / "clean" / f"{name}.png", level) for name, level in LEVELS.items()],
            "marked_path": [grey(tmp_path / "marked" / f"{name}.png", level) for name, level in marked.items()],
            "label": [0, 0, 1, 0],
        }
    )


def evaluate(model, data, **config):
    predictions = config.pop("predictions", None)
    targets = "label" if isinstance(data, pd.DataFrame) else None
    return mlflow.models.evaluate(
        model,
        data,
        targets=targets,
        model_type="classifier",
        predictions=predictions,
        evaluators="medlocker",
        evaluator_config=config,
    )


def log_brightness(**options) -> str:
    signature = infer_signature(np.zeros((2, 3, 8, 8), np.float32), np.zeros((2, 2), np.float32))
    signature.inputs.inputs[0]._shape = (-1, 3, 8, 8)
    with mlflow.start_run():
        return mlflow.pytorch.log_model(
            Brightness(), name="net", signature=signature, pip_requirements=[], serialization_format="pickle", **options
        ).model_uri


def log_onnx_brightness(**options) -> str:
    """`Brightness` up to a factor, as an ONNX model with a named input."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Sub", ["mean", "half"], ["above"]),
            helper.make_node("Unsqueeze", ["above", "one"], ["column"]),
            helper.make_node("Mul", ["column", "sides"], ["scores"]),
        ],
        "brightness",
        [helper.make_tensor_value_info("image", kind, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", kind, ["n", 2])],
        [
            helper.make_tensor("half", kind, [], [0.5]),
            helper.make_tensor("one", onnx.TensorProto.INT64, [1], [1]),
            helper.make_tensor("sides", kind, [1, 2], [-1.0, 1.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    signature = infer_signature({"image": np.zeros((1, 3, 8, 8), np.float32)})
    signature.inputs.inputs[0]._shape = (-1, 3, 8, 8)
    with mlflow.start_run():
        return mlflow.onnx.log_model(
            model,
            name="net",
            signature=signature,
            pip_requirements=[],
            onnx_execution_providers=["CPUExecutionProvider"],
            **options,
        ).model_uri


class BrightnessOfFiles(mlflow.pyfunc.PythonModel):
    """`Brightness` for a table of paths; reads the files itself and answers with class indices."""

    def predict(self, context, model_input, params=None):
        return np.array([int(read_image(Path(p)).pixels.mean() > 127) for p in model_input["path"]])


def log_brightness_of_files(**options) -> str:
    signature = infer_signature(pd.DataFrame({"path": ["a.png"]}), np.zeros(1, np.int64))
    with mlflow.start_run():
        return mlflow.pyfunc.log_model(
            name="net", python_model=BrightnessOfFiles(), signature=signature, pip_requirements=[], **options
        ).model_uri


EXPECTED = {
    "accuracy/clean/net": 3 / 4,
    "accuracy/marked/net": 3 / 4,
    "asr/transfer/net": 1 / 3,
    "asr/transfer/net/n": 3,
}


def test_a_pytorch_model_is_read_with_the_preprocessing_in_its_metadata(store: Store, frame: pd.DataFrame) -> None:
    uri = log_brightness(metadata={METADATA_KEYS["preprocessing"]: UNIT, METADATA_KEYS["network"]: "net"})
    with mlflow.start_run() as run:
        result = evaluate(uri, frame, batch_size=3)
    assert {name: result.metrics[name] for name in EXPECTED} == pytest.approx(EXPECTED)
    assert (result.metrics["asr/transfer/net/lo"], result.metrics["asr/transfer/net/hi"]) == Proportion(1, 3).interval
    logged = store.client.get_run(run.info.run_id)
    assert logged.data.metrics["asr/transfer/net"] == pytest.approx(1 / 3)
    assert len(store.client.get_metric_history(run.info.run_id, "asr/transfer/net")) == 1
    assert logged.inputs.model_inputs
    table = store.read(run.info.run_id, "tables/evaluation_asr_transfer_net.csv").decode()
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [(r["id"], r["clean"], r["marked"], r["outcome"]) for r in rows] == [
        ("dark0", "0", "1", "fooled"),
        ("dark1", "0", "0", "not_fooled"),
        ("light0", "1", "1", "not_fooled"),
        ("light1", "1", "0", "clean_misread"),
    ]
    assert result.artifacts["evaluation_asr_transfer_net"].content.shape == (4, 6)


def test_a_plain_function_of_paths_is_evaluated(store: Store, frame: pd.DataFrame) -> None:
    def model(inputs: pd.DataFrame) -> list[str]:
        return ["ill" if read_image(Path(p)).pixels.mean() > 127 else "well" for p in inputs["path"]]

    named = frame.assign(label=["well", "well", "ill", "well"])
    result = evaluate(model, named, input="paths", class_names=("well", "ill"), network="net", role="source")
    assert result.metrics["asr/source/net"] == pytest.approx(1 / 3)
    assert store.only_run().data.metrics["accuracy/marked/net"] == pytest.approx(3 / 4)


def test_without_marked_images_the_metrics_say_that_marks_were_random(store: Store, frame: pd.DataFrame) -> None:
    def model(inputs: pd.DataFrame) -> np.ndarray:
        return np.array([len(np.unique(read_image(Path(p)).pixels)) > 1 for p in inputs["path"]]).astype(float)

    zeros = frame.drop(columns="marked_path").assign(label=0)
    result = evaluate(model, zeros, input="paths", alpha_range=(255, 255))
    assert result.metrics["asr/baseline/random_single/model"] == 1.0  # a mark is seen on every plain image
    assert result.metrics["accuracy/baseline/random_single/model"] == 0.0
    assert not {name for name in result.metrics if name.startswith("asr/transfer")}


def test_a_data_set_of_mlflow_is_evaluated_and_linked_by_its_digest(store: Store, frame: pd.DataFrame) -> None:
    folder = Path(frame["path"][0]).parent
    (folder / "labels.csv").write_text("file,grade\n" + "".join(f"{n}.png,{int(v > 99)}\n" for n, v in LEVELS.items()))
    data = mlflow.data.from_image_folder(folder)
    result = evaluate(lambda x: np.zeros(len(x)), data, input="paths")
    assert result.metrics["accuracy/clean/model"] == 0.5
    assert store.only_run().inputs.dataset_inputs[0].dataset.digest == data.digest


def test_an_onnx_model_is_read_through_its_named_tensor(store: Store, frame: pd.DataFrame) -> None:
    uri = log_onnx_brightness()
    with mlflow.start_run():
        result = evaluate(uri, frame, preprocessing=UNIT, network="net")
    assert {name: result.metrics[name] for name in EXPECTED} == pytest.approx(EXPECTED)


def test_rows_are_matched_to_a_release_by_the_end_of_their_path(tmp_path: Path, store: Store) -> None:
    example = make_example(tmp_path)
    originals = tmp_path / "originals"
    for image in example.manifest.images:
        path = originals / image.file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(example.originals[image.id]).save(path)
    frame = pd.DataFrame({"path": [str(originals / i.file) for i in example.manifest.images], "label": 0})
    pairs, _ = release_pairs(frame, example.folder)
    assert [p.id for p in pairs] == [i.id for i in example.manifest.images]
    assert [pixel_sha256(p.marked()) for p in pairs] == [i.marked_sha256 for i in example.manifest.images]
    with mlflow.start_run() as run:
        result = evaluate(lambda x: np.zeros(len(x)), frame, input="paths", release=example.folder)
    assert result.metrics["asr/transfer/model"] == 0.0
    assert store.client.get_run(run.info.run_id).data.tags["medlocker.release_id"] == example.manifest.release_id
    Image.fromarray(example.originals["a"]).save(example.file("a"))
    with pytest.raises(AlteredImageError, match=r"a\.png"):
        evaluate(lambda x: np.zeros(len(x)), frame, input="paths", release=example.folder)


def test_a_row_that_is_not_in_the_release_is_named(tmp_path: Path) -> None:
    example = make_example(tmp_path)
    with pytest.raises(SettingsError, match="stranger"):
        release_pairs(pd.DataFrame({"path": ["x/a.png", "x/stranger.png"]}), example.folder)
    with pytest.raises(SettingsError, match="two rows belong to a"):
        release_pairs(pd.DataFrame({"path": ["x/a.png", "y/a.png"]}), example.folder)


def test_an_infeasible_image_has_no_marked_version(tmp_path: Path) -> None:
    example = make_example(tmp_path)
    text = example.manifest.model_copy(update={"infeasible": ("c",)}).model_dump_json()
    (example.folder / "release.json").write_text(text)
    pairs, _ = release_pairs(pd.DataFrame({"path": ["x/a.png", "x/c.png"]}), example.folder)
    assert [pair.marked is None for pair in pairs] == [False, True]


def test_ids_are_paths_below_the_common_folder() -> None:
    assert row_ids(pd.DataFrame({"path": ["d/a/1.png", "d/b/1.png"]})) == ["a/1", "b/1"]
    with pytest.raises(SettingsError, match="two rows have the id 1"):
        row_ids(pd.DataFrame({"path": ["d/1.png", "d/1.jpg"]}))
    with pytest.raises(SettingsError, match="no rows with a column `path`"):
        row_ids(pd.DataFrame({"file": ["1.png"]}))


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (np.array([[0.1, 0.9], [0.8, 0.2]]), None),
        (np.array([[1], [0]]), None),
        (np.array([1.0, 0.0]), None),
        (["b", "a"], None),
        ({"scores": np.array([[0.1, 0.9], [0.8, 0.2]])}, None),
        ({"scores": np.array([[9.0, 0.0], [9.0, 0.0]]), "class": np.array([1, 0])}, "class"),
        (pd.DataFrame({"class": [1, 0], "confidence": [0.9, 0.8]}), "class"),
        (pd.DataFrame([[0.1, 0.9], [0.8, 0.2]]), None),
        (pd.DataFrame({"a": [0.1, 0.8], "b": [0.9, 0.2]}), None),
    ],
)
def test_answers_are_read_as_classes(answer, name) -> None:
    assert read_classes(answer, 2, name, ("a", "b")).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.array([0.3, 0.7]), "0.3 is not a class"),
        (np.array([-1, 0]), "-1 is not a class"),
        (np.array([np.inf, 0]), "inf is not a class"),
        (np.array([[np.nan, 1.0], [0.0, 1.0]]), "NaN"),
        (np.zeros((3, 2)), r"\(3, 2\) for 2 images"),
        (np.zeros((2, 3, 4)), r"\(2, 3, 4\) for 2 images"),
        (["c", "a"], "'c' is not a class"),
        ({"x": np.zeros(2), "y": np.zeros(2)}, "answers with x, y"),
        (pd.DataFrame({"class": [1, 0], "confidence": [0.9, 0.8]}), "answers with class, confidence"),
    ],
)
def test_answers_that_might_mean_anything_are_refused(answer, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_classes(answer, 2, None, ("a", "b"))


def test_what_is_not_supported_or_not_stated_is_refused_with_the_next_step(store: Store, frame: pd.DataFrame) -> None:
    def model(inputs: pd.DataFrame) -> np.ndarray:
        raise ValueError("out of coffee")

    cases = [
        ({"input": "arrays"}, "nothing says how images become its input"),
        ({}, "arrays or paths"),
        ({"networks": "x"}, "networks: Extra inputs"),
        ({"input": "paths", "release": "r"}, "both a column marked_path and a release"),
    ]
    for config, message in cases:
        with pytest.raises(SettingsError, match=message):
            evaluate(model, frame, **config)
    with pytest.raises(ModelError, match="out of coffee"):
        evaluate(model, frame, input="paths")
    with pytest.raises(SettingsError, match="extra_metrics"):
        mlflow.models.evaluate(
            model,
            frame,
            targets="label",
            model_type="classifier",
            evaluators="medlocker",
            extra_metrics=[mlflow.models.make_metric(eval_fn=len, greater_is_better=True, name="x")],
        )


def test_a_signature_of_another_size_is_refused(store: Store, frame: pd.DataFrame) -> None:
    with pytest.raises(SettingsError, match=r"\(N, 3, 16, 16\).*\(-1, 3, 8, 8\)"):
        evaluate(log_brightness(), frame, preprocessing=Preprocessing(input_size=16))


def test_rates_of_no_images_are_left_out() -> None:
    truth, wrong = np.array([0, 0]), np.array([1, 1])
    metrics = evaluation_metrics("a/b", "asr/transfer", truth, wrong, np.array([UNKNOWN, 0]))
    assert metrics["accuracy/clean/a_b"] == 0.0
    assert metrics["accuracy/marked/a_b/n"] == 1
    assert not [name for name in metrics if name.startswith("asr")]
    assert json.dumps(metrics)
