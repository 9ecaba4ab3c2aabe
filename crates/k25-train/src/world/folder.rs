//! Folders of documents with records in them, a question about them, and what is true.

use std::collections::BTreeMap;

use super::marks::{COLON, Marks};
use super::page::{Article, Field, Page, Record, Stated, Style};
use super::value::capitalized;
use super::words::{Words, phrase};
use super::{Form, Split, ValueKind};
use crate::random::Random;

/// A document and what it states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paper {
    /// Its text.
    pub text: String,
    /// Its rows, column by column; `None` where it does not state a value. Empty for a distractor.
    pub rows: Vec<Vec<Option<Stated>>>,
}

/// A folder of documents and a question about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// What the records are about, in the singular.
    pub noun: String,
    /// The columns, the key first.
    pub columns: Vec<String>,
    /// The question.
    pub question: String,
    /// The file in each entry that the question names.
    pub named_file: Option<String>,
    /// The one document with all records, where the question names it.
    pub named_table: Option<String>,
    /// The form of the documents that have records.
    pub form: Form,
    /// Documents by path.
    pub papers: BTreeMap<String, Paper>,
    /// For each entry at the top the document in it that a reader wants; itself where it is a document.
    pub wanted: BTreeMap<String, String>,
}

/// How large a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Entries at the top.
    pub entries: usize,
    /// Records of an entry's document, at most.
    pub records: usize,
    /// Columns beside the key, at most.
    pub columns: usize,
    /// How long documents are: lines of distraction, at most.
    pub noise: usize,
}

/// Names of the one file of several that a reader wants.
const MAIN_FILES: [&str; 8] = [
    "manifest", "metadata", "info", "package", "record", "about", "data", "details",
];
/// Names of the others.
const OTHER_FILES: [&str; 8] = [
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "notes.txt",
    "src/main.c",
    "tests/basic.txt",
    "build.sh",
    "TODO",
];
/// Keys of sections behind a record; they mislead.
const TAIL_SECTIONS: [&str; 6] = [
    "dependencies",
    "features",
    "lib",
    "profile",
    "options",
    "links",
];

/// Headings of an article's parts.
const HEADINGS: [&str; 10] = [
    "Details",
    "Data",
    "Overview",
    "At a glance",
    "Key figures",
    "Properties",
    "Summary",
    "Background",
    "See also",
    "Notes",
];

/// Keys of fields that are true or false.
const FLAGS: [&str; 12] = [
    "build",
    "autolib",
    "publish",
    "private",
    "essential",
    "enabled",
    "public",
    "archived",
    "autobins",
    "autotests",
    "multi-arch",
    "strict",
];
/// Keys of fields that name something close to a record.
const RELATIVES: [&str; 6] = ["source", "provides", "alias", "parent", "series", "group"];
/// Keys of addresses, which are taken for each other.
const LINKS: [&str; 8] = [
    "documentation",
    "homepage",
    "repository",
    "website",
    "source",
    "changelog",
    "bugs",
    "url",
];
/// Keys of fields that say what else a thing needs.
const NEEDS: [&str; 10] = [
    "depends",
    "requires",
    "recommends",
    "suggests",
    "breaks",
    "keywords",
    "categories",
    "tags",
    "authors",
    "replaces",
];

/// Lines of distraction up to which documents are little more than their records.
const LITTLE_NOISE: usize = 6;

/// Most rows of a document whose form is a table, where its folder has one record in most documents.
const TABLE_ROWS: usize = 12;

/// How often records of such a form lie in one table.
const ONE_TABLE: f64 = 0.7;
/// How often documents without a form of their own have a made-up ending.
const ANY_ENDING: f64 = 0.5;
/// How often a folder of a list has a version behind its name.
const VERSIONS: f64 = 0.3;
/// Folders that programs lie in.
const INNER_FOLDERS: [&str; 5] = ["src", "tests", "docs", "examples", "benches"];
/// Entries from which a folder is a long list.
const MANY_ENTRIES: usize = 20;

/// What one folder's records have in common.
struct Plan {
    split: Split,
    style: Style,
    /// Keys beside the name, and the kinds of their values.
    keys: Vec<(Vec<String>, ValueKind)>,
    /// Which keys are asked for, in the order of the columns.
    asked: Vec<usize>,
    name_key: Vec<String>,
    name_first: bool,
    naming: Naming,
    noise: usize,
}

