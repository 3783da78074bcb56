"""The report of a run: its metrics at one step."""

from dataclasses import asdict, dataclass

from chex.statistics.metrics import Scores


@dataclass(frozen=True)
class Report:
    """The metrics of a run at one step, at which a checkpoint exists.

    Scores are on the validation split, recall, precision and error rate at threshold .5. Each score is the mean over
    the observations for which it is defined.
    """

    step: int
    """Steps of the run that are done; different in each report of a run."""
    steps: int
    """Steps of the whole run."""
    percent: float
    """The percentage of the run's steps that are done, above 0, 100 in the last report."""
    phase: int
    """The number of the phase, from 1."""
    epoch: float
    """Epochs of the run that are done, with the share of the current one."""
    images_seen: int
    """Images that the run was trained on so far, each as often as it was used."""
    seconds: float
    """The time of training and validation, over all resumes."""
    micro_batch_size: int
    """Images that pass through the network at once; smaller than in the config after an out-of-memory error."""
    lr: float
    """The learning rate of the head."""
    train_loss: float
    """The mean over the steps since the last report."""
    valid_loss: float
    auroc: float
    recall: float
    precision: float
    """The mean over the observations with a positive prediction, which may differ between reports."""
    error_rate: float
    best_auroc: float
    """The highest `auroc` of the run so far, which belongs to the weights in best.safetensors."""
    observations: dict[str, Scores]

    def row(self) -> dict[str, float]:
        """Returns the metrics by name; a run with several observations also has each of theirs (`auroc/Edema`)."""
        flat = {name: value for name, value in vars(self).items() if name != "observations"}
        if len(self.observations) > 1:
            for name, scores in self.observations.items():
                flat |= {f"{metric}/{name}": value for metric, value in asdict(scores).items()}
        return flat
