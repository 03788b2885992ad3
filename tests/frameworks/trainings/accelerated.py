"""Accelerate: a loop of one's own, saved with save_state() under the step's name."""

import signal

import tiny
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed

asked_to_stop = False


def note(*_):
    global asked_to_stop
    asked_to_stop = True


class Steps:
    """The number of steps, saved with the rest of the state."""

    count = 0

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def main():
    signal.signal(signal.SIGTERM, note)
    set_seed(7)
    # The order of the rows depends on seed and epoch alone, not on the random numbers so far.
    ordered = DataLoaderConfiguration(use_seedable_sampler=True, data_seed=7)
    accelerator = Accelerator(cpu=True, dataloader_config=ordered)
    network = tiny.network()
    # Beginning an epoch draws a random number: of its own, as it happens again on resuming.
    own = torch.Generator()
    loader = torch.utils.data.DataLoader(tiny.Rows(), batch_size=4, shuffle=True, generator=own)
    model, optimizer, loader = accelerator.prepare(
        network, torch.optim.AdamW(network.parameters(), lr=0.01), loader
    )
    steps = Steps()
    accelerator.register_for_checkpointing(steps)
    set_seed(7, device_specific=True)
    if tiny.RESUME_FROM:
        accelerator.load_state(tiny.RESUME_FROM)
    while steps.count < tiny.MAX_STEPS:
        epoch, done = divmod(steps.count, len(loader))
        loader.set_epoch(epoch)
        for rows, targets in accelerator.skip_first_batches(loader, done):
            tiny.work()
            loss = torch.nn.functional.mse_loss(model(rows), targets)
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            steps.count += 1
            loss = accelerator.reduce(loss.detach(), "mean").item()
            if accelerator.is_main_process:
                tiny.report(steps.count, train_loss=loss)
            asked = torch.tensor(float(asked_to_stop))
            stop = accelerator.reduce(asked, "sum").item() > 0
            if stop or steps.count % tiny.SAVE_STEPS == 0:
                accelerator.save_state(str(tiny.FOLDER / f"step_{steps.count}"))
            if stop or steps.count == tiny.MAX_STEPS:
                accelerator.end_training()
                return


main()
