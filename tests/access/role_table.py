"""The lowest role that each address lets in, by method.

"anyone": whoever has signed in, who finds there only what they see; "operator": superusers, and
staff with the permission; "nobody": no user, but e.g. the launchers of a run with its own token, or
an address that has nothing.
"""

# ruff: noqa: E501

TABLE = [
    (methods.split(), path, role)
    for role, *methods_and_path in (
        line.split()
        for line in """
viewer     GET              /projects/{project_id}/runs
member     POST             /projects/{project_id}/runs
viewer     GET              /projects/{project_id}/runs/{id}
member     PATCH            /projects/{project_id}/runs/{id}
viewer     GET              /projects/{project_id}/runs/{id}/events
viewer     GET              /projects/{project_id}/export
viewer     GET              /projects/{project_id}/code/{sha256}
viewer     GET              /projects/{project_id}/code/{sha256}/download
viewer     GET              /projects/{project_id}/code/{sha256}/file
viewer     GET              /projects/{project_id}/artifacts/{id}
member     DELETE           /projects/{project_id}/artifacts/{id}
viewer     GET              /projects/{project_id}/release-requests
member     POST             /projects/{project_id}/release-requests
viewer     GET              /projects/{project_id}/release-requests/{id}
maintainer POST             /projects/{project_id}/release-requests/{id}/approve
maintainer POST             /projects/{project_id}/release-requests/{id}/refuse
member     POST             /projects/{project_id}/release-requests/{id}/withdraw
viewer     GET              /projects/{project_id}/evaluation-rules
maintainer POST             /projects/{project_id}/evaluation-rules
maintainer DELETE           /projects/{project_id}/evaluation-rules/{id}
maintainer GET POST         /projects/{project_id}/webhooks
maintainer GET PATCH DELETE /projects/{project_id}/webhooks/{id}
maintainer GET              /projects/{project_id}/webhooks/{id}/deliveries
maintainer POST             /projects/{project_id}/webhooks/{id}/deliveries/{delivery_id}/redeliver
maintainer POST             /projects/{project_id}/webhooks/{id}/rotate-secret
maintainer POST             /projects/{project_id}/webhooks/{id}/test
viewer     GET              /projects/{project_id}/release-policy
owner      PATCH            /projects/{project_id}/release-policy
viewer     GET              /projects/{project_id}/checkpoint-policy
maintainer PUT DELETE       /projects/{project_id}/checkpoint-policy
viewer     GET POST         /projects/{project_id}/checkpoint-policy/preview
viewer     GET              /projects/{project_id}/checkpoint-deletions
viewer     GET              /projects/{project_id}/checkpoint-deletions/{id}
maintainer DELETE           /projects/{project_id}/checkpoint-deletions/{id}
maintainer POST             /projects/{project_id}/checkpoint-deletions/empty-trash
member     POST             /projects/{project_id}/checkpoint-deletions/{id}/restore
viewer     GET              /projects/{project_id}/sweeps
member     POST             /projects/{project_id}/sweeps
viewer     GET              /projects/{project_id}/sweeps/{id}
member     POST             /projects/{project_id}/sweeps/{id}/cancel
member     POST             /projects/{project_id}/sweeps/{id}/continue
member     POST             /projects/{project_id}/sweeps/{id}/pause
member     POST             /api/2.0/mlflow/runs/log-metric
member     POST             /api/2.0/mlflow/runs/log-batch
viewer     GET              /api/2.0/mlflow/metrics/get-history
member     POST             /api/2.0/mlflow/runs/create
viewer     GET              /api/2.0/mlflow/runs/get
member     POST             /api/2.0/mlflow/runs/update
member     POST             /api/2.0/mlflow/runs/delete
member     POST             /api/2.0/mlflow/runs/restore
anyone     POST             /api/2.0/mlflow/runs/search
member     POST             /api/2.0/mlflow/runs/log-parameter
member     POST             /api/2.0/mlflow/runs/set-tag
member     POST             /api/2.0/mlflow/runs/delete-tag
member     POST             /api/2.0/mlflow/runs/log-inputs
member     POST             /api/2.0/mlflow/runs/outputs
anyone     POST             /api/2.0/mlflow/experiments/create
viewer     GET              /api/2.0/mlflow/experiments/get
viewer     GET              /api/2.0/mlflow/experiments/get-by-name
anyone     GET POST         /api/2.0/mlflow/experiments/search
maintainer POST             /api/2.0/mlflow/experiments/update
maintainer POST             /api/2.0/mlflow/experiments/delete
maintainer POST             /api/2.0/mlflow/experiments/restore
member     POST             /api/2.0/mlflow/experiments/set-experiment-tag
member     POST             /api/2.0/mlflow/experiments/delete-experiment-tag
nobody     -                /api/2.0/mlflow-artifacts/artifacts
viewer     GET              /api/2.0/mlflow-artifacts/artifacts/{path}
member     PUT DELETE       /api/2.0/mlflow-artifacts/artifacts/{path}
member     POST             /api/2.0/mlflow-artifacts/mpu/create/{path}
member     POST             /api/2.0/mlflow-artifacts/mpu/complete/{path}
member     POST             /api/2.0/mlflow-artifacts/mpu/abort/{path}
viewer     GET              /api/2.0/mlflow-artifacts/presigned/{path}
viewer     GET              /api/2.0/mlflow/artifacts/list
anyone     POST             /api/2.0/mlflow/registered-models/create
viewer     GET              /api/2.0/mlflow/registered-models/get
maintainer POST             /api/2.0/mlflow/registered-models/rename
member     PATCH            /api/2.0/mlflow/registered-models/update
maintainer DELETE           /api/2.0/mlflow/registered-models/delete
anyone     GET              /api/2.0/mlflow/registered-models/search
viewer     GET POST         /api/2.0/mlflow/registered-models/get-latest-versions
member     POST             /api/2.0/mlflow/registered-models/set-tag
member     DELETE           /api/2.0/mlflow/registered-models/delete-tag
viewer     GET              /api/2.0/mlflow/registered-models/alias
member     POST DELETE      /api/2.0/mlflow/registered-models/alias
member     POST             /api/2.0/mlflow/model-versions/create
viewer     GET              /api/2.0/mlflow/model-versions/get
member     PATCH            /api/2.0/mlflow/model-versions/update
maintainer DELETE           /api/2.0/mlflow/model-versions/delete
anyone     GET              /api/2.0/mlflow/model-versions/search
viewer     GET              /api/2.0/mlflow/model-versions/get-download-uri
member     POST             /api/2.0/mlflow/model-versions/transition-stage
member     POST             /api/2.0/mlflow/model-versions/set-tag
member     DELETE           /api/2.0/mlflow/model-versions/delete-tag
member     POST             /api/2.0/mlflow/runs/log-model
member     POST             /api/2.0/mlflow/logged-models
anyone     POST             /api/2.0/mlflow/logged-models/search
viewer     GET              /api/2.0/mlflow/logged-models/{model_id}
member     PATCH DELETE     /api/2.0/mlflow/logged-models/{model_id}
member     PATCH            /api/2.0/mlflow/logged-models/{model_id}/tags
member     DELETE           /api/2.0/mlflow/logged-models/{model_id}/tags/{tag_key}
member     POST             /api/2.0/mlflow/logged-models/{model_id}/params
anyone     GET              /api/3.0/mlflow/server-info
nobody     -                /api/.*
viewer     GET              /projects/{project_id}/runs/{run_id}/artifacts/files/{path}
member     PUT              /projects/{project_id}/runs/{run_id}/artifacts/files/{path}
viewer     GET              /projects/{project_id}/runs/{run_id}/artifacts/{id}/model-card
viewer     GET              /projects/{project_id}/runs/{run_id}/artifacts/{id}/gates
member     POST             /projects/{project_id}/runs/{run_id}/artifacts/{id}/evaluate
member     POST             /projects/{project_id}/code
nobody     POST             /projects/{project_id}/runs/{run_id}/attempts/{number}/nodes/{rank}
nobody     PUT              /projects/{project_id}/runs/{run_id}/attempts/{number}/nodes/{rank}/files
nobody     GET              /projects/{project_id}/runs/{run_id}/attempts/{number}/start
nobody     GET              /projects/{project_id}/runs/{run_id}/attempts/{number}/start/files
viewer     GET              /projects/{project_id}/runs/{run_id}/metrics
member     POST             /projects/{project_id}/runs/{run_id}/metrics
viewer     GET              /projects/{project_id}/runs/{run_id}/metrics/series
viewer     GET              /projects/{project_id}/runs/{run_id}/metrics/plot.svg
viewer     GET              /projects/{project_id}/runs/{run_id}/metrics/plot.png
member     POST             /projects/{project_id}/runs/{run_id}/cancel
member     POST             /projects/{project_id}/runs/{run_id}/pause
member     POST             /projects/{project_id}/runs/{run_id}/continue
viewer     GET              /projects/{project_id}/runs/{run_id}/explanation
member     POST             /projects/{project_id}/runs/{run_id}/resume
viewer     GET              /projects/{project_id}/runs/{run_id}/export
viewer     GET              /projects/{project_id}/runs/{run_id}/goodput
viewer     GET              /projects/{project_id}/runs/{run_id}/logs
member     POST             /projects/{project_id}/runs/{run_id}/logs
viewer     GET              /projects/{project_id}/runs/{run_id}/logs/download
viewer     GET              /projects/{project_id}/runs/{run_id}/code
viewer     GET              /projects/{project_id}/runs/{run_id}/code/diff
member     POST             /projects/{project_id}/runs/{run_id}/artifacts/uploads
viewer     GET              /projects/{project_id}/runs/{run_id}/artifacts/uploads/{id}
member     DELETE           /projects/{project_id}/runs/{run_id}/artifacts/uploads/{id}
member     POST             /projects/{project_id}/runs/{run_id}/artifacts/uploads/{id}/complete
member     POST             /projects/{project_id}/runs/{run_id}/artifacts/uploads/{id}/parts
viewer     GET              /projects/{project_id}/runs/{run_id}/artifacts
viewer     GET              /projects/{project_id}/runs/{run_id}/artifacts/{id}/archive
viewer     GET              /projects/{project_id}/runs/{run_id}/artifacts/{id}/download
member     POST             /projects/{project_id}/runs/{run_id}/artifacts/{id}/tag
anyone     GET POST         /projects
viewer     GET              /projects/{id}
maintainer PATCH            /projects/{id}
anyone     GET              /recipes
anyone     GET POST         /teams
owner      GET PATCH DELETE /teams/{id}
anyone     GET POST         /tokens
nobody     DELETE           /tokens/{id}
operator   GET POST         /webhooks
operator   GET PATCH DELETE /webhooks/{id}
operator   GET              /webhooks/{id}/deliveries
operator   POST             /webhooks/{id}/deliveries/{delivery_id}/redeliver
operator   POST             /webhooks/{id}/rotate-secret
operator   POST             /webhooks/{id}/test
viewer     GET              /projects/{project_id}/access
owner      PATCH            /projects/{project_id}/access
owner      PUT DELETE       /projects/{project_id}/members/{username}
owner      PUT              /teams/{team_id}/members/{username}
nobody     PATCH DELETE     /teams/{team_id}/members/{username}
anyone     GET              /audit
anyone     GET              /goodput
anyone     GET              /storage
operator   GET              /metrics
anyone     POST             /mcp
anyone     GET              /
viewer     GET              /get-artifact
anyone     GET              /favicon.ico
anyone     GET              /schema
anyone     GET              /dashboard/
anyone     GET              /admin
anyone     GET              /docs
anyone     GET              /redoc
anyone     GET              /healthz
anyone     GET              /readyz
anyone     GET              /signed-in
anyone     GET              /health
anyone     GET              /version
nobody     GET              /v1/traces
anyone     GET              /dashboard
anyone     GET              /dashboard/home
anyone     GET              /dashboard/running
anyone     GET              /dashboard/failed
anyone     GET              /dashboard/activity
anyone     GET              /dashboard/goodput
anyone     GET              /dashboard/storage
anyone     GET              /dashboard/audit
anyone     GET              /dashboard/audit.csv
anyone     GET              /dashboard/workers
anyone     GET              /dashboard/series
anyone     GET              /dashboard/series.csv
operator   POST             /dashboard/workers/{worker_id}/drain
operator   POST             /dashboard/workers/{worker_id}/undrain
operator   POST             /dashboard/workers/{worker_id}/remove
operator   POST             /dashboard/pools/add
operator   POST             /dashboard/pools/resize
operator   GET POST         /dashboard/webhooks
operator   GET              /dashboard/webhooks/{hook_id}
operator   GET POST         /dashboard/webhooks/{hook_id}/edit
operator   POST             /dashboard/webhooks/{hook_id}/do/{deed}
operator   POST             /dashboard/webhooks/{hook_id}/deliveries/{delivery_id}/again
anyone     GET              /dashboard/recipes
operator   GET POST         /dashboard/recipes/new
operator   GET              /dashboard/recipes/checks
anyone     GET              /dashboard/recipe/{name}
operator   GET POST         /dashboard/recipe/{name}/edit
operator   POST             /dashboard/recipe/{name}/check
operator   POST             /dashboard/recipe/{name}/test
anyone     GET              /dashboard/language
anyone     POST             /dashboard/theme
anyone     GET              /dashboard/compare
anyone     GET              /dashboard/compare/found
anyone     GET              /dashboard/compare/summary
anyone     GET              /dashboard/compare/plot.svg
anyone     GET POST         /dashboard/teams
owner      GET              /dashboard/teams/{team_id}
owner      POST             /dashboard/teams/{team_id}/members
nobody     POST             /dashboard/teams/{team_id}/members/{user_id}/remove
owner      POST             /dashboard/teams/{team_id}/new-projects
owner      POST             /dashboard/teams/{team_id}/accounts
anyone     GET POST         /dashboard/tokens
nobody     POST             /dashboard/tokens/{token_id}/revoke
anyone     GET              /dashboard/projects
anyone     GET POST         /dashboard/projects/new
viewer     GET              /dashboard/projects/{project_id}
viewer     GET              /dashboard/projects/{project_id}/rows
viewer     GET              /dashboard/projects/{project_id}/columns
viewer     GET              /dashboard/projects/{project_id}/table.csv
viewer     POST             /dashboard/projects/{project_id}/selected
viewer     POST             /dashboard/projects/{project_id}/views
viewer     POST             /dashboard/projects/{project_id}/views/{view_id}
viewer     GET              /dashboard/projects/{project_id}/about
viewer     GET              /dashboard/projects/{project_id}/versions
maintainer GET POST         /dashboard/projects/{project_id}/edit
viewer     GET              /dashboard/projects/{project_id}/access
owner      POST             /dashboard/projects/{project_id}/access/members
owner      POST             /dashboard/projects/{project_id}/access/{user_id}/remove
owner      POST             /dashboard/projects/{project_id}/access/team
maintainer POST             /dashboard/projects/{project_id}/archive
maintainer POST             /dashboard/projects/{project_id}/reopen
member     GET POST         /dashboard/projects/{project_id}/runs/new
maintainer GET POST         /dashboard/projects/{project_id}/webhooks
maintainer GET              /dashboard/projects/{project_id}/webhooks/{hook_id}
maintainer GET POST         /dashboard/projects/{project_id}/webhooks/{hook_id}/edit
maintainer POST             /dashboard/projects/{project_id}/webhooks/{hook_id}/do/{deed}
maintainer POST             /dashboard/projects/{project_id}/webhooks/{hook_id}/deliveries/{delivery_id}/again
viewer     GET              /dashboard/projects/{project_id}/sweeps
member     GET POST         /dashboard/projects/{project_id}/new-sweep
viewer     GET              /dashboard/projects/{project_id}/sweeps/{sweep_id}
viewer     GET              /dashboard/projects/{project_id}/sweeps/{sweep_id}/live
member     POST             /dashboard/projects/{project_id}/sweeps/{sweep_id}/{action}
viewer     GET              /dashboard/projects/{project_id}/checkpoints
viewer     GET              /dashboard/projects/{project_id}/checkpoints/leaderboard
viewer     GET              /dashboard/projects/{project_id}/checkpoints/leaderboard.csv
viewer     GET              /dashboard/projects/{project_id}/checkpoints/releases
member     POST             /dashboard/projects/{project_id}/checkpoints/evaluate
viewer     GET              /dashboard/projects/{project_id}/checkpoints/policy
owner      POST             /dashboard/projects/{project_id}/checkpoints/policy/change
viewer     GET              /dashboard/projects/{project_id}/checkpoints/kept
maintainer POST             /dashboard/projects/{project_id}/checkpoints/kept/change
viewer     GET              /dashboard/projects/{project_id}/checkpoints/trash
member     POST             /dashboard/projects/{project_id}/checkpoints/trash/{deletion_id}/restore
maintainer POST             /dashboard/projects/{project_id}/checkpoints/trash/{deletion_id}/purge
maintainer POST             /dashboard/projects/{project_id}/checkpoints/trash/empty
maintainer POST             /dashboard/projects/{project_id}/checkpoints/rules
maintainer POST             /dashboard/projects/{project_id}/checkpoints/rules/{rule_id}/remove
member     POST             /dashboard/projects/{project_id}/release-requests/{request_id}/{action}
member     POST             /dashboard/projects/{project_id}/runs/{run_id}/artifacts/{artifact_id}/remove
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/artifacts/{artifact_id}/release
member     POST             /dashboard/projects/{project_id}/runs/{run_id}/artifacts/{artifact_id}/release
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/artifacts/{artifact_id}/model-card
nobody     GET              /dashboard/projects/{project_id}/runs/{run_id}/artifacts/{artifact_id}/model-card/curve.svg
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/artifacts/{artifact_id}/model-card/README.md
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/log
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/checkpoints
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/configuration
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/code
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/code.zip
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/lineage
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/events
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/live
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/metrics
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/series
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/series.csv
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/plot.svg
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/charts
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/tail
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/lines
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/log/download
member     GET POST         /dashboard/projects/{project_id}/runs/{run_id}/describe
member     POST             /dashboard/projects/{project_id}/runs/{run_id}/cancel
member     POST             /dashboard/projects/{project_id}/runs/{run_id}/pause
member     POST             /dashboard/projects/{project_id}/runs/{run_id}/continue
member     POST             /dashboard/projects/{project_id}/runs/{run_id}/priority
member     POST             /dashboard/projects/{project_id}/runs/{run_id}/leave-queue
member     POST             /dashboard/projects/{project_id}/runs/{run_id}/restore
member     POST             /dashboard/projects/{project_id}/runs/{run_id}/retry
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/artifacts/{artifact_id}
viewer     GET              /dashboard/projects/{project_id}/runs/{run_id}/artifacts/{artifact_id}/raw
member     POST             /dashboard/projects/{project_id}/runs/{run_id}/artifacts/{artifact_id}/tag
member     GET POST         /dashboard/projects/{project_id}/runs/{run_id}/artifacts/{artifact_id}/resume
anyone     GET              /login
anyone     POST             /logout
anyone     GET POST         /login/password
anyone     GET POST         /login/reset
anyone     GET              /login/reset/sent
anyone     GET              /login/reset/{uidb64}/{token}
""".strip().splitlines()
    )
    for methods, path in [(" ".join(methods_and_path[:-1]).replace("-", ""), methods_and_path[-1])]
]