/// What records and their files are called. A reader who takes a name from a path is wrong more often than right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// The file as the record.
    Alike,
    /// Records have words with capitals, which the file's name has with hyphens.
    Titles,
    /// Files have names that say nothing of the record.
    Apart,
}

impl Naming {
    fn draw(random: &mut Random) -> Self {
        match random.below(10) {
            0..4 => Self::Alike,
            4..7 => Self::Titles,
            _ => Self::Apart,
        }
    }

    fn record(self, random: &mut Random, words: &mut Words) -> String {
        match self {
            Self::Titles => words.title(random),
            _ => words.name(random),
        }
    }

    fn entry(self, random: &mut Random, words: &mut Words, record: &str) -> String {
        match self {
            Self::Alike => record.to_owned(),
            Self::Titles => record.to_lowercase().replace(' ', "-"),
            Self::Apart => match random.chance(0.5) {
                true => words.different(random),
                false => format!("{}-{:03}", words.different(random), random.below(300)),
            },
        }
    }
}

/// What the entries of one folder have in common where they are folders themselves.
struct List {
    /// How often a name ends in a version.
    versions: f64,
    /// Whether many files lie beside the wanted one, further in.
    of_programs: bool,
    /// For what only such lists have.
    random: Random,
}

impl List {
    /// Some lists are as folders of released programs are: a version behind each name, dozens of files in each. Held-out ones are
    /// as they were fixed, before that was known to matter.
    fn draw(random: &Random, split: Split) -> Self {
        let mut random = random.aside();
        let is_trained = split == Split::Train;
        let all_have_versions = is_trained && random.chance(0.35);
        Self {
            versions: if all_have_versions { 1.0 } else { VERSIONS },
            of_programs: is_trained && random.chance(0.5),
            random,
        }
    }
}

impl Folder {
    /// A folder of at most `size`.
    pub fn new(random: &mut Random, split: Split, size: Size) -> Self {
        let mut words = Words::new(split);
        let noun = words.noun(random);
        let plan = Plan::new(random, split, &mut words, &noun, size);
        let extension = plan.extension(random);
        let layout = random.below(10);
        let main_file = match random.chance(0.5) {
            true => (*random.pick::<&str>(&MAIN_FILES)).to_owned(),
            false => Words::word(random, split),
        };
        let main_file = match random.chance(0.3) {
            true => format!("{}.{extension}", capitalized(&main_file)),
            false => format!("{main_file}.{extension}"),
        };
        let named_file = (layout < 4).then(|| main_file.clone());
        let mut folder = Self {
            columns: plan.columns(random, &noun),
            question: String::new(),
            noun,
            named_file,
            named_table: None,
            form: plan.style.form,
            papers: BTreeMap::new(),
            wanted: BTreeMap::new(),
        };
        if plan.is_long_table()
            && layout >= 5
            && size.entries < MANY_ENTRIES
            && random.chance(ONE_TABLE)
        {
            folder.write_one_table(random, &plan, &mut words, size);
            folder.question = folder.ask(random);
            return folder;
        }
        folder.question = folder.ask(random);
        let mut list = List::draw(random, split);
        while folder.wanted.len() < size.entries {
            let records = match size.records {
                1 if plan.is_long_table() && layout >= 5 && random.chance(0.7) => {
                    2 + random.below(TABLE_ROWS - 1)
                }
                1 => 1,
                most if layout >= 5 && random.chance(0.5) => 2 + random.below(most - 1),
                _ => 1,
            };
            let records: Vec<Record> = (0..records)
                .map(|_| plan.record(random, &mut words))
                .collect();
            let mut entry = plan.naming.entry(random, &mut words, &records[0].name);
            if random.chance(list.versions) && layout < 5 {
                entry = format!("{entry}-{}", ValueKind::Version.draw(random, split));
            }
            let paper = plan.paper(random, &records);
            let (entry, path) = match layout {
                0..5 => (format!("{entry}/"), format!("{entry}/{main_file}")),
                _ => (
                    format!("{entry}.{extension}"),
                    format!("{entry}.{extension}"),
                ),
            };
            if layout < 5 {
                folder.add_others(random, &entry, split);
                folder.add_program(&mut list, &entry, split);
            }
            folder.papers.insert(path.clone(), paper);
            folder.wanted.insert(entry, path);
        }
        if layout >= 5 && size.entries > 2 && random.chance(0.3) {
            folder.add_distractor(random, split);
        }
        folder
    }

