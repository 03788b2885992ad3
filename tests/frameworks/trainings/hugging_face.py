"""Hugging Face: trains a tiny GPT-2 with Trainer, which reports to MLflow."""

import os

import tiny
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments


class Texts(torch.utils.data.Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, number):
        tiny.work()
        generator = torch.Generator().manual_seed(number)
        tokens = torch.randint(0, 32, (8,), generator=generator)
        return {"input_ids": tokens, "labels": tokens}


def main():
    torch.manual_seed(7)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=32, n_positions=8, n_embd=16, n_layer=1, n_head=2)
    )
    arguments = TrainingArguments(
        output_dir=str(tiny.FOLDER),
        max_steps=tiny.MAX_STEPS,
        save_steps=tiny.SAVE_STEPS,
        save_total_limit=2,
        logging_steps=1,
        per_device_train_batch_size=2,
        report_to=["mlflow"] if "MLFLOW_TRACKING_URI" in os.environ else [],
        enable_jit_checkpoint=True,  # saves on SIGTERM
        use_cpu=True,
        seed=7,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=Texts())
    trainer.train(resume_from_checkpoint=tiny.RESUME_FROM)
    if trainer.state.global_step == tiny.MAX_STEPS:
        trainer.save_model()


main()
