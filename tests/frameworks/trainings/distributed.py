"""torchrun or mpirun: ranks with DDP or FSDP, which save with PyTorch's Distributed Checkpoint."""

import os
import signal
import sys

import tiny
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

asked_to_stop = False


def note(*_):
    global asked_to_stop
    asked_to_stop = True


def any_rank_was_asked():
    """The ranks stop at the same step, whichever is asked first."""
    asked = torch.tensor(int(asked_to_stop))
    dist.all_reduce(asked, op=dist.ReduceOp.MAX)
    return bool(asked)


def join():
    """torchrun sets these variables; mpirun has names of its own."""
    for name in ("RANK", "SIZE"):
        mine = os.environ.get(f"OMPI_COMM_WORLD_{name}")
        if mine is not None:
            os.environ[{"SIZE": "WORLD_SIZE"}.get(name, name)] = mine
    dist.init_process_group("gloo")


class State:
    """All that a checkpoint holds, with the random numbers of each rank."""

    def __init__(self, model, optimizer):
        self.model, self.optimizer, self.step = model, optimizer, 0

    def content(self):
        model, optimizer = get_state_dict(self.model, self.optimizer)
        return {
            "model": model,
            "optimizer": optimizer,
            "step": torch.tensor(self.step),
            f"random-{dist.get_rank()}": torch.get_rng_state(),
        }

    def save(self):
        dcp.save(self.content(), checkpoint_id=tiny.FOLDER / f"step-{self.step}")

    def load(self, path):
        content = self.content()
        dcp.load(content, checkpoint_id=path)
        set_state_dict(
            self.model,
            self.optimizer,
            model_state_dict=content["model"],
            optim_state_dict=content["optimizer"],
        )
        self.step = int(content["step"])
        torch.set_rng_state(content[f"random-{dist.get_rank()}"])


def train(strategy):
    network = tiny.network()
    model = DistributedDataParallel(network) if strategy == "ddp" else fully_shard(network)
    state = State(model, torch.optim.AdamW(model.parameters(), lr=0.01))
    torch.manual_seed(dist.get_rank())
    if tiny.RESUME_FROM:
        state.load(tiny.RESUME_FROM)
    sampler = DistributedSampler(tiny.Rows(), seed=7)
    loader = DataLoader(tiny.Rows(), batch_size=4, sampler=sampler)
    while state.step < tiny.MAX_STEPS:
        epoch, done = divmod(state.step, len(loader))
        sampler.set_epoch(epoch)
        generator = torch.get_rng_state()
        batches = list(loader)[done:]
        torch.set_rng_state(generator)
        for rows, targets in batches:
            tiny.work()
            loss = torch.nn.functional.mse_loss(model(rows), targets)
            state.optimizer.zero_grad()
            loss.backward()
            state.optimizer.step()
            state.step += 1
            dist.all_reduce(loss)
            if dist.get_rank() == 0:
                tiny.report(state.step, train_loss=loss.item() / dist.get_world_size())
            stop = any_rank_was_asked()
            if stop or state.step % tiny.SAVE_STEPS == 0:
                state.save()
            if stop or state.step == tiny.MAX_STEPS:
                return


signal.signal(signal.SIGTERM, note)
join()
train(sys.argv[1])
dist.destroy_process_group()  # only now: with DDP's model still there, a rank would hang
