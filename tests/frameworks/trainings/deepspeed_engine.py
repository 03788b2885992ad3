"""DeepSpeed: an engine with ZeRO, saved with save_checkpoint()."""

import argparse
import signal
from pathlib import Path

import deepspeed
import tiny
import torch
import torch.distributed as dist

asked_to_stop = False


def note(*_):
    global asked_to_stop
    asked_to_stop = True


def main():
    parser = deepspeed.add_config_arguments(argparse.ArgumentParser())
    parser.add_argument("--local_rank", type=int, default=-1)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, note)
    deepspeed.init_distributed("gloo")
    network = tiny.network()
    engine, *_ = deepspeed.initialize(
        args=arguments,
        model=network,
        optimizer=torch.optim.AdamW(network.parameters(), lr=0.01),
        config={
            "train_micro_batch_size_per_gpu": 4,
            "zero_optimization": {"stage": 1},
            "zero_allow_untested_optimizer": True,
        },
    )
    rank, ranks = dist.get_rank(), dist.get_world_size()
    rows = tiny.Rows()
    if tiny.RESUME_FROM:
        resume = Path(tiny.RESUME_FROM)
        engine.load_checkpoint(str(resume.parent), tag=resume.name)
    while engine.global_steps < tiny.MAX_STEPS:
        tiny.work()
        step = engine.global_steps + 1
        torch.manual_seed(step * ranks + rank)
        first = (step - 1) * 4 * ranks + rank * 4
        batch = [rows[number % len(rows)] for number in range(first, first + 4)]
        features, targets = (torch.stack(part) for part in zip(*batch, strict=True))
        loss = torch.nn.functional.mse_loss(engine(features), targets)
        engine.backward(loss)
        engine.step()
        loss = loss.detach()
        dist.all_reduce(loss)
        if rank == 0:
            tiny.report(step, train_loss=loss.item() / ranks)
        asked = torch.tensor(int(asked_to_stop))
        dist.all_reduce(asked, op=dist.ReduceOp.MAX)
        if asked or step % tiny.SAVE_STEPS == 0:
            engine.save_checkpoint(str(tiny.FOLDER))
        if asked:
            return


main()
