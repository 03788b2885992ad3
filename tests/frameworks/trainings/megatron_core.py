"""Megatron-Core: a tensor-parallel layer on two ranks, saved by its distributed checkpointing in
folders named as Megatron-LM names them, whose training loop is not in the package."""

import os
import signal

import this_run
import torch
import torch.distributed as dist
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.dist_checkpointing.optimizer import (
    get_param_id_to_sharded_param_map,
    optim_state_to_sharding_state,
)
from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer.mlp import MLP, MLPSubmodules
from megatron.core.transformer.transformer_config import TransformerConfig

RANKS = int(os.environ["WORLD_SIZE"])
asked_to_stop = False


def note(*_):
    global asked_to_stop
    asked_to_stop = True


def any_rank_was_asked():
    asked = torch.tensor(int(asked_to_stop))
    dist.all_reduce(asked, op=dist.ReduceOp.MAX)
    return bool(asked)


def network():
    torch.manual_seed(7)
    config = TransformerConfig(
        num_layers=1,
        hidden_size=8,
        num_attention_heads=2,
        tensor_model_parallel_size=RANKS,
        use_cpu_initialization=True,
        gradient_accumulation_fusion=False,
    )
    layers = MLPSubmodules(linear_fc1=ColumnParallelLinear, linear_fc2=RowParallelLinear)
    return MLP(config, layers, tp_group=parallel_state.get_tensor_model_parallel_group())


class State:
    def __init__(self, model):
        self.model, self.step = model, 0
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)

    def content(self):
        replicas = parallel_state.get_data_parallel_group(with_context_parallel=True)
        model = self.model.sharded_state_dict(metadata={"dp_cp_group": replicas})
        optimizer = self.optimizer.state_dict()
        optim_state_to_sharding_state(
            optimizer,
            get_param_id_to_sharded_param_map(model, self.model.parameters()),
            exclude_keys="step",
        )
        return {"model": model, "optimizer": optimizer, "iteration": self.step}

    def save(self):
        folder = this_run.FOLDER / f"iter_{self.step:07d}"
        if dist.get_rank() == 0:
            folder.mkdir(parents=True)
        dist.barrier()
        dist_checkpointing.save(self.content(), str(folder))
        if dist.get_rank() == 0:
            (this_run.FOLDER / "latest_checkpointed_iteration.txt").write_text(str(self.step))

    def load(self, path):
        self.take_step()  # the optimizer has a state only after its first step
        content = dist_checkpointing.load(self.content(), path)
        self.model.load_state_dict(content["model"])
        self.step = content["iteration"]
        for state in content["optimizer"]["state"].values():
            state["step"] = torch.tensor(float(self.step))
        self.optimizer.load_state_dict(content["optimizer"])

    def take_step(self):
        rows = torch.randn(4, 8, generator=torch.Generator().manual_seed(self.step))
        output, _bias = self.model(rows)
        loss = torch.nn.functional.mse_loss(output, rows.flip(1))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.step += 1
        return loss.item()


def train():
    state = State(network())
    if this_run.RESUME_FROM:
        state.load(this_run.RESUME_FROM)
    while state.step < this_run.MAX_STEPS:
        this_run.work()
        loss = state.take_step()
        if dist.get_rank() == 0:
            this_run.report(state.step, train_loss=loss)
        stop = any_rank_was_asked()
        if stop or state.step % this_run.SAVE_STEPS == 0:
            state.save()
        if stop:
            return


def main():
    if not torch.cuda.is_available():
        # To save, Megatron asks for the GPU and waits for it.
        torch.cuda.synchronize = lambda: None
        torch.cuda.current_device = lambda: torch.device("cpu")
    signal.signal(signal.SIGTERM, note)
    dist.init_process_group("gloo")
    parallel_state.initialize_model_parallel(tensor_model_parallel_size=RANKS)
    train()
    dist.destroy_process_group()


if __name__ == "__main__":  # Megatron starts a process that imports this module
    main()
