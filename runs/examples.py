"""The contract's examples, for the API documentation."""

RUN_CREATE = {
    "name": "run-001",
    "model": "llama-2-13b",
    "dataset": "中文科技论文语料",
    "hyperparameters": {"learning_rate": 2e-5, "batch_size": 32, "num_epochs": 3},
    "resources": {"gpu_type": "A100", "gpu_count": 4},
}

RUN_CREATED = {
    "id": "run_001",
    "project_id": "proj_xxx",
    "name": "run-001",
    "status": "排队中",
    "progress": 0.0,
    "started_at": None,
    "artifacts": [],
}

RUN_DETAIL = {
    "id": "run_001",
    "project_id": "proj_xxx",
    "name": "run-001",
    "status": "运行中",
    "progress": 0.65,
    "metrics": {"train_loss": 1.72, "eval_rouge_l": 38.4},
    "started_at": "2024-01-02T08:05:00Z",
    "updated_at": "2024-01-02T10:15:00Z",
    "gpu_utilization": 0.83,
}

RUN_DESCRIBE = {
    "name": "sft-lr3e-4",
    "notes": "Best of the sweep. **Keep.**",
    "tags": {"stage": "sft", "obsolete": None},
}