    /// All records in one table, and beside it other tables about other things.
    fn write_one_table(&mut self, random: &mut Random, plan: &Plan, words: &mut Words, size: Size) {
        let extension = self.form.extension();
        let count = 3 + random.below(TABLE_ROWS - 2);
        let records: Vec<Record> = (0..count).map(|_| plan.record(random, words)).collect();
        let name = match random.chance(0.5) {
            true => format!("{}s", self.noun),
            false => words.different(random),
        };
        let path = format!("{name}.{extension}");
        self.papers
            .insert(path.clone(), plan.paper(random, &records));
        self.wanted.insert(path.clone(), path.clone());
        let others = random.below(3);
        for _ in 0..others {
            let noun = words.noun(random);
            let form = self.form;
            let other = Plan::of_form(random, plan.split, words, &noun, size, form);
            let records: Vec<Record> = (0..2 + random.below(6))
                .map(|_| other.record(random, words))
                .collect();
            let paper = Paper {
                rows: Vec::new(),
                ..other.paper(random, &records)
            };
            let path = format!("{}.{extension}", words.different(random));
            self.papers.insert(path.clone(), paper);
            self.wanted.insert(path.clone(), path);
        }
        if random.chance(0.3) {
            self.add_distractor(random, plan.split);
        }
        self.named_table = (others > 0 || random.chance(0.5)).then_some(path);
    }

    /// Name, column and value of every cell that is no name and that a document states.
    pub fn stated_values(&self) -> Vec<[&str; 3]> {
        let mut values = Vec::new();
        for row in self.papers.values().flat_map(|paper| &paper.rows) {
            let Some(name) = &row[0] else { continue };
            for (column, cell) in self.columns.iter().zip(row).skip(1) {
                if let Some(stated) = cell {
                    values.push([&name.value, column, &stated.value].map(String::as_str));
                }
            }
        }
        values
    }

    /// Files beside the wanted one.
    fn add_others(&mut self, random: &mut Random, entry: &str, split: Split) {
        for _ in 0..random.below(4) {
            let name = format!("{entry}{}", random.pick::<&str>(&OTHER_FILES));
            self.papers.insert(name, noise_paper(random, split));
        }
    }

    /// Many files further in, in a list of programs.
    fn add_program(&mut self, list: &mut List, entry: &str, split: Split) {
        if !list.of_programs {
            return;
        }
        let random = &mut list.random;
        let inner = *random.pick(&INNER_FOLDERS);
        // Few or many: a product of two draws.
        for number in 0..random.below(10) * random.below(10) {
            let word = Words::word(random, split);
            let paper = Paper {
                text: format!("{word}\n"),
                rows: Vec::new(),
            };
            let path = format!("{entry}{inner}/{word}{number}.txt");
            self.papers.insert(path, paper);
        }
    }

    /// A document at the top that has no record.
    fn add_distractor(&mut self, random: &mut Random, split: Split) {
        let name =
            (*random.pick(&["README.md", "NOTES.txt", "index.txt", "CONTRIBUTING.md"])).to_owned();
        self.papers.insert(name.clone(), noise_paper(random, split));
        self.wanted.insert(name.clone(), name);
    }

    fn ask(&self, random: &mut Random) -> String {
        let (noun, rest) = (&self.noun, &self.columns[1..]);
        let commas = rest.join(", ");
        let spoken = match rest {
            [one] => one.clone(),
            [before @ .., last] => format!("{} and {last}", before.join(", ")),
            [] => String::new(),
        };
        let from = match self.named_file.as_ref().or(self.named_table.as_ref()) {
            Some(file) => match random.below(2) {
                0 => format!(" (from {file})"),
                _ => format!(" in {file}"),
            },
            None => String::new(),
        };
        match random.below(5) {
            0 | 1 => format!("For each {noun}{from}: {commas}."),
            2 => format!("List every {noun} with its {spoken}{from}."),
            3 => format!("What are the {spoken} of each {noun}{from}?"),
            _ => format!("Make a table of all {noun}s{from}: {commas}"),
        }
    }
}

