//! What part of a model an operation belongs to: attention, MLP, norm, ...
//!
//! A component is told by the scope path, the innermost part that a rule knows; collectives and
//! copies between devices by what the operation is. Users' rules come before the built-in ones.

use std::collections::BTreeMap;

use serde::Serialize;
use xscope_trace::Picos;
use xscope_trace::stats::share;

use crate::error::{Error, Result};

/// The component, and the category, of what no rule knows.
pub const UNKNOWN: &str = "unknown";

/// The component of operations that move data between devices.
pub(crate) const COLLECTIVES: &str = "collectives";

/// The component of copies on one device.
pub(crate) const COPIES: &str = "copies";

/// Parts of scope names, in lower case, and the component that they stand for. The first that a
/// part contains counts, so what is more telling comes first.
const RULES: [(&str, &str); 42] = [
    ("layernorm", "norm"),
    ("layer_norm", "norm"),
    ("rms_norm", "norm"),
    ("rmsnorm", "norm"),
    ("log_softmax", "logits"),
    ("lm_head", "logits"),
    ("mlmhead", "logits"),
    ("lmprediction", "logits"),
    ("logits", "logits"),
    ("logprob", "logits"),
    ("unembed", "logits"),
    ("sampler", "sampler"),
    ("sampling", "sampler"),
    ("gumbel", "sampler"),
    ("top_k", "sampler"),
    ("top_p", "sampler"),
    ("rotary", "attention"),
    ("rope", "attention"),
    ("embed", "embedding"),
    ("wte", "embedding"),
    ("attention", "attention"),
    ("attn", "attention"),
    ("qkv", "attention"),
    ("q_proj", "attention"),
    ("k_proj", "attention"),
    ("v_proj", "attention"),
    ("o_proj", "attention"),
    ("flash", "attention"),
    ("kv_cache", "attention"),
    ("moe", "mlp"),
    ("expert", "mlp"),
    ("router", "mlp"),
    ("mlp", "mlp"),
    ("ffn", "mlp"),
    ("feed_forward", "mlp"),
    ("gate_proj", "mlp"),
    ("up_proj", "mlp"),
    ("down_proj", "mlp"),
    ("norm", "norm"),
    ("loss", "loss"),
    ("optimizer", "optimizer"),
    ("adam", "optimizer"),
];

/// Parts that must match as a whole.
const WHOLE: [(&str, &str); 2] = [("sgd", "optimizer"), ("head", "logits")];

/// What the names of classes of PyTorch's modules end with, as in `BertOutput_3`.
const CLASSES: [(&str, &str); 3] =
    [("SelfOutput", "attention"), ("Output", "mlp"), ("Intermediate", "mlp")];

/// A user's rule: scopes that contain `pattern` are `component`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentRule {
    /// Part of a scope's name, in lower case.
    pub pattern: String,
    pub component: String,
}

/// Device time of one component.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ComponentRow {
    /// The component.
    pub name: String,
    /// Time without that of operations nested in it.
    pub self_us: f64,
    /// Share of all operations' self time; the shares of all components add up to 1.
    pub share: f64,
}

/// Reads rules, one `pattern = component` a line; empty lines and `#` comments are skipped.
///
/// # Errors
/// If a line is no rule; the message names it.
pub fn parse_rules(text: &str) -> Result<Vec<ComponentRule>> {
    let mut rules = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        match line.split_once('=').map(|(pattern, component)| (pattern.trim(), component.trim())) {
            Some((pattern, component)) if !pattern.is_empty() && !component.is_empty() => {
                rules.push(ComponentRule {
                    pattern: pattern.to_ascii_lowercase(),
                    component: component.to_owned(),
                });
            }
            _ => return Err(Error::Rule { line: number, text: line.to_owned() }),
        }
    }
    Ok(rules)
}

/// The component that the built-in rules see in one part of a path.
pub(crate) fn of_part(part: &str) -> Option<&'static str> {
    let lower = part.to_ascii_lowercase();
    let class = part.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_');
    let rule = WHOLE.iter().find(|(name, _)| *name == lower);
    let rule = rule.or_else(|| RULES.iter().find(|(pattern, _)| lower.contains(pattern)));
    let rule = rule.or_else(|| CLASSES.iter().find(|(end, _)| class.ends_with(end)));
    rule.map(|&(_, component)| component)
}

/// What is known of an operation beside its scope: its category, and the component that goes with it.
pub(crate) type Work<'a> = (&'a str, Option<&'static str>);

