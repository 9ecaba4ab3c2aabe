//! `k25 keys`: who may ask a server.

use std::collections::BTreeMap;

use anyhow::Result;
use k25_server::{KeyFile, KeyLimits, NewKey, UsageEntry, UsageFile, UsageSum};

use super::Outcome;
use crate::args::{KeysArgs, KeysCommand, UsageBy};
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
        KeysCommand::Usage {
            file,
            name,
            by,
            json,
        } => {
            let mut usage = UsageFile::open(file)?;
            let is_asked = |key: &str| name.as_deref().is_none_or(|name| name == key);
            usage.entries.retain(|entry| is_asked(&entry.key));
            if *json {
                print_json(&usage)?;
            } else {
                show_usage(&usage, *by);
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

fn show_usage(usage: &UsageFile, by: UsageBy) {
    let part = |entry: &UsageEntry| match by {
        UsageBy::Key => entry.key.clone(),
        UsageBy::Model => entry.model.clone(),
        UsageBy::Day => entry.day.clone(),
    };
    let mut sums: BTreeMap<String, UsageSum> = BTreeMap::new();
    let mut total = UsageSum::default();
    for entry in &usage.entries {
        *sums.entry(part(entry)).or_default() += entry.sum;
        total += entry.sum;
    }
    let currency = usage.currency.as_deref();
    let title = match by {
        UsageBy::Key => "key",
        UsageBy::Model => "model",
        UsageBy::Day => "day",
    };
    println!(
        "{title:<24}{:>10}{:>14}{:>14}{:>14}{:>16}",
        "requests", "prompt", "cached", "completion", "cost"
    );
    for (name, sum) in &sums {
        show_sum(name, sum, currency);
    }
    if sums.len() > 1 {
        show_sum("total", &total, currency);
    }
}

fn show_sum(name: &str, sum: &UsageSum, currency: Option<&str>) {
    let cost = currency.map_or("-".to_owned(), |unit| format!("{:.4} {unit}", sum.cost));
    println!(
        "{name:<24}{:>10}{:>14}{:>14}{:>14}{cost:>16}",
        sum.requests, sum.prompt_tokens, sum.cached_tokens, sum.completion_tokens
    );
}
