"""The contract's own examples, for the API's documentation."""

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

RUN_CANCELLED = {
    "id": "run_001",
    "project_id": "proj_xxx",
    "name": "run-001",
    "status": "已取消",
    "progress": 0.7,
    "cancelled_at": "2024-01-02T11:00:00Z",
    "artifacts": [
        {
            "id": "ckpt_cancel",
            "name": "取消前的检查点",
            "type": "checkpoint",
            "path": "s3://artifacts/proj_xxx/run_001/ckpt_cancel.pt",
            "created_at": "2024-01-02T11:00:00Z",
        }
    ],
}

RUN_RESUMED = {
    "id": "run_002",
    "project_id": "proj_xxx",
    "name": "run-002",
    "status": "运行中",
    "resumed_from": "ckpt_001",
    "progress": 0.05,
    "started_at": "2024-01-03T08:00:00Z",
    "artifacts": [],
}

LOG_PAGE = {
    "page": 1,
    "page_size": 50,
    "total": 120,
    "items": [
        {
            "timestamp": "2024-01-02T10:00:00Z",
            "level": "INFO",
            "message": "第 500 步 - loss=1.86 lr=2e-5",
        }
    ],
}

LOG_APPEND = {
    "batch": "worker-3/000017",
    "lines": [
        {
            "timestamp": "2024-01-02T10:00:00Z",
            "level": "INFO",
            "source": "stdout",
            "rank": 3,
            "message": "第 500 步 - loss=1.86 lr=2e-5",
        }
    ],
}

LOG_APPENDED = {"first_seq": 121, "last_seq": 121, "repeated": False}
