"""Examples for the API documentation, as in the contract."""

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

LOG_APPENDED = {"first_seq": 121, "last_seq": 121, "repeated": False, "cut": 0}