/// A document about nothing in particular.
fn noise_paper(random: &mut Random, split: Split) -> Paper {
    let lines = 1 + random.below(8);
    let text: String = (0..lines)
        .map(|_| match random.below(4) {
            0 => String::from("\n"),
            1 => format!("# {}\n", Words::word(random, split)),
            _ => phrase(random, split, 4, 12) + "\n",
        })
        .collect();
    Paper {
        text,
        rows: Vec::new(),
    }
}

impl Plan {
    fn new(random: &mut Random, split: Split, words: &mut Words, noun: &str, size: Size) -> Self {
        let form = Form::draw(random, split);
        Self::of_form(random, split, words, noun, size, form)
    }

    fn of_form(
        random: &mut Random,
        split: Split,
        words: &mut Words,
        noun: &str,
        size: Size,
        form: Form,
    ) -> Self {
        let asked = 1 + random.below(size.columns);
        // What nobody asks for is most of a long document.
        let others = match form {
            Form::Csv | Form::MarkdownTable => 5,
            _ => 5 + size.noise / 3,
        };
        let count = asked + random.below(others);
        let keys: Vec<_> = (0..count)
            .map(|_| {
                let key = words.key_words(random);
                let kind = ValueKind::usual(random, &key.join("-"));
                (key, kind)
            })
            .collect();
        let mut order: Vec<usize> = (0..count).collect();
        random.shuffle(&mut order);
        let (name_key, is_plain) = match random.below(20) {
            0..8 => ("name".to_owned(), true),
            8..13 => (noun.to_owned(), true),
            13..16 => ("title".to_owned(), true),
            16 => ("id".to_owned(), true),
            _ => (words.different(random), false),
        };
        let style = style(random, split, words, noun, form, size.noise);
        Self {
            split,
            style,
            keys,
            asked: order[..asked].to_vec(),
            name_key: vec![name_key],
            // A key that nobody would look for tells what it is by its place.
            name_first: !is_plain || random.chance(0.7),
            naming: Naming::draw(random),
            noise: size.noise,
        }
    }

    /// What the names of its documents end with. Lines with any marks are in files of any ending, so that an ending never seen is
    /// one more to copy; folders that are held out keep the ending of their form.
    fn extension(&self, random: &mut Random) -> String {
        let form = self.style.form;
        let is_any = matches!(form, Form::Records | Form::Marked | Form::Prose);
        match is_any && self.split == Split::Train && random.chance(ANY_ENDING) {
            true => Words::word(random, self.split)
                .to_lowercase()
                .chars()
                .take(2 + random.below(4))
                .collect(),
            false => form.extension().to_owned(),
        }
    }

    /// Whether a document of this form has a row per record, and more than a few of them.
    fn is_long_table(&self) -> bool {
        use Form::{Csv, JsonLines, MarkdownTable};
        self.noise > LITTLE_NOISE && matches!(self.style.form, Csv | JsonLines | MarkdownTable)
    }

    /// The columns as they are asked for: mostly spelled as the documents spell them.
    fn columns(&self, random: &mut Random, noun: &str) -> Vec<String> {
        let joint = match random.below(3) {
            0 => "-",
            1 => "_",
            _ if self.style.joint == " " => "_",
            _ => self.style.joint,
        };
        let own_name = self.name_key[0] == noun && random.chance(0.3);
        let key = if own_name {
            noun.to_owned()
        } else {
            "name".to_owned()
        };
        let asked = self.asked.iter().map(|key| self.keys[*key].0.join(joint));
        std::iter::once(key).chain(asked).collect()
    }

