"""Examples of the API's documentation."""

from typing import Final

MODEL_CARD: Final = """\
---
pipeline_tag: summarization
base_model: llama-2-13b
metrics:
- rouge_l
---

# 中文摘要系统 · Step 2000

## Training data

- 中文科技论文语料
"""
