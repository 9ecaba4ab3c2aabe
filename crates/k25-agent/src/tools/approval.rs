//! Approvals: which calls run, which are asked about, and which are refused, by tool and argument.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{CallContext, Calling, Effect, FailureKind, Tool, ToolError};
use crate::table::shortened;

/// What is done with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It runs.
    Allow,
    /// A person is asked.
    Ask,
    /// It does not run.
    Deny,
}

/// Which calls a rule is about: a tool's name, or `NAME(PATTERN)` or `NAME(ARGUMENT=PATTERN)`. In names
/// and patterns `*` stands for anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    tool: String,
    argument: Option<String>,
    pattern: Option<String>,
}

/// Why a rule is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule:?} is no rule: {why}")]
pub struct RuleError {
    /// What was given.
    pub rule: String,
    /// What is wrong.
    pub why: &'static str,
}

impl RuleError {
    /// What would be right.
    pub fn hint(&self) -> &str {
        "write TOOL, TOOL(PATTERN) or TOOL(ARGUMENT=PATTERN), as in python, \"browse(url=https://docs.rs/*)\""
    }
}

impl Rule {
    /// Reads a rule.
    ///
    /// # Errors
    /// When it has no tool, or parentheses that do not close.
    pub fn new(text: &str) -> Result<Self, RuleError> {
        let wrong = |why| RuleError {
            rule: text.to_owned(),
            why,
        };
        let (tool, inner) = match text.split_once('(') {
            None => (text, None),
            Some((tool, rest)) => {
                let inner = rest.strip_suffix(')');
                (
                    tool,
                    Some(inner.ok_or_else(|| wrong("a parenthesis stays open"))?),
                )
            }
        };
        let tool = tool.trim();
        if tool.is_empty() {
            return Err(wrong("it names no tool"));
        }
        if tool.contains(')') {
            return Err(wrong("a parenthesis closes that was not open"));
        }
        let is_name = |name: &str| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_alphanumeric() || "_-".contains(c))
        };
        let (argument, pattern) = match inner.map(|inner| (inner, inner.split_once('='))) {
            None => (None, None),
            Some((_, Some((name, pattern)))) if is_name(name.trim()) => {
                (Some(name.trim().to_owned()), Some(pattern.to_owned()))
            }
            Some((pattern, _)) => (None, Some(pattern.to_owned())),
        };
        Ok(Rule {
            tool: tool.to_owned(),
            argument,
            pattern,
        })
    }

    /// Whether it is about this call.
    fn fits(&self, tool: &str, arguments: &Value) -> bool {
        if !matches(&self.tool, tool) {
            return false;
        }
        let Some(pattern) = &self.pattern else {
            return true;
        };
        let is_meant = |name: &str| self.argument.as_deref().is_none_or(|wanted| wanted == name);
        let said = |value: &Value| match value {
            Value::String(text) => matches(pattern, text),
            other => matches(pattern, &other.to_string()),
        };
        let fields = arguments.as_object().into_iter().flatten();
        fields
            .filter(|(name, _)| is_meant(name))
            .any(|(_, value)| said(value))
    }
}

/// Whether a text is of a pattern whose `*` stand for anything. Time grows with the product of both
/// lengths, at most.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at_pattern, mut at_text) = (0, 0);
    // Where to go on when the text does not fit: behind the last star, one byte later.
    let mut last_star = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                last_star = Some((at_pattern + 1, at_text));
                at_pattern += 1;
            }
            Some(byte) if *byte == text[at_text] => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => {
                let Some((behind_star, from)) = last_star else {
                    return false;
                };
                last_star = Some((behind_star, from + 1));
                (at_pattern, at_text) = (behind_star, from + 1);
            }
        }
    }
    pattern[at_pattern..].iter().all(|byte| *byte == b'*')
}

/// All rules. What is denied by one is denied whatever the others say; then what must be asked about is;
/// then what is allowed runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Calls that run.
    pub allow: Vec<Rule>,
    /// Calls that a person is asked about.
    pub ask: Vec<Rule>,
    /// Calls that do not run.
    pub deny: Vec<Rule>,
}

