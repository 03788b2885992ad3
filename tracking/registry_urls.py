"""URLs of the model registry and of logged models, below /api."""

from collections.abc import Callable
from typing import Final

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt

from core.ids import ID_PATTERN
from tracking import logged_models, model_versions, registered_models
from tracking.protocol import View, endpoint_not_found

MLFLOW: Final = "2.0/mlflow"
MODEL: Final = rf"^2\.0/mlflow/logged-models/(?P<model_id>{ID_PATTERN})"


def by_method(**views: View) -> Callable[..., HttpResponseBase]:
    """Dispatch one URL to a different view per HTTP method."""

    @csrf_exempt
    @login_not_required
    def view(request: HttpRequest, **arguments: str) -> HttpResponseBase:
        return views.get(str(request.method), endpoint_not_found)(request, **arguments)

    return view


urlpatterns = [
    path(f"{MLFLOW}/registered-models/create", registered_models.create),
    path(f"{MLFLOW}/registered-models/get", registered_models.get),
    path(f"{MLFLOW}/registered-models/rename", registered_models.rename),
    path(f"{MLFLOW}/registered-models/update", registered_models.update),
    path(f"{MLFLOW}/registered-models/delete", registered_models.delete),
    path(f"{MLFLOW}/registered-models/search", registered_models.search),
    path(f"{MLFLOW}/registered-models/get-latest-versions", registered_models.get_latest_versions),
    path(f"{MLFLOW}/registered-models/set-tag", registered_models.set_tag),
    path(f"{MLFLOW}/registered-models/delete-tag", registered_models.delete_tag),
    path(
        f"{MLFLOW}/registered-models/alias",
        by_method(
            POST=registered_models.set_alias,
            GET=registered_models.get_by_alias,
            DELETE=registered_models.delete_alias,
        ),
    ),
    path(f"{MLFLOW}/model-versions/create", model_versions.create),
    path(f"{MLFLOW}/model-versions/get", model_versions.get),
    path(f"{MLFLOW}/model-versions/update", model_versions.update),
    path(f"{MLFLOW}/model-versions/delete", model_versions.delete),
    path(f"{MLFLOW}/model-versions/search", model_versions.search),
    path(f"{MLFLOW}/model-versions/get-download-uri", model_versions.get_download_uri),
    path(f"{MLFLOW}/model-versions/transition-stage", model_versions.transition_stage),
    path(f"{MLFLOW}/model-versions/set-tag", model_versions.set_tag),
    path(f"{MLFLOW}/model-versions/delete-tag", model_versions.delete_tag),
    path(f"{MLFLOW}/runs/log-model", logged_models.log_model),
    path(f"{MLFLOW}/logged-models", logged_models.create),
    path(f"{MLFLOW}/logged-models/search", logged_models.search),
    re_path(
        rf"{MODEL}\Z",
        by_method(GET=logged_models.get, PATCH=logged_models.finalize, DELETE=logged_models.delete),
    ),
    re_path(rf"{MODEL}/tags\Z", logged_models.set_tags),
    re_path(rf"{MODEL}/tags/(?P<tag_key>.+)\Z", logged_models.delete_tag),
    re_path(rf"{MODEL}/params\Z", logged_models.log_params),
]
