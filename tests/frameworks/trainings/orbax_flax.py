"""JAX: a Flax model that Orbax's CheckpointManager saves; ``python orbax_flax.py alone`` saves it
once without a manager, with each kind of checkpointer."""

import signal
import sys
from pathlib import Path

import jax
import optax
import orbax.checkpoint as ocp
import this_run
from flax import nnx

asked_to_stop = False


def note(*_):
    global asked_to_stop
    asked_to_stop = True


class Network(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(7)
        self.first, self.last = nnx.Linear(8, 16, rngs=rngs), nnx.Linear(16, 1, rngs=rngs)

    def __call__(self, rows):
        return self.last(nnx.relu(self.first(rows)))


@nnx.jit
def train_step(network, optimizer, rows):
    def loss_of(network):
        return ((network(rows) - rows.sum(1, keepdims=True)) ** 2).mean()

    loss, gradients = nnx.value_and_grad(loss_of)(network)
    optimizer.update(network, gradients)
    return loss


def rows_of(step):
    return jax.random.normal(jax.random.key(step), (4, 8))


def content(objects):
    return nnx.to_pure_dict(nnx.state(objects))


def load(objects, path):
    """The manager wants the parent folder and a step."""
    path = Path(path)
    with ocp.CheckpointManager(path.parent) as manager:
        restored = manager.restore(
            int(path.name),
            args=ocp.args.Composite(state=ocp.args.StandardRestore(content(objects))),
        )
    state = nnx.state(objects)
    nnx.replace_by_pure_dict(state, restored["state"])
    nnx.update(objects, state)


def train(network, optimizer):
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
    metadata = {"hidden": 16}
    with ocp.CheckpointManager(this_run.FOLDER, options=options, metadata=metadata) as manager:
        for step in range(int(optimizer.step[...]) + 1, this_run.MAX_STEPS + 1):
            this_run.work()
            loss = train_step(network, optimizer, rows_of(step))
            this_run.report(step, train_loss=float(loss))
            if asked_to_stop or step % this_run.SAVE_STEPS == 0:
                manager.save(
                    step,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardSave(content((network, optimizer))),
                        data=ocp.args.JsonSave({"rows_seen": 4 * step}),
                    ),
                )
            if asked_to_stop:
                return


def save_alone(network, optimizer):
    train_step(network, optimizer, rows_of(1))
    state = content((network, optimizer))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(this_run.FOLDER / "step_1", state)
    with ocp.PyTreeCheckpointer(use_ocdbt=False) as checkpointer:
        checkpointer.save(this_run.FOLDER / "final", state)
    options = ocp.CheckpointManagerOptions(step_prefix="state", step_format_fixed_length=6)
    with ocp.CheckpointManager(this_run.FOLDER / "named", options=options) as manager:
        manager.save(1, args=ocp.args.StandardSave(state))


signal.signal(signal.SIGTERM, note)
network = Network()
optimizer = nnx.Optimizer(network, optax.adamw(0.01), wrt=nnx.Param)
if this_run.RESUME_FROM:
    load((network, optimizer), this_run.RESUME_FROM)
{"train": train, "alone": save_alone}[sys.argv[1]](network, optimizer)