impl Rules {
    /// What is done with a call. Where rules allow something, what they do not name is asked about.
    pub fn verdict(&self, tool: &str, arguments: &Value) -> Verdict {
        let any = |rules: &[Rule]| rules.iter().any(|rule| rule.fits(tool, arguments));
        if any(&self.deny) {
            Verdict::Deny
        } else if any(&self.ask) {
            Verdict::Ask
        } else if self.allow.is_empty() || any(&self.allow) {
            Verdict::Allow
        } else {
            Verdict::Ask
        }
    }
}

/// A question to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The task whose agent asks.
    pub task: String,
    /// The tool.
    pub tool: String,
    /// The arguments, as JSON.
    pub arguments: String,
}

/// A person's answer on its way.
pub type Answering<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// Whoever is asked about calls.
pub trait Approver: Send + Sync {
    /// Whether the call may run.
    fn approve(&self, question: Question) -> Answering<'_>;
}

/// Nobody is there: what would be asked about does not run.
#[derive(Debug, Clone, Copy, Default)]
pub struct NobodyThere;

impl Approver for NobodyThere {
    fn approve(&self, _: Question) -> Answering<'_> {
        Box::pin(std::future::ready(false))
    }
}

/// A tool whose calls go through the rules.
pub struct Guarded {
    tool: Arc<dyn Tool>,
    rules: Arc<Rules>,
    approver: Arc<dyn Approver>,
}

impl Guarded {
    /// Puts the rules around a tool.
    pub fn new(tool: Arc<dyn Tool>, rules: Arc<Rules>, approver: Arc<dyn Approver>) -> Self {
        Guarded {
            tool,
            rules,
            approver,
        }
    }

    async fn may_run(&self, arguments: &Value, context: &CallContext) -> Result<(), ToolError> {
        let refused = |text: &str| Err(ToolError::new(FailureKind::Refused, text));
        match self.rules.verdict(self.tool.name(), arguments) {
            Verdict::Allow => Ok(()),
            Verdict::Deny => refused("the user does not allow this call; go on without it"),
            Verdict::Ask => {
                let question = Question {
                    task: context.task.clone(),
                    tool: self.tool.name().to_owned(),
                    arguments: shortened(&arguments.to_string(), MAX_SHOWN),
                };
                if self.approver.approve(question).await {
                    return Ok(());
                }
                refused("the user did not approve this call; go on without it")
            }
        }
    }
}

/// Longest arguments that a person is shown, in bytes.
const MAX_SHOWN: usize = 4_000;

impl Tool for Guarded {
    fn name(&self) -> &str {
        self.tool.name()
    }

    fn description(&self) -> &str {
        self.tool.description()
    }

    fn schema(&self) -> Value {
        self.tool.schema()
    }

    fn effect(&self) -> Effect {
        self.tool.effect()
    }

