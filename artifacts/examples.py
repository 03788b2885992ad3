"""The contract's examples, for the API documentation."""

ARTIFACT_LIST = {
    "items": [
        {
            "id": "ckpt_001",
            "name": "第 2000 步检查点",
            "type": "checkpoint",
            "path": "s3://artifacts/proj_xxx/run_001/ckpt_001.pt",
            "created_at": "2024-01-02T11:45:00Z",
            "size_bytes": 123456789,
            "tags": [],
        },
        {
            "id": "log_tensorboard",
            "name": "TensorBoard 日志",
            "type": "event",
            "path": "s3://artifacts/proj_xxx/run_001/tensorboard",
            "created_at": "2024-01-02T11:50:00Z",
            "tags": [],
        },
    ]
}

TAG = {"tag": "发布", "notes": "在验证集上 BLEU 32.5，通过复核"}

TAGGED = {
    "id": "ckpt_001",
    "name": "第 2000 步检查点",
    "type": "checkpoint",
    "path": "s3://artifacts/proj_xxx/run_001/ckpt_001.pt",
    "created_at": "2024-01-02T11:45:00Z",
    "tags": [
        {
            "value": "发布",
            "notes": "在验证集上 BLEU 32.5，通过复核",
            "applied_at": "2024-01-03T09:15:00Z",
        }
    ],
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
