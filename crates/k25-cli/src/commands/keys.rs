//! `k25 keys`: who may ask a server.

use anyhow::Result;
use k25_server::{KeyFile, KeyLimits, NewKey};

use super::Outcome;
use crate::args::{KeysArgs, KeysCommand};
use crate::output::print_json;

pub fn run(args: &KeysArgs) -> Result<Outcome> {
    match &args.command {
        KeysCommand::Add {
            name,
            file,
            concurrency,
            requests_per_minute,
            tokens_per_minute,
        } => {
            let limits = KeyLimits {
                concurrency: *concurrency,
                requests_per_minute: *requests_per_minute,
                tokens_per_minute: *tokens_per_minute,
            };
            let mut keys = KeyFile::open_or_new(file)?;
            let key = NewKey::make(name, limits)?;
            keys.add(key.record)?;
            keys.save(file)?;
            println!("{}", key.secret);
            eprintln!(
                "keep it: the file holds only its hash, and a server reads the file when it starts"
            );
        }
        KeysCommand::List { file, json } => {
            let keys = KeyFile::open(file)?;
            if *json {
                print_json(&keys)?;
            } else {
                list(&keys);
            }
        }
        KeysCommand::Remove { name, file } => {
            let mut keys = KeyFile::open(file)?;
            keys.remove(name)?;
            keys.save(file)?;
        }
    }
    Ok(Outcome::Done)
}

fn list(keys: &KeyFile) {
    let shown = |limit: Option<u32>| limit.map_or("-".to_owned(), |limit| limit.to_string());
    println!(
        "{:<24}{:>8}{:>12}{:>14}",
        "name", "at once", "requests/m", "tokens/m"
    );
    for key in &keys.keys {
        println!(
            "{:<24}{:>8}{:>12}{:>14}",
            key.name,
            shown(key.limits.concurrency),
            shown(key.limits.requests_per_minute),
            shown(key.limits.tokens_per_minute)
        );
    }
}