/// The component of an operation, by its scope path, else by what it does.
pub(crate) fn component<'a>(
    parts: &[&str],
    (category, named): Work<'_>,
    rules: &'a [ComponentRule],
) -> &'a str {
    for part in parts.iter().rev() {
        let lower = part.to_ascii_lowercase();
        if let Some(rule) = rules.iter().find(|rule| lower.contains(&rule.pattern)) {
            return &rule.component;
        }
    }
    if is_collective(category) {
        return COLLECTIVES;
    }
    let scoped = parts.iter().rev().find_map(|part| of_part(part));
    scoped.or(named).unwrap_or(UNKNOWN)
}

/// Whether a category is that of an operation among devices.
pub(crate) fn is_collective(category: &str) -> bool {
    let stem = category.trim_end_matches("-start").trim_end_matches("-done");
    matches!(
        stem,
        "collective"
            | "all-reduce"
            | "all-gather"
            | "reduce-scatter"
            | "all-to-all"
            | "collective-permute"
            | "collective-broadcast"
            | "ragged-all-to-all"
            | "send"
            | "recv"
            | "all-reduce fusion"
            | "all-gather fusion"
            | "reduce-scatter fusion"
    )
}

/// The components by time, largest first.
pub(crate) fn rows(times: BTreeMap<String, Picos>) -> Vec<ComponentRow> {
    let whole = times.values().fold(Picos::ZERO, |sum, &time| sum.saturating_add(time));
    let mut times: Vec<_> = times.into_iter().collect();
    times.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let row = |(name, time): (String, Picos)| ComponentRow {
        name,
        self_us: time.as_micros(),
        share: share(time, whole),
    };
    times.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::{COPIES, UNKNOWN, component, parse_rules};
    use crate::kernels::category::of_name;

    fn check(path: &str, category: &str, expected: &str) {
        let parts: Vec<&str> = path.split('/').collect();
        let named = (category == "copy").then_some(COPIES);
        assert_eq!(component(&parts, (category, named), &[]), expected, "{path}");
    }

    #[test]
    fn the_innermost_part_that_a_rule_knows_counts() {
        check("layer_0/attention/rms_norm", "matmul", "norm");
        check("layer_0/attention/softmax_qk", "matmul", "attention");
        check("QWen3Attention/NativeAttention", "loop fusion", "attention");
        check("layer_0/mlp", "all-reduce", "collectives");
        check("LogitsProcessor", "matmul", "logits");
        check("train_step/sgd", "loop fusion", "optimizer");
        check("BertLayer_0/BertOutput_0/Linear_5", "matmul", "mlp");
        check("BertLayer_0/BertAttention_0/BertSelfOutput_0", "matmul", "attention");
        check("attention/output", "matmul", "attention");
        check("decoder", "copy", "copies");
        check("Model_0/RotaryEmbedding_0", "elementwise", "attention");
        check("my_stuff", "loop fusion", "unknown");
    }

    #[test]
    fn users_rules_come_first() {
        let rules = parse_rules("# ours\nMy_Stuff = mlp\n\n rms = scaling # odd\n").unwrap();
        assert_eq!(component(&["a", "my_stuff_2"], ("", None), &rules), "mlp");
        assert_eq!(component(&["rms_norm"], ("", None), &rules), "scaling");
        assert_eq!(
            parse_rules("nothing").unwrap_err().to_string(),
            "line 1: expected `pattern = component`: nothing"
        );
    }

    /// The names of a table that are known otherwise than it says.
    fn wrong(table: &str) -> (usize, Vec<String>) {
        let rows: Vec<&str> = table.lines().skip(1).collect();
        let check = |row: &&str| {
            let [name, category, part, _source] = row.split('\t').collect::<Vec<_>>()[..] else {
                return Some(format!("not four columns: {row}"));
            };
            let kind = of_name(name);
            let found = component(&[], (&kind.category, kind.component), &[]);
            let expected = if part == "-" { UNKNOWN } else { part };
            let is_right = (&*kind.category, found) == (category, expected);
            (!is_right).then(|| {
                format!("{category}, {expected}; found {}, {found}: {name}", kind.category)
            })
        };
        (rows.len(), rows.iter().filter_map(check).collect())
    }

    #[test]
    fn real_kernels_are_known_by_their_names() {
        for table in [
            include_str!("../../tests/names/names.tsv"),
            include_str!("../../tests/names/held_out.tsv"),
        ] {
            let (rows, wrong) = wrong(table);
            assert!(wrong.is_empty(), "{} of {rows}:\n{}", wrong.len(), wrong.join("\n"));
        }
    }
}
