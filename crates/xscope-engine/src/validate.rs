//! From the fields of a score request to prompts that the model can be given.
//!
//! Every bound that a request can break is checked here, before any model work: what passes
//! cannot make the forward pass fail for reasons of the request.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::body::{Items, Prompt, ScoreBody};

/// What one request may ask for.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) max_items: usize,
    pub(crate) max_labels: usize,
    /// Longest prompt in tokens. As in sglang-jax the answer's one token needs a place too, so
    /// prompts stay below it.
    pub(crate) context_length: usize,
    pub(crate) vocab_size: usize,
}

/// Why a request is refused: the field to blame, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) field: Option<&'static str>,
    pub(crate) message: String,
}

/// The query and the items, of one kind.
#[derive(Debug)]
pub(crate) enum Texts {
    Text { query: String, items: Vec<String> },
    Ids { query: Vec<i64>, items: Vec<Vec<i64>> },
}

/// A request whose fields are all there and of fitting kinds.
#[derive(Debug)]
pub(crate) struct Shaped {
    pub(crate) texts: Texts,
    pub(crate) labels: Vec<u32>,
    pub(crate) apply_softmax: bool,
    pub(crate) item_first: bool,
    pub(crate) model: Option<String>,
}

/// Checks everything that can be checked without a tokenizer.
pub(crate) fn shape(body: ScoreBody, limits: &Limits) -> Result<Shaped, Refusal> {
    let texts = match (body.query, body.items) {
        (None, _) => {
            return Err(refuse("query", "`query` is missing: send a string or token ids"));
        }
        (_, None) => {
            return Err(refuse(
                "items",
                "`items` is missing: send a list of strings, or of lists of token ids",
            ));
        }
        (_, Some(Items::Empty)) => {
            return Err(refuse(
                "items",
                "`items` is empty: there is nothing to score; send at least 1",
            ));
        }
        (Some(Prompt::Text(query)), Some(Items::Texts(items))) => Texts::Text { query, items },
        (Some(Prompt::Ids(query)), Some(Items::Ids(items))) => Texts::Ids { query, items },
        (Some(Prompt::Text(_)), Some(Items::Ids(_))) => {
            return Err(mixed("`query` is text but `items` are token ids"));
        }
        (Some(Prompt::Ids(_)), Some(Items::Texts(_))) => {
            return Err(mixed("`query` is token ids but `items` are text"));
        }
    };
    let count = match &texts {
        Texts::Text { items, .. } => items.len(),
        Texts::Ids { items, .. } => items.len(),
    };
    if count > limits.max_items {
        return Err(refuse(
            "items",
            &format!(
                "{count} items are more than the {} that one request may hold: split them over \
                 several requests, or start the server with a higher limit of items",
                limits.max_items
            ),
        ));
    }
    Ok(Shaped {
        texts,
        labels: labels(body.label_token_ids, limits)?,
        apply_softmax: body.apply_softmax.unwrap_or(false),
        item_first: body.item_first.unwrap_or(false),
        model: body.model,
    })
}

fn labels(labels: Option<Vec<i64>>, limits: &Limits) -> Result<Vec<u32>, Refusal> {
    const FIELD: &str = "label_token_ids";
    let labels = labels.ok_or_else(|| {
        refuse(FIELD, "label_token_ids must be provided: the token ids whose probability you want")
    })?;
    if labels.is_empty() {
        return Err(refuse(FIELD, "`label_token_ids` is empty: send at least one token id"));
    }
    if labels.len() > limits.max_labels {
        return Err(refuse(
            FIELD,
            &format!(
                "{} label token ids are more than the {} that one request may hold: ask for fewer, \
                 or start the server with a higher limit of labels",
                labels.len(),
                limits.max_labels
            ),
        ));
    }
    let vocab = limits.vocab_size;
    labels
        .iter()
        .enumerate()
        .map(|(index, &id)| {
            token_id(id, vocab).ok_or_else(|| {
                refuse(
                    FIELD,
                    &format!(
                        "Token ID {id} is out of vocabulary (vocab size: {vocab}): \
                         `label_token_ids[{index}]` must be from 0 to {}",
                        vocab - 1
                    ),
                )
            })
        })
        .collect()
}

