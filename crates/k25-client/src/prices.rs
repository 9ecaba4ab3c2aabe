//! What answers cost in money.

use std::collections::BTreeMap;

use k25_chat::ChatUsage;
use serde::Deserialize;

/// Prices of one model, per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// Of the prompt, where it was not cached.
    pub input: f64,
    /// Of the prompt, where it was.
    pub cached_input: f64,
    /// Of the answer, reasoning included.
    pub output: f64,
}

/// Prices by model, all in one currency.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceTable {
    /// As in `USD`.
    pub currency: String,
    /// Prices by the model's name.
    pub models: BTreeMap<String, Prices>,
}

impl Prices {
    /// What `usage` costs.
    pub fn cost(&self, usage: &ChatUsage) -> f64 {
        const MILLION: f64 = 1e6;
        let cached = usage.cached_tokens.min(usage.prompt_tokens);
        let fresh = usage.prompt_tokens - cached;
        let sum = fresh as f64 * self.input
            + cached as f64 * self.cached_input
            + usage.completion_tokens as f64 * self.output;
        sum / MILLION
    }
}

impl PriceTable {
    /// Reads `{"currency": "USD", "models": {"kimi-k2.5": {"input": 0.6, "cached_input": 0.1, "output": 3.0}}}`.
    ///
    /// # Errors
    /// If it is not of this form.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// What an answer of `model` costs; `None` if its price is not known.
    pub fn cost(&self, model: &str, usage: &ChatUsage) -> Option<f64> {
        self.models.get(model).map(|prices| prices.cost(usage))
    }
}

/// The hosted service's prices of Kimi K2.5 (specification of the service surface, section 6).
impl Default for PriceTable {
    fn default() -> Self {
        let prices = Prices {
            input: 0.60,
            cached_input: 0.10,
            output: 3.00,
        };
        PriceTable {
            currency: "USD".to_owned(),
            models: BTreeMap::from([("kimi-k2.5".to_owned(), prices)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_cost_less() {
        let usage = ChatUsage {
            prompt_tokens: 3_000_000,
            cached_tokens: 1_000_000,
            completion_tokens: 500_000,
            reasoning_tokens: 400_000,
        };
        let cost = PriceTable::default()
            .cost("kimi-k2.5", &usage)
            .expect("known");
        assert!((cost - (2.0 * 0.6 + 0.1 + 1.5)).abs() < 1e-9, "{cost}");
        assert_eq!(PriceTable::default().cost("other", &usage), None);
    }

    #[test]
    fn tables_are_read() {
        let text =
            r#"{"currency": "EUR", "models": {"m": {"input": 1, "cached_input": 0, "output": 2}}}"#;
        let table = PriceTable::parse(text).expect("a table");
        assert_eq!(table.models["m"].output, 2.0);
        assert!(PriceTable::parse(r#"{"currency": "EUR"}"#).is_err());
    }
}
