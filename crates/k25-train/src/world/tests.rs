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

fn folders(split: Split) -> impl Iterator<Item = Folder> {
    (0..300).map(move |index| {
        let mut random = split.random(5, index);
        let size = Size {
            entries: 1 + random.below(5),
            records: 5,
            columns: 5,
            noise: random.below(20),
        };
        Folder::new(&mut random, split, size)
    })
}

#[test]
fn folders_repeat() {
    assert!(folders(Split::HeldOut).eq(folders(Split::HeldOut)));
}

/// What a folder says is true stands in its documents, on the line that it names.
#[test]
fn stated_values_stand_on_their_lines() {
    let (mut stated_values, mut missing) = (0, 0);
    for folder in folders(Split::Train).chain(folders(Split::HeldOut)) {
        assert!(
            folder.columns[1..]
                .iter()
                .all(|column| folder.question.contains(column)),
            "{}",
            folder.question
        );
        for path in folder.wanted.values() {
            assert!(folder.papers.contains_key(path), "{path}");
        }
        for (path, paper) in &folder.papers {
            let lines: Vec<&str> = paper.text.lines().collect();
            for row in &paper.rows {
                assert_eq!(row.len(), folder.columns.len());
                assert!(
                    row[0].is_some(),
                    "{path} has a row without a name:\n{}",
                    paper.text
                );
                for stated in row.iter().flatten() {
                    let line = lines[stated.line - 1];
                    assert!(
                        Stated::is_said(&stated.value, line),
                        "{path}:{} {line:?}: {:?}",
                        stated.line,
                        stated.value
                    );
                }
                stated_values += row.iter().flatten().count();
                missing += row.iter().filter(|cell| cell.is_none()).count();
            }
        }
    }
    assert!(
        missing * 4 > stated_values / 4 && missing < stated_values,
        "{missing} of {stated_values}"
    );
}

/// A value that is given as missing is on no line with its key, or a mark stands in its place.
#[test]
fn missing_values_are_missing() {
    for folder in folders(Split::Train) {
        for paper in folder
            .papers
            .values()
            .filter(|paper| paper.rows.len() == 1 && paper.text.contains(": "))
        {
            // Later sections may have a version of their own.
            let has_sections = paper.text.contains("\n## ") || paper.text.contains("\n[");
            let cells = folder.columns.iter().zip(&paper.rows[0]).skip(1);
            for (column, cell) in cells.filter(|(column, _)| !has_sections || *column != "version")
            {
                let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' ', '*', '"'], "");
                let key = format!("{}:", plain(column));
                let marks = ["", "-", "n/a", "unknown", "—", "~", "null", "null,", ","];
                let found = paper.text.lines().any(|line| {
                    let rest = plain(line).strip_prefix(&key).map(|rest| {
                        rest.trim_end_matches([';', '.', '|', '!'])
                            .trim()
                            .to_owned()
                    });
                    rest.is_some_and(|rest| !marks.contains(&rest.as_str()))
                });
                assert!(
                    cell.is_some() || !found,
                    "{column} is there:\n{}",
                    paper.text
                );
            }
        }
    }
}

/// A table that a question names is the only document with rows; and some documents are articles.
#[test]
fn a_named_table_has_all_rows() {
    let (mut named, mut articles) = (0, 0);
    for folder in (0..400).map(|index| {
        let mut random = Split::Train.random(7, index);
        let size = Size {
            entries: 3,
            records: 1,
            columns: 5,
            noise: random.below(30),
        };
        Folder::new(&mut random, Split::Train, size)
    }) {
        let papers = folder.papers.iter();
        let with_rows: Vec<_> = papers.filter(|(_, paper)| !paper.rows.is_empty()).collect();
        let are_articles = with_rows
            .iter()
            .filter(|(_, paper)| paper.text.starts_with("# "));
        articles += are_articles.count();
        let Some(table) = &folder.named_table else {
            continue;
        };
        named += 1;
        assert!(
            folder.question.contains(table.as_str()),
            "{}",
            folder.question
        );
        let [(path, paper)] = with_rows.as_slice() else {
            panic!("rows in {} documents", with_rows.len());
        };
        assert_eq!(*path, table);
        assert!(paper.rows.len() >= 3);
    }
    assert!(named > 5 && articles > 20, "{named} {articles}");
}
