//! Pictures and films that a request names: which addresses may be named, and fetching them.

mod address;
mod fetch;

pub use address::{AddressError, is_public_address};
pub(crate) use fetch::MediaFetcher;

use k25_chat::{Content, Conversation, Media, Part};

use crate::app::App;
use crate::body::HeldBytes;
use crate::error::ApiError;

/// Puts the content in the place of every address, so that what computes needs no network. `data:`
/// URIs stay; paths of this machine are refused.
pub(crate) async fn resolve(
    app: &App,
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
            let content = resolve_one(app, media, &mut fetched, held).await;
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
    media: &Media,
    fetched: &mut usize,
    held: &mut HeldBytes,
) -> Result<Option<String>, ApiError> {
    let source = media.source.as_deref().unwrap_or_default();
    let scheme = source.split_once(':').map_or("", |(scheme, _)| scheme);
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
            "neither a data: URI nor an http(s) address; hint: send data:image/png;base64,…",
        )),
    }
}
