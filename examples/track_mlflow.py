"""Follow a search with MLflow: pip install mlflow; python examples/track_mlflow.py.

Runs in seconds. The loss of each step, and the score and size of each trial, are metrics of one
MLflow run. It is kept where MLFLOW_TRACKING_URI says; `mlflow ui` shows it.
"""

import mlflow
import torch

import autoquant as aq


def on_step(step: aq.StepResult) -> None:
    mlflow.log_metric(f"{step.run} loss", float(step.loss), step=step.step)


def on_trial(trial: aq.Outcome) -> None:
    score = float("nan") if trial.score is None else trial.score
    values = {"score": score, "size_bytes": trial.size_bytes}
    mlflow.log_metrics({f"trial {trial.trial} {name}": value for name, value in values.items()})


data = torch.randn(400, 64), torch.randint(16, (400,))
task = aq.SupervisedTask(torch.nn.Linear(64, 16), data, data, data)  # your trained model and data
settings = aq.Search("0.5x", trials=2, references=(4,), qat=aq.Training(steps=10))
with mlflow.start_run() as run:
    mlflow.log_params({"budget": settings.budget, "trials": settings.trials})
    aq.search(task, settings, study=f"runs/{run.info.run_id}", on_step=on_step, on_trial=on_trial)
