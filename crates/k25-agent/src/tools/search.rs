//! `search`: the lines of the documents that answer a few words best.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{CallContext, Calling, FailureKind, Tool, ToolError, ToolOutput};
use crate::documents::{Documents, Hit, SearchIndex};
use crate::table::shortened;

/// Full-text search. The index is built when it is first asked.
pub struct Search {
    documents: Arc<Documents>,
    index: OnceCell<Arc<SearchIndex>>,
    hits: usize,
}

impl Search {
    /// The tool over these documents; a call shows at most `hits` lines.
    pub fn new(documents: Arc<Documents>, hits: usize) -> Self {
        Search {
            documents,
            index: OnceCell::new(),
            hits,
        }
    }

    /// The path to open: of the record that has the line, so that nobody reads a long list for one of its records.
    fn place(&self, hit: &Hit) -> String {
        let record = self.documents.record(&hit.path, hit.line);
        record.map_or_else(|| hit.path.clone(), |part| part.path())
    }

    async fn index(&self) -> Result<&Arc<SearchIndex>, ToolError> {
        let build = || async {
            let documents = Arc::clone(&self.documents);
            let build = tokio::task::spawn_blocking(move || SearchIndex::build(&documents));
            let failed = |message: String| ToolError::new(FailureKind::Internal, message);
            let index = build.await.map_err(|error| failed(error.to_string()))?;
            index
                .map(Arc::new)
                .map_err(|error| failed(error.to_string()))
        };
        self.index.get_or_try_init(build).await
    }
}

impl Tool for Search {
    fn name(&self) -> &str {
        "search"
    }

    fn description(&self) -> &str {
        "Find lines in the documents by words."
    }

    fn schema(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "query": {"type": "string"},
                "path": {"type": "string", "description": "only below this path"},
            },
            "required": ["query"],
        })
    }

    fn timeout(&self) -> Option<std::time::Duration> {
        // The first call builds the index.
        Some(std::time::Duration::from_secs(300))
    }

    fn call(&self, arguments: Value, _: CallContext) -> Calling<'_> {
        Box::pin(async move {
            let query = arguments["query"].as_str().unwrap_or_default();
            let within = arguments["path"].as_str().unwrap_or_default();
            let within = within.trim_start_matches("./");
            let within = if within == "." { "" } else { within };
            let within = self
                .documents
                .split(within)
                .map_or(within, |(path, _)| path);
            let index = self.index().await?;
            let hits = index
                .add_pages(&self.documents)
                .and_then(|()| index.search(query, within, self.hits))
                .map_err(|error| ToolError::new(FailureKind::Internal, error.to_string()))?;
            if hits.is_empty() {
                return Ok("nothing found".to_owned().into());
            }
            let lines = hits.iter().map(|hit| {
                let path = self.place(hit);
                format!("{path}:{}: {}", hit.line, shortened(hit.text.trim(), 160))
            });
            Ok(ToolOutput::from(lines.collect::<Vec<_>>().join("\n")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn found(search: &Search, arguments: Value) -> String {
        let context = CallContext {
            task: "1".to_owned(),
            call: "1".to_owned(),
            group: 1,
        };
        let output = search.call(arguments, context).await;
        output.expect("hits").text
    }

    #[tokio::test]
    async fn a_hit_in_a_list_names_its_record() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        file(
            "lamps.txt",
            "name: brook\nsince: 3\n\nname: heath\nsince: 5\n",
        );
        file("rows.csv", "name,since\nmoor,1871\nfen,1880\n");
        file("plain.txt", "nothing but words of a glade\n");
        let documents = Arc::new(Documents::open(dir.path()).unwrap());
        let search = Search::new(documents, 4);
        for (query, expected) in [
            ("heath", "lamps.txt/4-5:4: name: heath"),
            ("fen", "rows.csv/3:3: fen,1880"),
            ("glade", "plain.txt:1: nothing but words of a glade"),
        ] {
            assert_eq!(found(&search, json!({"query": query})).await, expected);
        }
        let within = json!({"query": "heath", "path": "lamps.txt/4-5"});
        let expected = "lamps.txt/4-5:4: name: heath";
        assert_eq!(found(&search, within).await, expected);
    }
}
