"""The contract's examples, for the API documentation."""

PROJECT_CREATE = {
    "name": "中文摘要系统",
    "description": "对科研文章进行自动摘要",
    "objective": "降低阅读时间",
    "task_type": "文本摘要",
    "base_model": "llama-2-13b",
    "owner": "小李",
    "tags": ["科研", "第一阶段"],
    "default_hyperparameters": {"learning_rate": 3e-5, "batch_size": 16},
}

_PROJECT = {
    "id": "proj_xxx",
    "name": "中文摘要系统",
    "status": "草稿",
    "objective": "降低阅读时间",
    "task_type": "文本摘要",
    "base_model": "llama-2-13b",
    "owner": "小李",
    "created_at": "2024-01-01T12:00:00Z",
    "updated_at": "2024-01-01T12:00:00Z",
    "tags": ["科研", "第一阶段"],
    "default_hyperparameters": {"learning_rate": 3e-5, "batch_size": 16},
}

PROJECT_CREATED = {**_PROJECT, "runs": []}

# A single item: drf-spectacular wraps it in a list.
PROJECT_LISTED = {
    "id": "proj_xxx",
    "name": "中文摘要系统",
    "status": "草稿",
    "owner": "小李",
    "created_at": "2024-01-01T12:00:00Z",
}

PROJECT_DETAIL = {
    **_PROJECT,
    "updated_at": "2024-01-02T09:30:00Z",
    "runs": [
        {
            "id": "run_001",
            "name": "run-001",
            "status": "运行中",
            "progress": 0.42,
            "started_at": "2024-01-02T08:00:00Z",
        }
    ],
}
