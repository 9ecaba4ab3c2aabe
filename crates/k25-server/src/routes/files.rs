//! `/v1/files`: upload, list, look at, read and delete.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use multer::{Constraints, Field, Multipart, SizeLimit};
use serde_json::{Value, json};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::{identify, json as json_response, openai_error, with_limits};
use crate::app::App;
use crate::error::ApiError;
use crate::files::{FileRecord, FileStore, Incoming, Purpose};
use crate::request_log::{Asker, RequestId};

/// Longest time for a whole upload.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(900);
/// Room for the parts of an upload beside the file.
const FORM_BYTES: u64 = 64 << 10;

type Answer<T> = Result<T, ApiError>;

pub(super) async fn upload(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asker = match asker(&app, &id, &headers) {
        Ok(asker) => asker,
        Err(error) => return openai_error(&error),
    };
    let kept = async {
        refuse_other_sites(&headers)?;
        let _grant = asker.account.meter.admit(0, Instant::now())?;
        let uploaded = timeout(UPLOAD_TIMEOUT, receive(&app, &asker, &headers, body)).await;
        uploaded.unwrap_or_else(|_| Err(too_slow()))
    };
    let kept = kept.await.map(|record| object(&record));
    with_limits(&asker, respond(kept))
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    uri: axum::http::Uri,
    headers: HeaderMap,
) -> Response {
    let listed = || {
        let asker = asker(&app, &id, &headers)?;
        let wanted = uri.query().unwrap_or_default().split('&');
        let wanted = wanted
            .filter_map(|pair| pair.strip_prefix("purpose="))
            .next();
        let files = store(&app)?.list(&asker.account.name);
        let files = files
            .iter()
            .filter(|record| wanted.is_none_or(|wanted| wanted == record.purpose.name()));
        let files: Vec<_> = files.map(object).collect();
        Ok(json!({"object": "list", "data": files, "has_more": false}))
    };
    respond(listed())
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Response {
    respond(find(&app, &id, &headers, &file).map(|(_, record)| object(&record)))
}

pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Response {
    let deleted = async {
        let (asker, record) = find(&app, &id, &headers, &file)?;
        let id = record.id.clone();
        on_disk(&app, move |store| {
            store.delete(&asker.account.name, &record.id)
        })
        .await?;
        Ok(json!({"id": id, "object": "file", "deleted": true}))
    };
    respond(deleted.await)
}

/// The bytes of a picture or film, the text of a document as Kimi's service tells it.
pub(super) async fn content(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Response {
    let read = async {
        let (_, record) = find(&app, &id, &headers, &file)?;
        if record.purpose != Purpose::FileExtract {
            let kind = record.media_type.clone();
            let bytes = on_disk(&app, move |store| store.content(&record)).await?;
            let headers = [
                (header::CONTENT_TYPE, kind),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
                (header::CONTENT_DISPOSITION, "attachment".to_owned()),
            ];
            return Ok((headers, bytes).into_response());
        }
        let FileRecord {
            filename,
            media_type,
            ..
        } = record.clone();
        let text = on_disk(&app, move |store| store.text(&record)).await?;
        let body = json!({"content": text, "file_type": media_type, "filename": filename, "title": "",
            "type": "file"});
        Ok(json_response(body.to_string()))
    };
    read.await
        .unwrap_or_else(|error: ApiError| openai_error(&error))
}

fn object(record: &FileRecord) -> Value {
    json!({
        "id": record.id,
        "object": "file",
        "bytes": record.bytes,
        "created_at": record.created_at,
        "filename": record.filename,
        "purpose": record.purpose.name(),
        "status": "ok",
        "status_details": "",
    })
}

fn respond(body: Answer<Value>) -> Response {
    match body {
        Ok(body) => json_response(body.to_string()),
        Err(error) => openai_error(&error),
    }
}

fn asker(app: &App, id: &RequestId, headers: &HeaderMap) -> Answer<Asker> {
    let asker = identify(app, id, headers)?;
    store(app)?;
    Ok(asker)
}

fn store(app: &App) -> Answer<&Arc<FileStore>> {
    let missing = || ApiError::not_found("no files are kept here; hint: k25 serve --data FOLDER");
    app.files.as_ref().ok_or_else(missing)
}

fn find(app: &App, id: &RequestId, headers: &HeaderMap, file: &str) -> Answer<(Asker, FileRecord)> {
    let asker = asker(app, id, headers)?;
    let record = store(app)?.find(&asker.account.name, file)?;
    Ok((asker, record))
}

/// Works with the disk where it holds no connection up.
async fn on_disk<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&FileStore) -> Answer<T> + Send + 'static,
) -> Answer<T> {
    let store = Arc::clone(store(app)?);
    let done = tokio::task::spawn_blocking(move || work(&store)).await;
    done.unwrap_or_else(|_| Err(failed()))
}

