"""Examples for the API documentation."""

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

METRICS_SENT_IN_COLUMNS = {
    "metrics": {
        "train_loss": {
            "steps": [6499, 6500],
            "values": [1.73, 1.72],
            "timestamps_ms": [1704190499000, 1704190500000],
        },
        "eval_loss": {"steps": [6500], "values": ["NaN"], "timestamps_ms": [1704190500000]},
    }
}

METRICS_RECORDED = {"count": 2}

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