    fn record(&self, random: &mut Random, words: &mut Words) -> Record {
        let name = self.naming.record(random, words);
        let is_table = matches!(self.style.form, Form::Csv);
        let mut fields: Vec<Field> = Vec::new();
        for (index, (key, kind)) in self.keys.iter().enumerate() {
            let column = self
                .asked
                .iter()
                .position(|asked| *asked == index)
                .map(|at| at + 1);
            let is_there = random.chance(if column.is_some() { 0.82 } else { 0.75 });
            let mut values = match is_there {
                true => vec![kind.draw(random, self.split).to_string()],
                false => Vec::new(),
            };
            if column.is_none() && is_there && random.chance(0.2) && !is_table {
                let more = 1 + random.below(if self.noise > LITTLE_NOISE { 6 } else { 2 });
                values.extend((0..more).map(|_| kind.draw(random, self.split).to_string()));
            }
            fields.push(Field {
                column,
                ..Field::new(&key.join("-"), values)
            });
        }
        if self.style.form != Form::Csv
            && self.style.form != Form::MarkdownTable
            && random.chance(0.4)
        {
            random.shuffle(&mut fields);
        }
        if self.noise > LITTLE_NOISE && !is_table {
            self.add_noise(random, &name, &mut fields);
        }
        let at = if self.name_first || is_table {
            0
        } else {
            random.below(fields.len() + 1)
        };
        let at = if self.style.form == Form::Prose {
            0
        } else {
            at
        };
        let key = self.name_key.clone();
        fields.insert(
            at,
            Field {
                key,
                column: Some(0),
                ..Field::new("", vec![name.clone()])
            },
        );
        Record { name, fields }
    }

    /// Fields that nobody asks for: descriptions, flags, long lists of what a thing needs.
    fn add_noise(&self, random: &mut Random, name: &str, fields: &mut Vec<Field>) {
        let split = self.split;
        let mut noise = Vec::new();
        for _ in 0..random.below(3) {
            let key = random.pick::<&str>(&RELATIVES);
            noise.push(Field::new(key, vec![relative(random, split, name)]));
        }
        for _ in 0..random.below(4) {
            let key = random.pick::<&str>(&LINKS);
            let url = ValueKind::Url.draw(random, split).to_string();
            let text = match random.chance(0.4) {
                true => format!("{}/{name}", url.trim_end_matches('/')),
                false => url,
            };
            noise.push(Field::new(key, vec![text]));
        }
        if random.chance(0.5) {
            let text = phrase(random, split, 5, 14);
            let mut field = Field::new("description", vec![text]);
            if random.chance(0.3) {
                let lines = 1 + random.below(6);
                field.under = (0..lines).map(|_| phrase(random, split, 3, 12)).collect();
            }
            noise.push(field);
        }
        for _ in 0..random.below(4) {
            let key = random.pick::<&str>(&FLAGS);
            let value = ValueKind::Flag.draw(random, split).to_string();
            noise.push(Field::new(key, vec![value]));
        }
        for _ in 0..random.below(3) {
            let key = random.pick::<&str>(&NEEDS);
            let items = (0..1 + random.below(8)).map(|_| need(random, split));
            let text = items.collect::<Vec<_>>().join(", ");
            noise.push(Field::new(key, vec![text]));
        }
        for field in noise {
            let is_there = |other: &Field| other.key == field.key;
            if !fields.iter().any(is_there) {
                fields.insert(random.below(fields.len() + 1), field);
            }
        }
    }

    fn paper(&self, random: &mut Random, records: &[Record]) -> Paper {
        let mut page = Page::default();
        page.write(&self.style, records, self.asked.len() + 1, random);
        let (text, rows) = page.finish();
        Paper { text, rows }
    }
}

/// A name that looks like another one, with or without its version.
fn relative(random: &mut Random, split: Split, name: &str) -> String {
    let stem = name.split(['-', '_']).next().unwrap_or(name);
    let other = match random.below(3) {
        0 => stem.to_owned(),
        1 => format!("{stem}-{}", Words::word(random, split)),
        _ => format!("lib{stem}"),
    };
    match random.chance(0.4) {
        true => format!("{other} ({})", ValueKind::Version.draw(random, split)),
        false => other,
    }
}

/// Something that is needed, with or without a bound on its version.
fn need(random: &mut Random, split: Split) -> String {
    let word = Words::word(random, split);
    match random.below(3) {
        0 => format!("{word} (>= {})", ValueKind::Version.draw(random, split)),
        1 => format!("{word}{}", random.between(1, 9)),
        _ => word,
    }
}

