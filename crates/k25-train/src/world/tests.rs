//! Worlds against what they promise.

use super::*;

fn tables(split: Split) -> impl Iterator<Item = (Random, Table)> {
    (0..200).map(move |index| {
        let mut random = split.random(3, index);
        let (subjects, keys) = (1 + random.below(4), 2 + random.below(5));
        let table = Table::new(&mut random, split, subjects, keys);
        (random, table)
    })
}

#[test]
fn worlds_repeat_and_splits_share_no_word() {
    for split in [Split::Train, Split::HeldOut] {
        let once: Vec<Table> = tables(split).map(|(_, table)| table).collect();
        assert!(
            once.iter().eq(tables(split)
                .map(|(_, table)| table)
                .collect::<Vec<_>>()
                .iter())
        );
        assert!(
            once.iter()
                .flat_map(|table| &table.subjects)
                .all(|word| split.owns(word))
        );
    }
    assert!(Split::Train.owns("brain") != Split::HeldOut.owns("brain"));
}

#[test]
fn every_value_stands_in_every_form() {
    for split in [Split::Train, Split::HeldOut] {
        for (mut random, table) in tables(split) {
            for form in Form::TRAINED.into_iter().chain(Form::HELD_OUT) {
                let text = form.write(&mut random, &table);
                let values = table.values.iter().flatten().map(Value::to_string);
                for part in table.subjects.iter().cloned().chain(values) {
                    assert!(
                        text.to_lowercase().contains(&part.to_lowercase()),
                        "{part} in {form:?}:\n{text}"
                    );
                }
            }
        }
    }
}

/// Forms that have parsers are read back by them.
#[test]
fn documents_are_what_they_say_they_are() {
    for (mut random, table) in tables(Split::Train) {
        let json: serde_json::Value =
            serde_json::from_str(&Form::Json.write(&mut random, &table)).expect("JSON");
        let toml: toml::Table =
            toml::from_str(&Form::Toml.write(&mut random, &table)).expect("TOML");
        for (row, subject) in table.values.iter().zip(&table.subjects) {
            for ((key, _), value) in table.keys.iter().zip(row) {
                let (found, other) = (&json[subject][key], &toml[subject][key]);
                match value {
                    Value::Number(number) => {
                        assert_eq!(
                            (found.as_i64(), other.as_integer()),
                            (Some(*number), Some(*number))
                        );
                    }
                    Value::Text(text) => {
                        assert_eq!(
                            (found.as_str(), other.as_str()),
                            (Some(text.as_str()), Some(text.as_str()))
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn training_never_shows_a_held_out_form() {
    let drawn =
        |split: Split| (0..300).map(move |index| Form::draw(&mut split.random(1, index), split));
    assert!(drawn(Split::Train).all(|form| Form::TRAINED.contains(&form)));
    let held_out = drawn(Split::HeldOut)
        .filter(|form| Form::HELD_OUT.contains(form))
        .count();
    assert!((100..200).contains(&held_out), "{held_out} of 300");
}
