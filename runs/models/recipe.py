"""Recipes: what a run executes, and how."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from core.exceptions import InvalidInput
from core.git import MAX_URL_LENGTH, is_remote_url
from core.json_field import JSONField
from core.log_scrubbing import remember
from core.messages import Message
from core.secrets import Unreadable, decrypt, encrypt
from projects.hyperparameters import check_hyperparameters
from runs.commands import CODE_PLACEHOLDER, MAX_ARGUMENT_LENGTH, check_command, check_environment
from runs.models.encoding import DEFAULT_ENCODING, validate_encoding
from runs.resources import (
    MAX_NODES,
    MAX_TIME_LIMIT_SECONDS,
    MIN_TIME_LIMIT_SECONDS,
    check_engine_options,
    check_nodes,
)


class ExecutorName(models.TextChoices):
    SIMULATED = "simulated", _("Simulated")
    PROCESS = "process", _("Process on a worker's host")
    SLURM = "slurm", _("Slurm")
    RAY = "ray", _("Ray")


# Executors that run the recipe's command.
WITH_COMMAND = ("process", "slurm", "ray")


class RecipeKind(models.TextChoices):
    TRAINING = "training", _("Training")
    EVALUATION = "evaluation", _("Evaluation")


class StallAction(models.TextChoices):
    RESTART = "restart", _("Restart from the checkpoint")
    FAIL = "fail", _("Fail")


class CodePolicy(models.TextChoices):
    NONE = "none", _("No code")
    OPTIONAL = "optional", _("A run may bring code")
    REQUIRED = "required", _("A run must bring code")


class CodeFrom(models.TextChoices):
    NOBODY = "nobody", _("Nobody")
    OPERATORS = "operators", _("Operators")
    MEMBERS = "members", _("Everyone who may start runs")


class SecretsUnreadable(Unreadable):
    """A secret of a recipe is encrypted with another SECRET_KEY, or damaged."""

    def __init__(self, recipe: str, name: str) -> None:
        super().__init__(
            Message(
                "The secret %(name)s of the recipe %(recipe)s cannot be read: TRAINHUB_SECRET_KEY "
                "has changed, or is another one on this host. Enter the secret again.",
                name=name,
                recipe=recipe,
            )
        )


def validate_git_url(value: str) -> None:
    """See core.git.is_remote_url. Raises ValidationError."""
    if not is_remote_url(value):
        raise ValidationError(
            _("%(url)s is not the address of a Git repository on a server, without a password."),
            params={"url": value[:100]},
        )


def validate_environment(value: Any) -> None:
    """See runs.commands. Raises ValidationError."""
    check_environment(value)


class Recipe(models.Model):
    """A command that trains, its executor and its defaults.

    Only operators write recipes: API users pick one by name and never send a command.
    """

    name = models.SlugField(_("name"), max_length=64, primary_key=True)
    description = models.CharField(_("description"), max_length=500, blank=True)
    executor = models.CharField(_("executor"), max_length=16, choices=ExecutorName)
    command = ArrayField(
        models.CharField(max_length=MAX_ARGUMENT_LENGTH),
        verbose_name=_("command"),
        default=list,
        blank=True,
        help_text=_(
            "The program and its arguments, one per line, without a shell; a JSON list or a line "
            "of a shell is understood, too. {python} is TrainHub's Python interpreter, "
            "{repository} the directory of manage.py, {code} the folder of the run's code."
        ),
    )
    environment = JSONField(
        _("environment"),
        default=dict,
        blank=True,
        validators=[validate_environment],
        help_text=_("One NAME=value per line."),
    )
    # Name -> value, encrypted (core.secrets). Variables as those of ``environment``, whose names
    # alone are shown.
    encrypted_environment = JSONField(
        _("secrets"), default=dict, db_default={}, blank=True, editable=False
    )
    encoding = models.CharField(
        _("encoding"),
        max_length=32,
        default=DEFAULT_ENCODING,
        db_default=DEFAULT_ENCODING,
        blank=True,
        validators=[validate_encoding],
        help_text=_(
            "The text encoding that the command prints in, e.g. gbk. With utf-8, lines that are "
            "not valid UTF-8 are decoded by a guess."
        ),
    )
    read_tensorboard = models.BooleanField(
        _("read TensorBoard files"),
        default=True,
        db_default=True,
        help_text=_(
            "Whether the scalars of the TensorBoard event files that the command writes become "
            "metrics."
        ),
    )
    default_hyperparameters = JSONField(_("default hyperparameters"), default=dict, blank=True)
    gpu_type = models.CharField(
        _("GPU type"), max_length=64, blank=True, validators=[RegexValidator(r"\A[\w.\- ]*\Z")]
    )
    gpu_count = models.PositiveSmallIntegerField(
        _("GPUs"), default=0, help_text=_("Of all nodes together.")
    )
    nodes = models.PositiveSmallIntegerField(
        _("nodes"),
        default=1,
        db_default=1,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_NODES)],
        help_text=_("Machines that a run works on, each with its share of the GPUs."),
    )
    cpus_per_node = models.PositiveSmallIntegerField(
        _("CPUs of a node"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    memory_gb_per_node = models.PositiveIntegerField(
        _("memory of a node (GB)"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    time_limit_seconds = models.PositiveIntegerField(
        _("time limit (s)"),
        null=True,
        blank=True,
        validators=[
            MinValueValidator(MIN_TIME_LIMIT_SECONDS),
            MaxValueValidator(MAX_TIME_LIMIT_SECONDS),
        ],
        help_text=_(
            "How long its cluster runs it at a time. It saves a checkpoint shortly before, and "
            "goes on from it in a new job. Empty: the cluster's own limit."
        ),
    )
    engine_options = JSONField(
        _("options of its cluster"),
        default=dict,
        db_default={},
        blank=True,
        help_text=_(
            "For Slurm: partition, account, qos, constraint, reservation, exclude, nodelist, and "
            "gres_type, Slurm's name of the GPU type if it has another one. For Ray: runtime_env, "
            "resources, labels."
        ),
    )
    kind = models.CharField(
        _("kind"),
        max_length=16,
        choices=RecipeKind,
        default=RecipeKind.TRAINING,
        db_default=RecipeKind.TRAINING.value,
        blank=True,
        help_text=_("Evaluations may use the GPUs that a pool keeps for them."),
    )
    preemptible = models.BooleanField(
        _("preemptible"),
        default=False,
        db_default=False,
        help_text=_(
            "Whether its runs give up their GPUs, each with a checkpoint, to waiting runs of a "
            "higher priority. They keep their place in the queue."
        ),
    )
    stop_grace_seconds = models.PositiveIntegerField(
        _("grace period (s)"),
        default=10,
        help_text=_("How long a process may take to save its checkpoint when it is stopped."),
    )
    stall_silence_seconds = models.PositiveIntegerField(
        _("longest silence (s)"),
        default=0,
        db_default=0,
        help_text=_(
            "A run that has printed and reported nothing for this long is stalled: its stacks are "
            "stored and it is stopped. 0: no limit."
        ),
    )
    stall_step_seconds = models.PositiveIntegerField(
        _("longest step (s)"),
        default=0,
        db_default=0,
        help_text=_("The same for a run whose step has not risen for this long. 0: no limit."),
    )
    stall_action = models.CharField(
        _("when stalled"),
        max_length=16,
        choices=StallAction,
        default=StallAction.RESTART,
        db_default=StallAction.RESTART.value,
        help_text=_("What happens after a stalled run was stopped, with its checkpoint if it can."),
    )
    max_restarts = models.PositiveSmallIntegerField(
        _("max restarts"),
        default=3,
        help_text=_(
            "How many times a run continues after its process dies without a newer checkpoint."
        ),
    )
    code = models.CharField(
        _("code"),
        max_length=16,
        choices=CodePolicy,
        default=CodePolicy.NONE,
        db_default=CodePolicy.NONE.value,
        help_text=_("Whether a run brings files of its own, which the command finds in {code}."),
    )
    code_from = models.CharField(
        _("code from"),
        max_length=16,
        choices=CodeFrom,
        default=CodeFrom.NOBODY,
        db_default=CodeFrom.NOBODY.value,
        help_text=_("Who brings code can run any program on the workers."),
    )
    git_urls = ArrayField(
        models.CharField(max_length=MAX_URL_LENGTH, validators=[validate_git_url]),
        verbose_name=_("Git repositories"),
        default=list,
        db_default=[],
        blank=True,
        help_text=_("From which a run may name a revision as its code, one address per line."),
    )
    is_default = models.BooleanField(_("default"), default=False)
    enabled = models.BooleanField(_("enabled"), default=True)

    class Meta:
        verbose_name = _("recipe")
        verbose_name_plural = _("recipes")
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(
                name="recipe_one_default",
                fields=["is_default"],
                condition=models.Q(is_default=True),
            ),
            models.CheckConstraint(
                name="recipe_executor_known",
                condition=models.Q(executor__in=ExecutorName.values),
            ),
            models.CheckConstraint(
                name="recipe_process_has_command",
                condition=~models.Q(executor__in=WITH_COMMAND, command=[]),
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def secret_names(self) -> list[str]:
        return sorted(self.encrypted_environment)

    def set_secrets(self, values: Mapping[str, str]) -> None:
        """Add or replace secret variables. Does not save."""
        encrypted = {name: encrypt(value) for name, value in values.items()}
        self.encrypted_environment = {**self.encrypted_environment, **encrypted}

    def remove_secrets(self, names: Iterable[str]) -> None:
        """Does not save."""
        gone = set(names)
        self.encrypted_environment = {
            name: value for name, value in self.encrypted_environment.items() if name not in gone
        }

    def decrypted_secrets(self) -> dict[str, str]:
        """The secret variables, which later lines of this process's log do not have. Raises
        SecretsUnreadable."""
        found: dict[str, str] = {}
        for name, value in self.encrypted_environment.items():
            try:
                found[name] = decrypt(value)
            except Unreadable:
                raise SecretsUnreadable(self.name, name) from None
        remember(found.values())
        return found

    def clean(self) -> None:
        """What no field can tell alone. Raises ValidationError, by field."""
        self.encoding = self.encoding or DEFAULT_ENCODING
        self.kind = self.kind or RecipeKind.TRAINING
        problems: dict[str, ValidationError] = {}
        try:
            self.default_hyperparameters = check_hyperparameters(self.default_hyperparameters)
        except InvalidInput as error:
            problems["default_hyperparameters"] = ValidationError(
                str(error.message), code=error.code
            )
        try:
            check_command(self.command)
        except ValidationError as error:
            problems["command"] = error
        needs_code = any(CODE_PLACEHOLDER in argument for argument in self.command)
        if needs_code and self.code != CodePolicy.REQUIRED:
            problems["code"] = ValidationError(
                _("The command names {code}: a run must bring code.")
            )
        if self.executor in WITH_COMMAND and not self.command:
            problems["command"] = ValidationError(_("A process needs a command."))
        twice = sorted(set(self.environment or {}) & set(self.encrypted_environment))
        if twice:
            problems["environment"] = ValidationError(
                _("%(name)s is a secret of this recipe, too. Remove one of them."),
                params={"name": twice[0]},
            )
        problems |= self._problems_of_resources()
        if self.is_default:
            other = Recipe.objects.filter(is_default=True).exclude(pk=self.pk).first()
            if other is not None:
                message = _("%(name)s is the default recipe: clear its default flag first.")
                problems["is_default"] = ValidationError(message, params={"name": other.pk})
            if not self.enabled:
                problems["enabled"] = ValidationError(_("The default recipe must be enabled."))
        if problems:
            raise ValidationError(problems)

    def _problems_of_resources(self) -> dict[str, ValidationError]:
        problems = {}
        try:
            check_nodes(self.executor, self.nodes or 1, self.gpu_count or 0)
        except InvalidInput as error:
            problems[error.attr or "nodes"] = ValidationError(str(error.message), code=error.code)
        try:
            check_engine_options(self.executor, self.engine_options)
        except InvalidInput as error:
            problems["engine_options"] = ValidationError(str(error.message), code=error.code)
        return problems
