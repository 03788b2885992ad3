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

METRICS_SENT = {
    "points": [
        {
            "key": "train_loss",
            "step": 6500,
            "value": 1.72,
            "timestamp": "2024-01-02T10:15:00.000Z",
        },
        {"key": "eval_loss", "step": 6500, "value": "NaN", "timestamp": "2024-01-02T10:15:00.000Z"},
    ]
}

METRICS_TAKEN_IN = {"count": 2}

METRICS = {
    "items": [
        {
            "key": "train_loss",
            "last": 1.72,
            "last_step": 6500,
            "last_timestamp": "2024-01-02T10:15:00.000Z",
            "min": 1.69,
            "max": 10.4,
            "count": 6500,
        }
    ]
}

EXACT_SERIES = {
    "items": [
        {
            "key": "eval_loss",
            "exact": True,
            "points": [
                {"step": 500, "timestamp": "2024-01-02T08:15:00.000Z", "value": 2.31},
                {"step": 1000, "timestamp": "2024-01-02T08:25:00.000Z", "value": "NaN"},
            ],
            "buckets": [],
        }
    ]
}

BUCKETED_SERIES = {
    "items": [
        {
            "key": "train_loss",
            "exact": False,
            "points": [],
            "buckets": [
                {
                    "count": 650,
                    "min": 3.02,
                    "min_step": 644,
                    "max": 10.4,
                    "max_step": 2,
                    "first": 10.38,
                    "first_step": 1,
                    "first_timestamp": "2024-01-02T08:05:01.000Z",
                    "last": 3.05,
                    "last_step": 650,
                    "last_timestamp": "2024-01-02T08:18:00.000Z",
                }
            ],
        }
    ]
}

EXPORTED_CSV = (
    "project_id,run_id,run_name,key,step,timestamp,value\r\n"
    "proj_xxx,run_001,run-001,train_loss,500,2024-01-02T08:15:00.000Z,2.31\r\n"
)

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
