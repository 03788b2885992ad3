"""The contract's own examples, for the API's documentation."""

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
