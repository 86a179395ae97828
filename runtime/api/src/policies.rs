//! `/api/policies`: what decides, and swaps.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, header},
};
use lockgate_ports::BoxFuture;
use lockgate_session::{Artifact, DeskError, Kind, LoadError, SlotInfo, desk::FilesInfo};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::extract::Params;
use crate::openapi::{NotFound, Unavailable, Unusable};
use crate::{App, Caller, Problem, extract::bounded, scope::Action};

/// Loads policies that come by the API, and keeps the last good ones.
pub trait PolicyStore: Send + Sync + 'static {
    /// Loads and checks a policy; may take a while, so never on a runtime worker.
    fn load(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<Arc<dyn Artifact>, LoadError>;

    /// Most bytes of a kind's policy.
    fn size_max(&self, kind: Kind) -> usize;

    /// What a kind's policy is configured with.
    fn parameters(&self, kind: Kind) -> Value;

    /// Remembers what decides a kind now, for the next start.
    fn keep<'a>(&'a self, kind: Kind, digest: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, ()>;
}

/// The answer to `GET /api/policies`.
#[derive(Serialize, ToSchema)]
#[schema(as = Policies)]
pub(crate) struct Listing {
    /// Each kind.
    policies: Vec<SlotInfo>,
    /// Batches that were not answered in time, so far.
    late: u64,
    /// The files of the decision log; null where it is in memory only.
    log: Option<FilesInfo>,
}

/// A policy that was put in charge.
#[derive(Serialize, ToSchema)]
pub(crate) struct Swapped {
    /// Of what.
    kind: Kind,
    /// Its generation.
    generation: u64,
    /// Its name.
    name: String,
    /// Its version.
    version: String,
    /// Its digest.
    digest: String,
    /// All kinds it could answer.
    answers: Vec<Kind>,
}

/// What decides.
#[utoipa::path(
    get, path = "/api/policies", tag = "policies", security(("token" = ["admin"])),
    responses(
        (status = 200, description = "Each kind.", body = Listing),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Listing>, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    let slots = app.desk.info().await.map_err(refused)?;
    Ok(Json(Listing {
        policies: slots,
        late: app.desk.late(),
        log: app.desk.files(),
    }))
}

/// Puts a policy in charge of a kind: it decides from the next tick on. One that answers several kinds takes the kind it is put
/// to, and no other.
#[utoipa::path(
    put, path = "/api/policies/{kind}", tag = "policies", security(("token" = ["admin"])),
    params(("kind" = Kind, Path, description = "The kind of judgement.", example = "abr")),
    request_body(content = Vec<u8>, description = "A Luau script or a Wasm component.", content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "It decides.", body = Swapped),
        (status = 404, response = NotFound),
        (status = 422, response = Unusable),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn swap(
    State(app): State<App>,
    Params(kind): Params<String>,
    caller: Caller,
    request: Request,
) -> Result<Json<Swapped>, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    let kind = parse(&kind)?;
    let (bytes, artifact) = load(&app, kind, request).await?;
    let manifest = artifact.manifest();
    let answers: Vec<Kind> = manifest.kinds.keys().copied().collect();
    let (name, version, digest) = (
        manifest.name.clone(),
        manifest.version.clone(),
        artifact.digest().to_owned(),
    );
    let generation = app
        .desk
        .swap(kind, artifact, app.policies.parameters(kind))
        .await
        .map_err(refused)?;
    app.policies.keep(kind, &digest, &bytes).await;
    tracing::info!(%kind, generation, %digest, "a policy that came by the API decides from now on");
    Ok(Json(Swapped {
        kind,
        generation,
        name,
        version,
        digest,
        answers,
    }))
}

/// Puts the policy before the active one in charge again.
#[utoipa::path(
    post, path = "/api/policies/{kind}/rollback", tag = "policies", security(("token" = ["admin"])),
    params(("kind" = Kind, Path, description = "The kind of judgement.", example = "abr")),
    responses(
        (status = 204, description = "It decides again."),
        (status = 404, response = NotFound),
        (status = 422, response = Unusable),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn rollback(
    State(app): State<App>,
    Params(kind): Params<String>,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    app.desk.rollback(parse(&kind)?).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a candidate decide beside the active policy, without effect.
#[utoipa::path(
    put, path = "/api/policies/{kind}/shadow", tag = "policies", security(("token" = ["admin"])),
    params(("kind" = Kind, Path, description = "The kind of judgement.", example = "abr")),
    request_body(content = Vec<u8>, description = "A Luau script or a Wasm component.", content_type = "application/octet-stream"),
    responses(
        (status = 204, description = "It does."),
        (status = 404, response = NotFound),
        (status = 422, response = Unusable),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn shadow(
    State(app): State<App>,
    Params(kind): Params<String>,
    caller: Caller,
    request: Request,
) -> Result<StatusCode, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    let kind = parse(&kind)?;
    let (_, artifact) = load(&app, kind, request).await?;
    app.desk
        .shadow(kind, Some((artifact, app.policies.parameters(kind))))
        .await
        .map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the shadow.
#[utoipa::path(
    delete, path = "/api/policies/{kind}/shadow", tag = "policies", security(("token" = ["admin"])),
    params(("kind" = Kind, Path, description = "The kind of judgement.", example = "abr")),
    responses(
        (status = 204, description = "There is none."),
        (status = 404, response = NotFound),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn end_shadow(
    State(app): State<App>,
    Params(kind): Params<String>,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    app.desk
        .shadow(parse(&kind)?, None)
        .await
        .map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) fn parse(kind: &str) -> Result<Kind, Problem> {
    kind.parse().map_err(|what: String| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "/problems/not-found",
            "No such kind of policy",
            what,
        )
    })
}

async fn load(
    app: &App,
    kind: Kind,
    request: Request,
) -> Result<(Vec<u8>, Arc<dyn Artifact>), Problem> {
    let bytes = bounded(request.into_body(), app.policies.size_max(kind))
        .await?
        .to_vec();
    let (store, body) = (Arc::clone(&app.policies), bytes.clone());
    let loaded = tokio::task::spawn_blocking(move || {
        store.load(kind, &format!("{kind}, by the API"), &body)
    })
    .await;
    let artifact = loaded
        .map_err(|_| Problem::internal())?
        .map_err(|error| bad(error.to_string()))?;
    Ok((bytes, artifact))
}

fn bad(detail: String) -> Problem {
    let title = "The policy cannot be used";
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "/problems/bad-policy",
        title,
        detail,
    )
}

pub(crate) fn refused(error: DeskError) -> Problem {
    match error {
        DeskError::Swap(error) => bad(error.to_string()),
        other => {
            tracing::error!(error = %other, "the policies did not answer the API");
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "/problems/busy",
                "Try again",
                other.to_string(),
            )
            .with_header(header::RETRY_AFTER, "1")
        }
    }
}
