//! Pictures and films that a request names: which addresses may be named, and fetching them.

mod fetch;

pub(crate) use fetch::MediaFetcher;

use std::sync::Arc;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k25_chat::{Content, Conversation, Media, MediaKind, Part};

use crate::app::App;
use crate::body::HeldBytes;
use crate::error::ApiError;
use crate::files::{Purpose, media_type};

/// Puts the content in the place of every address and file id, so that what computes needs no network.
/// `data:` URIs stay; paths of this machine are refused.
pub(crate) async fn resolve(
    app: &App,
    owner: &str,
    conversation: &mut Conversation,
    held: &mut HeldBytes,
) -> Result<(), ApiError> {
    let mut fetched = 0;
    for (index, message) in conversation.messages.iter_mut().enumerate() {
        let Some(Content::Parts(parts)) = &mut message.content else {
            continue;
        };
        for (place, part) in parts.iter_mut().enumerate() {
            let Part::Media(media) = part else { continue };
            let param = format!("messages[{index}].content[{place}]");
            let content = resolve_one(app, owner, media, &mut fetched, held).await;
            let content = content.map_err(|error| ApiError {
                message: format!("{param}: {}", error.message),
                param: Some(param),
                ..error
            })?;
            media.source = content.or(media.source.take());
        }
    }
    Ok(())
}

/// The content as a `data:` URI; `None` if it is one already.
async fn resolve_one(
    app: &App,
    owner: &str,
    media: &Media,
    fetched: &mut usize,
    held: &mut HeldBytes,
) -> Result<Option<String>, ApiError> {
    let source = media.source.as_deref().unwrap_or_default();
    let scheme = source.split_once(':').map_or("", |(scheme, _)| scheme);
    if let Some(id) = file_id(source) {
        return uploaded(app, owner, id, media.kind, held).await.map(Some);
    }
    match scheme.to_ascii_lowercase().as_str() {
        "data" => Ok(None),
        "http" | "https" => {
            let Some(fetcher) = &app.fetcher else {
                return Err(ApiError::invalid(
                    "addresses of other machines are not fetched here; hint: send the content as a data: URI",
                ));
            };
            *fetched += 1;
            let content = fetcher.fetch(source, *fetched).await?;
            held.grow(content.len())?;
            Ok(Some(content))
        }
        _ => Err(ApiError::invalid(
            "neither a data: URI, an http(s) address nor a file; hint: send data:image/png;base64,… or \
             ms://FILE_ID",
        )),
    }
}

/// The id in `ms://ID`, or of a file without the scheme.
fn file_id(source: &str) -> Option<&str> {
    let is_id = |id: &&str| id.starts_with("file-");
    source
        .strip_prefix("ms://")
        .or_else(|| Some(source).filter(is_id))
}

/// An uploaded picture or film as a `data:` URI.
async fn uploaded(
    app: &App,
    owner: &str,
    id: &str,
    kind: MediaKind,
    held: &mut HeldBytes,
) -> Result<String, ApiError> {
    let missing = || ApiError::invalid("no files are kept here; hint: send a data: URI");
    let store = app.files.as_ref().ok_or_else(missing)?;
    let record = store.find(owner, id).map_err(|error| ApiError {
        status: StatusCode::BAD_REQUEST,
        kind: "invalid_request_error",
        ..error
    })?;
    let wanted = match kind {
        MediaKind::Image => Purpose::Image,
        MediaKind::Video => Purpose::Video,
    };
    if record.purpose != wanted {
        return Err(ApiError::invalid(format!(
            "the file was uploaded for {}; hint: upload it with the purpose {}",
            record.purpose.name(),
            wanted.name()
        )));
    }
    // Base64 makes four characters of three bytes.
    held.grow(usize::try_from(record.bytes / 3 * 4).unwrap_or(usize::MAX))?;
    let store = Arc::clone(store);
    let read = tokio::task::spawn_blocking(move || {
        let bytes = store.content(&record)?;
        let kind = media_type(&bytes);
        Ok(format!("data:{kind};base64,{}", STANDARD.encode(bytes)))
    });
    read.await
        .unwrap_or_else(|_| Err(ApiError::invalid("the file cannot be read")))
}
