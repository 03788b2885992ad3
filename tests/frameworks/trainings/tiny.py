"""A model and data of PyTorch so small that a step takes milliseconds; with what is known of the
run, all that the trainings here share."""

import torch
from this_run import FOLDER, MAX_STEPS, RESUME_FROM, SAVE_STEPS, hyperparameters, report, work

__all__ = [
    "FOLDER",
    "MAX_STEPS",
    "RESUME_FROM",
    "SAVE_STEPS",
    "Rows",
    "hyperparameters",
    "network",
    "report",
    "work",
]


class Rows(torch.utils.data.Dataset):
    """Numbers to fit a line through; 40 rows, so that epochs of 2 and 4 rows a batch differ."""

    def __len__(self):
        return 40

    def __getitem__(self, number):
        generator = torch.Generator().manual_seed(number)
        row = torch.randn(8, generator=generator)
        return row, row.sum(0, keepdim=True)


def network():
    """With dropout: the random numbers must go on where they were."""
    torch.manual_seed(7)
    return torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(16, 1)
    )