/// How a folder's documents look, drawn once.
fn style(
    random: &mut Random,
    split: Split,
    words: &mut Words,
    noun: &str,
    form: Form,
    noise: usize,
) -> Style {
    use Form::{Csv, Json, JsonLines, MarkdownList, MarkdownTable, Marked, Prose, Records, Yaml};
    let spaced = matches!(form, Records | Marked | MarkdownList | MarkdownTable | Csv);
    let marks = match form {
        MarkdownList => Marks::of_list(random),
        Records => Marks::of_records(random),
        Marked => Marks::any(random),
        _ => COLON,
    };
    let absent: &[&'static str] = match form {
        Json | JsonLines => &["null", "null", "\"\""],
        Yaml => &["", "~", "null"],
        Csv | MarkdownTable => &["-", "n/a", "unknown", "—"],
        Records | Marked | MarkdownList => &["-", "n/a", "", "unknown"],
        _ => &[],
    };
    Style {
        form,
        joint: match random.below(6) {
            0 | 1 => "-",
            2 if matches!(form, Json | JsonLines | Yaml) => "",
            2 | 3 if spaced => " ",
            _ => "_",
        },
        capitals: spaced && random.chance(0.7),
        absent: (!absent.is_empty() && random.chance(0.35)).then(|| *random.pick(absent)),
        separator: match random.below(6) {
            0 => ';',
            1 => '\t',
            _ => ',',
        },
        flat_lists: random.chance(0.5),
        marks,
        wrapper: (matches!(form, Json | Yaml) && random.chance(0.3)).then(|| noun.to_owned()),
        section: match form {
            Prose => noun.to_owned(),
            _ => section(random, noun, form),
        },
        head: head(random, split, form, noise),
        tail: tail(random, split, words, form, noise),
        article: article(random, split, form),
    }
}

/// Whether documents of one record are articles.
fn article(random: &mut Random, split: Split, form: Form) -> Option<Article> {
    let is_markdown = matches!(form, Form::MarkdownList | Form::MarkdownTable);
    if !is_markdown || random.chance(0.35) {
        return None;
    }
    let heading = |random: &mut Random| match random.chance(0.5) {
        true => (*random.pick::<&str>(&HEADINGS)).to_owned(),
        false => capitalized(&Words::word(random, split)),
    };
    Some(Article {
        split,
        heading: random.chance(0.8).then(|| heading(random)),
        rest: (0..random.below(3)).map(|_| heading(random)).collect(),
    })
}

fn section(random: &mut Random, noun: &str, form: Form) -> String {
    match form {
        Form::Yaml => String::new(),
        _ if random.chance(0.5) => "package".to_owned(),
        _ => noun.to_owned(),
    }
}

/// Comment lines at the top.
fn head(random: &mut Random, split: Split, form: Form, noise: usize) -> Vec<String> {
    let mark = match form {
        Form::Toml | Form::Yaml | Form::Ini => "# ",
        Form::Marked => random.pick::<&str>(&["# ", "// ", "; ", "-- ", "% "]),
        Form::Records | Form::Prose => "",
        _ => return Vec::new(),
    };
    if random.chance(0.5) {
        return Vec::new();
    }
    let count = match random.chance(0.3) {
        true => 1 + random.below(2),
        false => random.below(noise + 1),
    };
    let mut lines: Vec<String> = (0..count)
        .map(|_| format!("{mark}{}", phrase(random, split, 4, 12)))
        .collect();
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

/// Sections behind the record: the same keys with other values.
fn tail(
    random: &mut Random,
    split: Split,
    words: &mut Words,
    form: Form,
    noise: usize,
) -> Vec<Record> {
    let has_sections = matches!(form, Form::Toml | Form::Ini | Form::MarkdownList);
    let is_long = noise > LITTLE_NOISE;
    if !has_sections || random.chance(if is_long { 0.2 } else { 0.4 }) {
        return Vec::new();
    }
    // Many a record of this form is a small part of its document.
    let count = match is_long && random.chance(0.6) {
        true => 15 + random.below(20),
        false => random.below(noise / 3 + 1),
    };
    (0..count)
        .map(|_| {
            let mut name = (*random.pick(&TAIL_SECTIONS)).to_owned();
            if random.chance(0.6) && form != Form::MarkdownList {
                name = format!("{name}.{}", words.name(random));
            }
            let fields = (0..1 + random.below(3)).map(|_| {
                let key = match random.below(3) {
                    0 => vec!["version".to_owned()],
                    1 => vec!["name".to_owned()],
                    _ => words.key_words(random),
                };
                let kind = ValueKind::usual(random, &key.join("-"));
                let values = vec![kind.draw(random, split).to_string()];
                Field::new(&key.join("-"), values)
            });
            Record {
                fields: fields.collect(),
                name,
            }
        })
        .collect()
}