fn token_id(id: i64, vocab: usize) -> Option<u32> {
    u32::try_from(id).ok().filter(|&id| usize::try_from(id).is_ok_and(|id| id < vocab))
}

/// What turning text into token ids needs.
pub(crate) trait Encode {
    /// The token ids of a text, as the model was trained on them.
    fn encode(&self, text: &str) -> Result<Vec<u32>, String>;
}

/// A prompt in one of its two parts, query and item, or whole (text is tokenized as a whole).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tokens {
    Whole(Vec<Vec<u32>>),
    Parts { query: Vec<u32>, items: Vec<Vec<u32>> },
}

/// Turns text into token ids and checks that ids are in the vocabulary.
///
/// Looks at `abandoned` between items, so that the work for a client that has gone stops.
pub(crate) fn tokenize(
    shaped: &Shaped,
    tokenizer: &impl Encode,
    limits: &Limits,
    abandoned: &AtomicBool,
) -> Result<Tokens, Refusal> {
    match &shaped.texts {
        Texts::Ids { query, items } => Ok(Tokens::Parts {
            query: check_ids(query, "query", limits)
                .map_err(|message| refuse("query", &message))?,
            items: items
                .iter()
                .enumerate()
                .map(|(index, ids)| check_ids(ids, &format!("items[{index}]"), limits))
                .collect::<Result<_, _>>()
                .map_err(|message| refuse("items", &message))?,
        }),
        Texts::Text { query, items } => {
            let mut prompts = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                if abandoned.load(Ordering::Relaxed) {
                    return Err(refuse("items", "the client has gone"));
                }
                let text = join(query, item, shaped.item_first);
                prompts.push(encode(&text, index, tokenizer, limits)?);
            }
            Ok(Tokens::Whole(prompts))
        }
    }
}

fn check_ids(ids: &[i64], path: &str, limits: &Limits) -> Result<Vec<u32>, String> {
    let vocab = limits.vocab_size;
    ids.iter()
        .enumerate()
        .map(|(index, &id)| {
            token_id(id, vocab).ok_or_else(|| {
                format!(
                    "Token ID {id} is out of vocabulary (vocab size: {vocab}): `{path}[{index}]` \
                     must be from 0 to {}",
                    vocab - 1
                )
            })
        })
        .collect()
}

fn join(query: &str, item: &str, item_first: bool) -> String {
    if item_first { [item, query].concat() } else { [query, item].concat() }
}

fn encode(
    text: &str,
    index: usize,
    tokenizer: &impl Encode,
    limits: &Limits,
) -> Result<Vec<u32>, Refusal> {
    /// No vocabulary in use has a token of more bytes, so a longer text cannot fit: do not spend
    /// seconds on finding that out.
    const LONGEST_TOKEN_BYTES: usize = 256;
    let context = limits.context_length;
    if text.len() / LONGEST_TOKEN_BYTES > context {
        return Err(refuse(
            "items",
            &format!(
                "query and items[{index}] together are {} bytes of text, which cannot fit the \
                 model's context length ({context} tokens): shorten them",
                text.len()
            ),
        ));
    }
    tokenizer.encode(text).map_err(|error| {
        refuse("items", &format!("query and items[{index}] together cannot be tokenized: {error}"))
    })
}

/// Makes the prompt of each item and checks its length.
pub(crate) fn build(
    tokens: Tokens,
    item_first: bool,
    limits: &Limits,
) -> Result<Vec<Vec<u32>>, Refusal> {
    let prompts = match tokens {
        Tokens::Whole(prompts) => prompts,
        Tokens::Parts { query, items } => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| {
                check_length(index, query.len() + item.len(), limits)?;
                Ok(if item_first {
                    [item, query.clone()].concat()
                } else {
                    [&*query, &item].concat()
                })
            })
            .collect::<Result<_, _>>()?,
    };
    for (index, prompt) in prompts.iter().enumerate() {
        check_length(index, prompt.len(), limits)?;
    }
    Ok(prompts)
}

