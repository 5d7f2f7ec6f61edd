"""`mlflow.models.evaluate(model, data, model_type="classifier", evaluators="medlocker")`: the entry point.

MLflow imports this module whenever anything is evaluated; what evaluating takes is imported only when this evaluator is
asked for. `medlocker_mlflow.evaluating` has the contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow.models.evaluation import EvaluationResult, ModelEvaluator


class MedLockerEvaluator(ModelEvaluator):
    """Accuracy on clean and marked images, and attack success, of any logged image classifier."""

    @classmethod
    def can_evaluate(cls, *, model_type: str, evaluator_config: Mapping[str, Any], **kwargs: Any) -> bool:
        """Whether the model is said to be a classifier."""
        del evaluator_config, kwargs
        return model_type == "classifier"

    def evaluate(
        self,
        *,
        model_type: str,
        dataset: Any,
        run_id: str,
        evaluator_config: Mapping[str, Any],
        model: Any = None,
        extra_metrics: Any = None,
        custom_artifacts: Any = None,
        predictions: Any = None,
        model_id: str | None = None,
        **kwargs: Any,
    ) -> EvaluationResult:
        """Read clean and marked images with the model and log what it makes of them.

        Args:
            model_type: `classifier`.
            dataset: MLflow's evaluation data set: a table with the column `path`, and labels.
            run_id: where metrics and the per-image table are logged.
            evaluator_config: fields of `medlocker_mlflow.evaluating.EvaluatorConfig`.
            model: a pyfunc model.
            extra_metrics: refused.
            custom_artifacts: refused.
            predictions: the column of the model's output to use.
            model_id: of the logged model, to which MLflow links the metrics.
            kwargs: what later versions of MLflow add.

        Raises:
            SettingsError: the configuration or the table does not fit.
            ModelError: the model's output cannot be read as classes.
            ImageReadError: an image cannot be read.
        """
        del model_type, kwargs
        from medlocker_mlflow.evaluating import evaluate_classifier, refuse_unsupported

        refuse_unsupported(model, extra_metrics, custom_artifacts)
        return evaluate_classifier(
            model, dataset, run_id, dict(evaluator_config), output=predictions, log_metrics=model_id is None
        )