    /// None: a person may take their time. The tool's own holds for the call itself.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    fn max_output_bytes(&self) -> usize {
        self.tool.max_output_bytes()
    }

    fn call(&self, arguments: Value, context: CallContext) -> Calling<'_> {
        Box::pin(async move {
            self.may_run(&arguments, &context).await?;
            let call = self.tool.call(arguments, context);
            let Some(timeout) = self.tool.timeout() else {
                return call.await;
            };
            let late = |_| {
                let text = format!("no result within {} s", timeout.as_secs().max(1));
                ToolError::new(FailureKind::Timeout, text)
            };
            tokio::time::timeout(timeout, call).await.map_err(late)?
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn rules(allow: &[&str], ask: &[&str], deny: &[&str]) -> Rules {
        let read = |rules: &[&str]| rules.iter().map(|rule| Rule::new(rule).unwrap()).collect();
        Rules {
            allow: read(allow),
            ask: read(ask),
            deny: read(deny),
        }
    }

    #[test]
    fn the_strictest_rule_decides() {
        let rules = rules(
            &["open", "browse(url=https://docs.rs/*)", "mcp_*"],
            &["mcp_mail_send"],
            &["*(*/etc/*)", "browse(url=*@*)"],
        );
        let verdict = |tool: &str, arguments: Value| rules.verdict(tool, &arguments);
        assert_eq!(verdict("open", json!({"path": "a.txt"})), Verdict::Allow);
        assert_eq!(
            verdict("open", json!({"path": "/etc/passwd"})),
            Verdict::Deny
        );
        let url = |url: &str| verdict("browse", json!({"url": url, "n": 1}));
        assert_eq!(url("https://docs.rs/tokio"), Verdict::Allow);
        assert_eq!(url("https://docs.rs.evil.org/"), Verdict::Ask);
        assert_eq!(url("https://docs.rs/a@b"), Verdict::Deny);
        assert_eq!(verdict("mcp_mail_read", json!({})), Verdict::Allow);
        assert_eq!(verdict("mcp_mail_send", json!({})), Verdict::Ask);
        assert_eq!(verdict("python", json!({"code": "1"})), Verdict::Ask);
        assert_eq!(
            Rules::default().verdict("python", &json!({})),
            Verdict::Allow
        );
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for bad in ["", "(x)", "open(x", "open)x(", "  "] {
            assert!(Rule::new(bad).is_err(), "{bad:?}");
        }
        // A pattern that holds an equals sign, where what stands before it is no argument's name.
        let rule = Rule::new("browse(https://x/?a=b)").unwrap();
        assert!(rule.fits("browse", &json!({"url": "https://x/?a=b"})));
    }

    proptest! {
        #[test]
        fn patterns_agree_with_the_definition(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
            fn slow(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.first(), text.first()) {
                    (None, None) => true,
                    (Some(b'*'), _) => {
                        slow(&pattern[1..], text) || !text.is_empty() && slow(pattern, &text[1..])
                    }
                    (Some(p), Some(t)) => p == t && slow(&pattern[1..], &text[1..]),
                    _ => false,
                }
            }
            prop_assert_eq!(matches(&pattern, &text), slow(pattern.as_bytes(), text.as_bytes()));
        }
    }

    struct Echo;

    impl Tool for Echo {
        fn name(&self) -> &str {
            "echo"
        }
        fn description(&self) -> &str {
            "Say it."
        }
        fn schema(&self) -> Value {
            json!({"type": "object", "properties": {}})
        }
        fn call(&self, _: Value, _: CallContext) -> Calling<'_> {
            Box::pin(std::future::ready(Ok("said".to_owned().into())))
        }
    }

    /// Says yes to questions whose arguments hold this.
    struct YesTo(&'static str);

    impl Approver for YesTo {
        fn approve(&self, question: Question) -> Answering<'_> {
            Box::pin(std::future::ready(question.arguments.contains(self.0)))
        }
    }

    #[tokio::test]
    async fn a_call_runs_when_rules_and_person_agree() {
        let asked = Arc::new(rules(&[], &["echo"], &["echo(never)"]));
        let context = || CallContext {
            task: "main".to_owned(),
            call: "functions.echo:0".to_owned(),
            group: 1,
        };
        let person = Guarded::new(
            Arc::new(Echo),
            Arc::clone(&asked),
            Arc::new(YesTo("please")),
        );
        let yes = person
            .call(json!({"a": "please"}), context())
            .await
            .unwrap();
        assert_eq!(yes.text, "said");
        let no = person.call(json!({"a": "x"}), context()).await.unwrap_err();
        assert_eq!(no.kind, FailureKind::Refused);
        assert!(no.message.contains("did not approve"));
        let never = person
            .call(json!({"a": "never"}), context())
            .await
            .unwrap_err();
        assert!(never.message.contains("does not allow"));
        let alone = Guarded::new(Arc::new(Echo), asked, Arc::new(NobodyThere));
        assert!(alone.call(json!({"a": "please"}), context()).await.is_err());
    }
}
