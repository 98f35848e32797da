"""Follow a search with Weights & Biases: pip install wandb; python examples/track_wandb.py.

Runs in seconds. The loss of each step, and the score and size of each trial, are logged into one
run, which is kept in the folder wandb; without mode="offline" it goes to the server.
"""

import torch
import wandb

import autoquant as aq


def on_step(step: aq.StepResult) -> None:
    run.log({f"{step.run}/loss": float(step.loss), f"{step.run}/step": step.step})


def on_trial(trial: aq.Outcome) -> None:
    run.log({"trial": trial.trial, "score": trial.score, "size_bytes": trial.size_bytes})


data = torch.randn(400, 64), torch.randint(16, (400,))
task = aq.SupervisedTask(torch.nn.Linear(64, 16), data, data, data)  # your trained model and data
settings = aq.Search("0.5x", trials=2, references=(4,), qat=aq.Training(steps=10))
with wandb.init(project="autoquant", mode="offline", config=settings.to_dict()) as run:
    aq.search(task, settings, study=f"runs/{run.id}", on_step=on_step, on_trial=on_trial)
