//! Models that answer at other endpoints, as the flags name them.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use k25_server::{EndpointRoute, Model, Route, Routes};

use crate::args::ServeArgs;

/// Where a key is looked for that no flag names.
const USUAL_KEY: &str = "MOONSHOT_API_KEY";

/// The models of `--upstream` and `--routes`.
pub fn open(args: &ServeArgs) -> Result<Vec<Model>> {
    let mut models = Vec::new();
    if let Some(path) = &args.upstream.routes {
        let text = std::fs::read_to_string(path)
            .map_err(|error| anyhow!("cannot read {}: {error}", path.display()))?;
        let routes =
            Routes::parse(&text).map_err(|error| anyhow!("{}: {error}", path.display()))?;
        models.extend(routes.into_models(variable)?);
    }
    let endpoints = endpoints(args);
    if endpoints.is_empty() {
        return Ok(models);
    }
    // With a folder, the name is the folder's.
    let name = args.name.clone().filter(|_| args.dir.is_none());
    let name = name.or_else(|| args.upstream.upstream_model.clone());
    let routes = match name {
        Some(name) => {
            let route = Route {
                aliases: if args.dir.is_none() {
                    args.alias.clone()
                } else {
                    Vec::new()
                },
                ..Route::new(endpoints)
            };
            Routes {
                models: BTreeMap::from([(name, route)]),
            }
        }
        None => Routes::discover(endpoints, variable)?,
    };
    models.extend(routes.into_models(variable)?);
    Ok(models)
}

fn endpoints(args: &ServeArgs) -> Vec<EndpointRoute> {
    let usual = || variable(USUAL_KEY).map(|_| USUAL_KEY.to_owned());
    let flags = &args.upstream;
    let key_from = flags.upstream_key_from.clone().or_else(usual);
    let urls = flags.upstream.iter();
    urls.map(|url| EndpointRoute {
        model: flags.upstream_model.clone(),
        key_from: key_from.clone(),
        ..EndpointRoute::new(url)
    })
    .collect()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
