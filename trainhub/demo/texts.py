"""What the demo's team has written, in the server's language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.conf import settings


@dataclass(frozen=True)
class ProjectTexts:
    name: str
    description: str
    objective: str
    task_type: str
    tags: list[str]


@dataclass(frozen=True)
class Texts:
    """``people``: usernames, of the pretraining's owner, the tuner, the aligner and two more."""

    people: tuple[str, str, str, str, str]
    pretraining: ProjectTexts
    tuning: ProjectTexts
    alignment: ProjectTexts
    web_corpus: str
    clean_corpus: str
    instructions: str
    preferences: str
    base_released: str
    base_candidate: str
    tuned_released: str
    tuned_candidate: str
    aligned_candidate: str
    aligned_archived: str
    registered: str
    pretrain_recipe: str
    tune_recipe: str
    align_recipe: str


ENGLISH: Final = Texts(
    people=("maya", "tom", "priya", "jonas", "elena"),
    pretraining=ProjectTexts(
        name="Base model 1.3B",
        description="Pretraining of our base model, and of smaller models that predict its loss.",
        objective="A loss of 2.40 on the held-out pages with 42 billion tokens.",
        task_type="Language modeling",
        tags=["pretraining", "2026-Q4"],
    ),
    tuning=ProjectTexts(
        name="Instruction tuning sweep",
        description="Learning rate, batch size and warmup of the supervised fine-tuning.",
        objective="The lowest evaluation loss that one night on eight GPUs can reach.",
        task_type="Chat",
        tags=["sft", "sweep"],
    ),
    alignment=ProjectTexts(
        name="Alignment with preferences",
        description="DPO and PPO on the tuned model, judged by win rate against it.",
        objective="Win rate above 60 % without losing on the exams.",
        task_type="Chat",
        tags=["dpo", "ppo"],
    ),
    web_corpus="web-pages-2026-09",
    clean_corpus="textbooks-and-code",
    instructions="instructions-180k",
    preferences="preferences-64k",
    base_released="Loss 2.39 on the held-out pages, exams as predicted. Basis of the tuning.",
    base_candidate="Before the annealing, for comparison.",
    tuned_released="Best of the sweep of 40. Read 200 answers by hand: no complaints.",
    tuned_candidate="Second best, with half of the batch size.",
    aligned_candidate="Win rate 63 %. Safety review is due on Thursday.",
    aligned_archived="Too long-winded: answers are twice as long as before.",
    registered="The chat model that the assistant serves.",
    pretrain_recipe="Demo: pretraining, simulated",
    tune_recipe="Demo: supervised fine-tuning, simulated",
    align_recipe="Demo: preference optimization, simulated",
)
CHINESE: Final = Texts(
    people=("陈雨", "李明", "王芳", "张伟", "刘洋"),
    pretraining=ProjectTexts(
        name="1.3B 基座模型预训练",
        description="基座模型的预训练，以及用来预测其损失的几个小模型。",
        objective="用 420 亿词元，在留出网页上把损失降到 2.40。",
        task_type="语言建模",
        tags=["预训练", "第四季度"],
    ),
    tuning=ProjectTexts(
        name="指令微调参数搜索",
        description="监督微调的学习率、批大小和预热步数。",
        objective="八张卡一个晚上能达到的最低评估损失。",
        task_type="对话",
        tags=["微调", "参数搜索"],
    ),
    alignment=ProjectTexts(
        name="偏好对齐",
        description="在微调模型上做 DPO 和 PPO，以对它的胜率评判。",
        objective="胜率超过 60 %，考试成绩不下降。",
        task_type="对话",
        tags=["对齐", "偏好"],
    ),
    web_corpus="网页语料-2026-09",
    clean_corpus="教材与代码",
    instructions="指令数据-18万",
    preferences="偏好数据-6.4万",
    base_released="留出网页损失 2.39，考试成绩与预测一致。作为微调的基座。",
    base_candidate="退火之前的版本，留作对比。",
    tuned_released="40 组里最好的一组。人工读了 200 条回答，没有问题。",
    tuned_candidate="第二名，批大小只有一半。",
    aligned_candidate="胜率 63 %。周四做安全评审。",
    aligned_archived="太啰嗦：回答比以前长一倍。",
    registered="助手正在使用的对话模型。",
    pretrain_recipe="演示：预训练（模拟）",
    tune_recipe="演示：监督微调（模拟）",
    align_recipe="演示：偏好优化（模拟）",
)
TEXTS: Final = {"zh-hans": CHINESE, "en": ENGLISH}


def texts() -> Texts:
    return TEXTS[settings.LANGUAGE_CODE]
