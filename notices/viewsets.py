"""The API of webhooks: of a project, and of all projects."""

from __future__ import annotations

from typing import Any, ClassVar

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from accounts.permissions import MembersOnly
from accounts.roles import Role
from accounts.users import user_of
from core.ids import ID_PATTERN
from core.known_names import KnownParametersMixin, NoFieldsSerializer, names_of
from core.pagination import LinkHeaderPagination, PageQuery, PagesOnly
from notices import examples
from notices.access import operates_webhooks, refusal
from notices.actions import change_webhook, create_webhook, delete_webhook, send_test
from notices.models import Delivery, Webhook, WebhookQuerySet
from notices.serializers import (
    DeliverySerializer,
    RotatedSerializer,
    WebhookChangeSerializer,
    WebhookSerializer,
    WebhookWithSecretSerializer,
    WebhookWriteSerializer,
)
from projects.access import visible_project
from projects.models import Project

NO_STORE = {"Cache-Control": "no-store"}  # a response with a secret


@extend_schema_view(
    list=extend_schema(
        summary="List webhooks",
        description="All of them by name; or one page, with Link and X-Total-Count headers.",
        responses=OpenApiResponse(
            WebhookSerializer(many=True),
            description="Without their addresses and secrets.",
            examples=[OpenApiExample("Webhooks", examples.WEBHOOK)],
        ),
    ),
    retrieve=extend_schema(
        summary="Get a webhook",
        responses=OpenApiResponse(
            WebhookSerializer,
            description="Without its address and secret.",
            examples=[OpenApiExample("Webhook", examples.WEBHOOK)],
        ),
    ),
)
class WebhookViewSet(
    KnownParametersMixin,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    GenericViewSet[Webhook],
):
    """The webhooks of a project."""

    for_scripts = False
    schema_tags: ClassVar[list[str]] = ["webhooks"]
    queryset = Webhook.objects.none()
    serializer_class: Any = WebhookSerializer
    pagination_class: Any = LinkHeaderPagination
    filter_backends = ()
    lookup_url_kwarg = "id"
    lookup_value_regex = ID_PATTERN
    parameters: ClassVar[dict[str, list[str]]] = {
        "list": names_of(PageQuery),
        "deliveries": names_of(PageQuery),
    }
    roles: ClassVar[dict[str, Role]] = dict.fromkeys(
        (
            "list",
            "retrieve",
            "create",
            "partial_update",
            "destroy",
            "test",
            "rotate_secret",
            "deliveries",
            "redeliver",
        ),
        Role.MAINTAINER,
    )

    def get_queryset(self) -> WebhookQuerySet:
        visible = Webhook.objects.visible_to(self.request.user)
        return visible.filter(project=self.kwargs.get("project_id")).select_related("created_by")

    def get_project(self) -> Project | None:
        return visible_project(self.request.user, self.kwargs["project_id"])

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.get_project()  # 404 for an unknown project, not an empty list
        return super().list(request, *args, **kwargs)

    @extend_schema(
        summary="Create a webhook",
        description="The secret of TrainHub's JSON is made up: it is in the response, and nowhere "
        "else. Private addresses are refused unless the operators allow them; names are resolved "
        "at each attempt, and not reached if they have a private address.",
        request=WebhookWriteSerializer,
        responses={
            201: OpenApiResponse(
                WebhookWithSecretSerializer,
                description="Created.",
                examples=[
                    OpenApiExample("Created", examples.WEBHOOK_CREATED, status_codes=["201"])
                ],
            )
        },
        examples=[OpenApiExample("Create", examples.WEBHOOK_CREATE, request_only=True)],
    )
    def create(self, request: Request, **_arguments: str) -> Response:
        project = self.get_project()
        serializer = WebhookWriteSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        made = create_webhook(project, by=user_of(request), **serializer.validated_data)
        return _with_secret(*made, code=status.HTTP_201_CREATED)

    @extend_schema(
        summary="Change a webhook",
        description="What waits to be delivered goes to the new address. Another rule (metric, "
        "comparison, threshold) is told anew of each run. If the shape becomes TrainHub's JSON, a "
        "secret is made up, which is in this response, and nowhere else.",
        request=WebhookChangeSerializer,
        responses=OpenApiResponse(
            WebhookWithSecretSerializer,
            description="As it is now.",
            examples=[OpenApiExample("Changed", examples.WEBHOOK_CHANGED, response_only=True)],
        ),
        examples=[OpenApiExample("Change", examples.WEBHOOK_CHANGE, request_only=True)],
    )
    def partial_update(self, request: Request, id: str, **_arguments: str) -> Response:
        hook = self.get_object()
        serializer = WebhookChangeSerializer(data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        return _with_secret(*change_webhook(hook, **serializer.validated_data))

    @extend_schema(
        summary="Delete a webhook",
        description="With its deliveries: what waits is not sent.",
        responses={204: OpenApiResponse(description="Deleted.")},
    )
    def destroy(self, request: Request, id: str, **_arguments: str) -> Response:
        delete_webhook(self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        summary="Send a test",
        description="Also to a webhook that is switched off. A worker sends it.",
        request=NoFieldsSerializer,
        responses={
            201: OpenApiResponse(DeliverySerializer, description="The delivery, which waits.")
        },
    )
    @action(detail=True, methods=["post"])
    def test(self, request: Request, id: str, **_arguments: str) -> Response:
        hook = self.get_object()
        NoFieldsSerializer(data=request.data).is_valid(raise_exception=True)
        return Response(DeliverySerializer(send_test(hook)).data, status=status.HTTP_201_CREATED)

    @extend_schema(
        summary="Rotate a webhook's secret",
        description="Of TrainHub's JSON. For a day, the secret before signs, too.",
        request=NoFieldsSerializer,
        responses=OpenApiResponse(
            RotatedSerializer,
            description="The new secret: it is in no other response.",
            examples=[OpenApiExample("Rotated", examples.ROTATED)],
        ),
    )
    @action(detail=True, methods=["post"], url_path="rotate-secret")
    def rotate_secret(self, request: Request, id: str, **_arguments: str) -> Response:
        hook = self.get_object()
        NoFieldsSerializer(data=request.data).is_valid(raise_exception=True)
        secret = hook.rotate()
        content = {"secret": secret, "overlap_ends_at": hook.overlap_ends_at}
        return Response(RotatedSerializer(content).data, headers=NO_STORE)

    @extend_schema(
        summary="List a webhook's deliveries",
        description="Newest first, one page, with Link and X-Total-Count headers. They are kept "
        "for 30 days.",
        responses=OpenApiResponse(
            DeliverySerializer(many=True),
            description="One page.",
            examples=[OpenApiExample("Deliveries", examples.DELIVERY)],
        ),
    )
    @action(detail=True, pagination_class=PagesOnly, serializer_class=DeliverySerializer)
    def deliveries(self, request: Request, id: str, **_arguments: str) -> Response:
        rows: Any = self.get_object().deliveries.all()  # the view's own are webhooks
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(DeliverySerializer(page, many=True).data)

    @extend_schema(
        summary="Send a delivery again",
        description="At once, with as many attempts as a new one.",
        request=NoFieldsSerializer,
        responses=OpenApiResponse(DeliverySerializer, description="The delivery, which waits."),
    )
    @action(
        detail=True,
        methods=["post"],
        url_path=rf"deliveries/(?P<delivery_id>{ID_PATTERN})/redeliver",
    )
    def redeliver(self, request: Request, id: str, delivery_id: str, **_arguments: str) -> Response:
        delivery = get_object_or_404(Delivery, pk=delivery_id, webhook=self.get_object())
        NoFieldsSerializer(data=request.data).is_valid(raise_exception=True)
        delivery.send_again()
        return Response(DeliverySerializer(delivery).data)


class WebhookOperators(MembersOnly):
    """Nobody else learns whether there is a webhook for all projects."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not super().has_permission(request, view):
            return False
        if not operates_webhooks(request.user):
            raise PermissionDenied(refusal())
        return True


class InstallationWebhookViewSet(WebhookViewSet):
    """The webhooks for all projects, also for those that are created later. Operators only."""

    permission_classes = (WebhookOperators,)

    def get_project(self) -> None:
        return None


def _with_secret(hook: Webhook, secret: str, *, code: int = status.HTTP_200_OK) -> Response:
    content = {**WebhookSerializer(hook).data, "secret": secret or None}
    return Response(content, status=code, headers=NO_STORE)