fn check_length(index: usize, length: usize, limits: &Limits) -> Result<(), Refusal> {
    let context = limits.context_length;
    if length == 0 {
        return Err(refuse(
            "items",
            &format!(
                "query and items[{index}] together are an empty prompt: there is no token whose \
                 successor could be scored; give one of them at least one token"
            ),
        ));
    }
    if length >= context {
        return Err(refuse(
            "items",
            &format!(
                "The input ({length} tokens) is longer than the model's context length ({context} \
                 tokens): query and items[{index}] together may have at most {} tokens",
                context.saturating_sub(1)
            ),
        ));
    }
    Ok(())
}

fn mixed(what: &str) -> Refusal {
    Refusal {
        field: None,
        message: format!(
            "Invalid combination of query/items types for score_request: {what}; send both as text \
             or both as token ids"
        ),
    }
}

fn refuse(field: &'static str, message: &str) -> Refusal {
    Refusal { field: Some(field), message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::parse;

    const LIMITS: Limits =
        Limits { max_items: 3, max_labels: 2, context_length: 8, vocab_size: 100 };

    /// One token per byte.
    struct Bytes;

    impl Encode for Bytes {
        fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
            Ok(text.bytes().map(|byte| u32::from(byte) % 100).collect())
        }
    }

    fn prompts(body: &str) -> Result<Vec<Vec<u32>>, Refusal> {
        let shaped = shape(parse(body.as_bytes()).unwrap(), &LIMITS)?;
        let tokens = tokenize(&shaped, &Bytes, &LIMITS, &AtomicBool::new(false))?;
        build(tokens, shaped.item_first, &LIMITS)
    }

    #[test]
    fn prompt_is_query_then_item_unless_item_first() {
        let ids = r#"{"query":[1,2],"items":[[3],[]],"label_token_ids":[1]"#;
        assert_eq!(prompts(&format!("{ids}}}")).unwrap(), [vec![1, 2, 3], vec![1, 2]]);
        assert_eq!(
            prompts(&format!("{ids},\"item_first\":true}}")).unwrap(),
            [vec![3, 1, 2], vec![1, 2]]
        );
        let text = r#"{"query":"AB","items":["C"],"label_token_ids":[1],"item_first":true}"#;
        assert_eq!(prompts(text).unwrap(), [[67, 65, 66]]);
    }

    #[test]
    fn refusals_say_value_limit_and_remedy() {
        for (body, expected) in [
            (r#"{"items":["a"],"label_token_ids":[1]}"#, "`query` is missing"),
            (r#"{"query":"a","label_token_ids":[1]}"#, "`items` is missing"),
            (r#"{"query":"a","items":[],"label_token_ids":[1]}"#, "`items` is empty"),
            (r#"{"query":"a","items":[[1]],"label_token_ids":[1]}"#, "Invalid combination"),
            (r#"{"query":[1],"items":["a"],"label_token_ids":[1]}"#, "Invalid combination"),
            (r#"{"query":"a","items":["a","a","a","a"],"label_token_ids":[1]}"#, "4 items"),
            (r#"{"query":"a","items":["a"]}"#, "label_token_ids must be provided"),
            (r#"{"query":"a","items":["a"],"label_token_ids":[]}"#, "at least one"),
            (r#"{"query":"a","items":["a"],"label_token_ids":[1,2,3]}"#, "3 label token ids"),
            (r#"{"query":"a","items":["a"],"label_token_ids":[-1]}"#, "Token ID -1 is out"),
            (r#"{"query":"a","items":["a"],"label_token_ids":[100]}"#, "Token ID 100 is out"),
            (
                r#"{"query":[-5],"items":[[1]],"label_token_ids":[1]}"#,
                "`query[0]` must be from 0 to 99",
            ),
            (r#"{"query":[100],"items":[[1]],"label_token_ids":[1]}"#, "vocab size: 100"),
            (
                r#"{"query":[],"items":[[1],[]],"label_token_ids":[1]}"#,
                "items[1] together are an empty",
            ),
            (r#"{"query":"","items":[""],"label_token_ids":[1]}"#, "empty prompt"),
            (
                r#"{"query":"aaaa","items":["a","aaaa"],"label_token_ids":[1]}"#,
                "The input (8 tokens)",
            ),
            (r#"{"query":[1,1,1,1,1,1,1,1],"items":[[]],"label_token_ids":[1]}"#, "at most 7"),
        ] {
            let found = prompts(body).expect_err(body).message;
            assert!(found.contains(expected), "{body}: {found}");
        }
    }
}