/// A form can be sent by any page that a person happens to look at, without asking first. Browsers say
/// where it came from.
fn refuse_other_sites(headers: &HeaderMap) -> Answer<()> {
    let site = headers.get("sec-fetch-site").map(|value| value.as_bytes());
    match site {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "permission_denied_error",
            "a page of another site may not upload here; hint: upload from a program",
        )),
    }
}

/// Takes the parts of the form: the file goes to the disk as it comes.
async fn receive(app: &App, asker: &Asker, headers: &HeaderMap, body: Body) -> Answer<FileRecord> {
    let store = Arc::clone(store(app)?);
    let _place = store.uploads.acquire().await.map_err(|_| failed())?;
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(kind).map_err(|_| not_a_form())?;
    let limit = SizeLimit::new()
        .whole_stream(store.max_bytes() + FORM_BYTES)
        .per_field(store.max_bytes())
        .for_field("purpose", 64);
    let constraints = Constraints::new().size_limit(limit);
    let mut form = Multipart::with_constraints(body.into_data_stream(), boundary, constraints);
    let pause = app.options.body_pause;
    let (mut purpose, mut file) = (None, None);
    while let Some(field) = within(pause, form.next_field()).await? {
        match field.name() {
            Some("purpose") => {
                purpose = Some(Purpose::of(within(pause, field.text()).await?.trim())?);
            }
            Some("file") if file.is_none() => {
                let name = field.file_name().unwrap_or("file").to_owned();
                let incoming = store.begin()?;
                save(&incoming, field, pause).await?;
                file = Some((incoming, name));
            }
            _ => drop(within(pause, field.bytes()).await?),
        }
    }
    let purpose = purpose.map_or_else(|| Purpose::of(""), Ok)?;
    let Some((incoming, name)) = file else {
        return Err(ApiError {
            param: Some("file".to_owned()),
            ..ApiError::invalid("file: missing; hint: send a part called file")
        });
    };
    let owner = asker.account.name.clone();
    on_disk(app, move |_| incoming.keep(&owner, &name, purpose)).await
}

async fn save(incoming: &Incoming, mut field: Field<'_>, pause: Duration) -> Answer<()> {
    let unwritten = |_: std::io::Error| failed();
    let mut file = File::create(incoming.path()).await.map_err(unwritten)?;
    while let Some(piece) = within(pause, field.chunk()).await? {
        file.write_all(&piece).await.map_err(unwritten)?;
    }
    file.sync_all().await.map_err(unwritten)
}

/// What comes within the pause that a client may make.
async fn within<T>(
    pause: Duration,
    coming: impl Future<Output = Result<T, multer::Error>>,
) -> Answer<T> {
    match timeout(pause, coming).await {
        Ok(come) => come.map_err(|error| refusal(&error)),
        Err(_) => Err(too_slow()),
    }
}

fn refusal(error: &multer::Error) -> ApiError {
    match error {
        multer::Error::FieldSizeExceeded { limit, .. }
        | multer::Error::StreamSizeExceeded { limit } => ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request_error",
            format!("the file is larger than {limit} bytes; hint: send a smaller one"),
        ),
        error => ApiError::invalid(format!("the form is broken: {error}; hint: send it again")),
    }
}

fn not_a_form() -> ApiError {
    ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "invalid_request_error",
        "the body must be multipart/form-data; hint: send the parts purpose and file",
    )
}

fn too_slow() -> ApiError {
    ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        "invalid_request_error",
        "the file came too slowly; hint: send it again",
    )
}

fn failed() -> ApiError {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "server_error",
        "the file cannot be kept; hint: try again later",
    )
}
